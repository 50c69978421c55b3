//! A restore of tasks by somebody who lacks something, or where something is taken: all of it is named, with exit
//! code 4, before anything is made.

use anyhow::{Result, ensure};
use crux_tests::workload::{dump, images, start};
use crux_tests::{Lab, Running, Setup, Table};
use std::path::Path;

/// Runs crux-restore by way of another program with these arguments, and wants it to refuse with these words.
fn refuses(lab: &Lab, wrapper: &[&str], words: &[&str]) -> Result<()> {
    let host = Table::own()?;
    let (program, images) = (lab.programs.restore.display(), images(lab));
    let arguments = [
        program.to_string(),
        "--images".into(),
        images.display().to_string(),
        "--external=auto".into(),
        format!("--root={}", lab.path("root").display()),
    ];
    let wrapper = wrapper.iter().map(|&word| word.to_owned());
    let all: Vec<String> = wrapper.chain(arguments).collect();
    let output = Running::start(Path::new(&all[0]), &all[1..])?.finish()?;
    let said = &output.stderr;
    ensure!(output.code() == Some(4), "{:?}: {said}", output.status);
    for word in words {
        ensure!(said.contains(word), "not a word of {word:?}: {said}");
    }
    ensure!(Table::own()? == host, "the host's table changed");
    Ok(())
}

#[test]
fn root_missing_capabilities_are_named_before_anything_is_made() {
    Lab::test(Setup::ROOT, |lab| {
        let container = start(lab, "nothing")?;
        dump(lab, &container, &[])?;
        drop(container);
        for (capability, name) in [
            (
                "-sys_ptrace",
                "CAP_SYS_PTRACE, which is needed to finish tasks",
            ),
            (
                "-setgid",
                "CAP_SETGID, which is needed to give tasks their groups",
            ),
            ("-setpcap", "CAP_SETPCAP, which is needed to"),
        ] {
            let wrapper = ["/usr/bin/setpriv", "--bounding-set", capability];
            refuses(lab, &wrapper, &[name, "bounding set"])?;
        }
        Ok(())
    });
}

#[test]
fn root_what_ebpf_programs_ask_for_is_named_before_anything_is_made() {
    Lab::test(Setup::ROOT, |lab| {
        let container = start(lab, "ebpf")?;
        dump(lab, &container, &[])?;
        drop(container);
        for (capability, name) in [
            ("-bpf", "CAP_BPF, which is needed to load eBPF programs"),
            (
                "-net_admin",
                "CAP_NET_ADMIN, which is needed to attach eBPF programs",
            ),
        ] {
            let wrapper = ["/usr/bin/setpriv", "--bounding-set", capability];
            refuses(lab, &wrapper, &[name])?;
        }
        Ok(())
    });
}

#[test]
fn root_a_score_that_cannot_be_had_is_named_before_anything_is_made() {
    Lab::test(Setup::ROOT, |lab| {
        let container = start(lab, "nothing")?;
        dump(lab, &container, &[])?;
        drop(container);
        let wrapper = ["/usr/bin/choom", "-n", "500", "--"];
        refuses(lab, &wrapper, &["its oom_score_adj is 0, and ours is 500"])
    });
}

//! A dump of tasks by somebody who lacks a capability that they ask for: it is named with what it is for, nothing is
//! written, and the tasks go on. What is asked for before anything is looked at is in targets.rs.

use anyhow::ensure;
use crux_tests::workload::{ask, images, start};
use crux_tests::{Lab, Running, Setup};
use std::path::Path;

fn is_named(scenario: &str, capability: &str, code: i32, words: &str) {
    Lab::test(Setup::ROOT, |lab| {
        let mut container = start(lab, scenario)?;
        let (pid, program) = (container.pid.to_string(), lab.programs.dump.display());
        let (program, place) = (program.to_string(), images(lab).display().to_string());
        let lacks = ["--bounding-set", capability, &program];
        let options = ["--pid", &pid, "--images", &place, "--external=auto"];
        let all = [&lacks[..], &options].concat();
        let output = Running::start(Path::new("/usr/bin/setpriv"), all)?.finish()?;
        let said = &output.stderr;
        ensure!(output.code() == Some(code), "{:?}: {said}", output.status);
        ensure!(said.contains(words), "not a word of {words:?}: {said}");
        for name in ["images", "images.partial"] {
            ensure!(!lab.path(name).exists(), "{name} is left");
        }
        ask(&mut container)
    });
}

#[test]
fn root_a_dump_names_the_capability_that_tasks_ask_for() {
    for (scenario, capability, code, words) in [
        (
            "threads",
            "-sys_ptrace",
            4,
            "this needs CAP_SYS_PTRACE over its user namespace",
        ),
        (
            "unix-pairs",
            "-net_admin",
            4,
            "CAP_NET_ADMIN, which is needed to see whether",
        ),
        (
            "inotify",
            "-dac_read_search",
            3,
            "CAP_DAC_READ_SEARCH, which is needed to open files of other users",
        ),
    ] {
        is_named(scenario, capability, code, words);
    }
}

//! `--check`: what it finds, for whom, and what it says is in the way.

use super::{AUTO, GROUP, USER, installed, run_as};
use anyhow::{Result, ensure};
use crux_dump::collect::capabilities as dump_needs;
use crux_dump::roles::spec as dump;
use crux_restore::capabilities as restore_needs;
use crux_restore::roles::spec as restore;
use crux_role::{Capability, Need, file_capabilities};
use crux_tests::{Container, Lab, Output, Running, Setup, Spec, Table, mounting};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn names<'a>(lists: impl IntoIterator<Item = &'a [Capability]>) -> BTreeSet<String> {
    let all = lists.into_iter().flatten();
    all.map(ToString::to_string).collect()
}

fn named(needs: &[Need]) -> BTreeSet<String> {
    let all = needs.iter();
    all.map(|need| need.capability.to_string()).collect()
}

#[test]
fn what_is_checked_for_is_what_the_roles_hold() {
    let found = named(&dump_needs::all());
    assert_eq!(found, names(dump::INSTALLED));
    let found = named(&restore_needs::all());
    assert_eq!(found, names(restore::INSTALLED));
}

/// Runs a program behind setpriv(1) with these words of it.
fn behind(setpriv: &[&str], program: &Path, arguments: &[&str]) -> Result<Output> {
    let program = program.to_string_lossy();
    let words = [setpriv, &[&program], arguments].concat();
    Running::start(Path::new("/usr/bin/setpriv"), words)?.finish()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn root_root_has_all_that_is_needed() {
    Lab::test(Setup::ROOT, |lab| {
        let host = Table::own()?;
        for program in [&lab.programs.dump, &lab.programs.restore] {
            let output = Running::start(program, ["--check"])?.finish()?;
            ensure!(output.code() == Some(0), "{}", text(&output));
            ensure!(!text(&output).contains("issing"), "{}", text(&output));
            for row in crux_mount::survey::ROWS {
                ensure!(
                    text(&output).contains(row.name),
                    "{}: {}",
                    row.name,
                    text(&output)
                );
            }
            let output = Running::start(program, ["--check", "--json"])?.finish()?;
            let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
            ensure!(report["complete"] == true, "{report}");
            ensure!(report["features"][0]["state"] == "present", "{report}");
        }
        ensure!(Table::own()? == host, "the host's table changed");
        Ok(())
    });
}

#[test]
fn root_who_holds_nothing_reads_all_that_is_missing_and_how_to_grant_it() {
    Lab::test(Setup::ROOT, |lab| {
        for (program, needs) in [
            (&lab.programs.dump, dump_needs::all()),
            (&lab.programs.restore, restore_needs::all()),
        ] {
            // Where cargo puts it, not everybody may go.
            let place = lab.path("program");
            fs::copy(program, &place)?;
            let output = run_as(USER, &place, &["--check"])?;
            ensure!(output.code() == Some(4), "{}", text(&output));
            for need in &needs {
                let missing = format!("{:<20} to {}", need.capability.to_string(), need.purpose);
                ensure!(text(&output).contains(&missing), "{}", text(&output));
            }
            let all: Vec<_> = needs.iter().map(|need| need.capability).collect();
            let grant = format!(
                "`setcap {} {}`",
                file_capabilities([&all[..]]),
                place.display()
            );
            ensure!(text(&output).contains(&grant), "{}", text(&output));
        }
        Ok(())
    });
}

#[test]
fn root_what_makes_file_capabilities_mean_nothing_is_named() {
    Lab::test(Setup::ROOT, |lab| {
        let program = installed(lab, &lab.programs.restore, &restore::INSTALLED)?;
        let (user, group) = (USER.to_string(), GROUP.to_string());
        let member = ["--reuid", &user, "--regid", &user, "--groups", &group];
        // setpriv still holds capabilities when it executes something; env does not.
        let confined = [&member[..], &["--no-new-privs", "/usr/bin/env"]].concat();
        let output = behind(&confined, &program, &["--check"])?;
        ensure!(output.code() == Some(4), "{}", text(&output));
        ensure!(
            text(&output).contains("no_new_privs is set"),
            "{}",
            text(&output)
        );

        // KERNEL: one with file capabilities that are out of bounds is not executed at all
        // (EPERM, capabilities(7)); root starts one without.
        let plain = &lab.programs.restore;
        // With SETPCAP alone missing a restore of mounts is only less neat; one of tasks is none.
        let less = behind(&["--bounding-set", "-setpcap"], plain, &["--check"])?;
        ensure!(less.code() == Some(4), "{}", text(&less));
        for told in ["missing  CAP_SETPCAP", "MISSING  CAP_SETPCAP"] {
            ensure!(text(&less).contains(told), "{}", text(&less));
        }
        let less = behind(
            &["--bounding-set", "-fowner"],
            &lab.programs.dump,
            &["--check"],
        )?;
        ensure!(less.code() == Some(0), "{}", text(&less));
        ensure!(
            text(&less).contains("missing  CAP_FOWNER"),
            "{}",
            text(&less)
        );
        let bounded = behind(&["--bounding-set", "-mknod,-setpcap"], plain, &["--check"])?;
        ensure!(bounded.code() == Some(4), "{}", text(&bounded));
        let why = "nothing can grant CAP_MKNOD, CAP_SETPCAP here, as the bounding set";
        ensure!(text(&bounded).contains(why), "{}", text(&bounded));

        mounting::bind(&lab.path("bin"), &lab.path("bin"), mounting::Depth::One)?;
        mounting::attributes(&lab.path("bin"), "rw,nosuid,relatime")?;
        let output = run_as(GROUP, &program, &["--check"])?;
        ensure!(output.code() == Some(4), "{}", text(&output));
        ensure!(
            text(&output).contains("mounted nosuid"),
            "{}",
            text(&output)
        );
        Ok(())
    });
}

#[test]
fn root_all_capabilities_that_a_restore_lacks_are_named_at_once() {
    Lab::test(Setup::ROOT, |lab| {
        let build =
            |site: &crux_tests::Site<'_>| site.mount("tmpfs", "none", "/run", "rw,relatime", "");
        let spec = Spec::new(lab.root("small")?);
        let container = Container::start(lab, &spec, build, || Ok(()))?;
        fs::write(container.path("/run/note"), "kept")?;
        let images = lab.path("images");
        let dumped = lab.programs.dump(container.pid, &images, &AUTO)?;
        dumped.success("crux-dump")?;
        let images = images.to_string_lossy();
        let all = [&["--mounts-only", "--images", &images][..], &AUTO].concat();
        let lacks = ["--bounding-set", "-chown,-fowner,-sys_chroot"];
        let output = behind(&lacks, &lab.programs.restore, &all)?;
        ensure!(output.code() == Some(4), "{}", output.stderr);
        ensure!(output.stderr.lines().count() == 1, "{}", output.stderr);
        for need in restore_needs::all() {
            let name = need.capability.to_string();
            let lost = ["CAP_CHOWN", "CAP_FOWNER", "CAP_SYS_CHROOT"].contains(&&*name);
            let told = format!("{name}, which is needed to {}", need.purpose);
            ensure!(
                output.stderr.contains(&told) == lost,
                "{name}: {}",
                output.stderr
            );
        }
        ensure!(output.stderr.contains("bounding set"), "{}", output.stderr);
        Ok(())
    });
}

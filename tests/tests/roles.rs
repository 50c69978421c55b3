//! What each process of a restore holds, and what becomes of one that goes wrong.
//!
//! docs/privileges.md is held to the code here: its tables are read, and compared
//! with live processes.

use anyhow::{Result, ensure};
use crux_restore::roles::spec;
use crux_role::Capability;
use crux_tests::blueprint::vivid;
use crux_tests::privileges::Document;
use crux_tests::tracing::{Fault, Sight, Traced, named, run};
use crux_tests::{Lab, Setup, Table, patience};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const AUTO: [&str; 2] = ["--external", "auto"];

fn document() -> Document {
    Document::of("crux-restore")
}

fn names(list: &[Capability]) -> BTreeSet<String> {
    list.iter().map(ToString::to_string).collect()
}

fn mask(list: &[Capability]) -> u64 {
    list.iter().fold(0, |mask, one| mask | one.bitmask())
}

#[test]
fn the_document_lists_the_capabilities_of_each_role() {
    let lists = [
        ("supervisor", spec::SUPERVISOR),
        ("planner", spec::PLANNER),
        ("builder", spec::BUILDER),
        ("forker", spec::FORKER),
        ("tracer", spec::TRACER),
        ("broker", spec::BROKER),
        ("cgroups", spec::CGROUPS),
    ];
    for (role, list) in lists {
        assert_eq!(document().capabilities(role), names(list), "{role}");
    }
}

/// An image of a container that has much in it.
fn image(lab: &Lab) -> Result<PathBuf> {
    let (images, container) = (lab.path("images"), vivid::start(lab)?);
    lab.programs
        .dump(container.pid, &images, &AUTO)?
        .success("crux-dump")?;
    Ok(images)
}

fn restore(lab: &Lab, images: &Path, more: &[&str], fault: Fault) -> Result<Traced> {
    let images = images.to_string_lossy();
    let fixed = ["--mounts-only", "--images", &images];
    let command = ["--", "/bin/cat", "/proc/self/status"];
    let all = [&fixed[..], &AUTO, more, &command].concat();
    run(&lab.programs.restore, all, fault)
}

/// Every descriptor is one that the document gives to the role.
fn check_descriptors(sight: &Sight) -> Result<()> {
    let channels = sight
        .descriptors
        .values()
        .filter(|target| target.starts_with("socket:"))
        .count();
    let own = if sight.name == "crux-restore" { 3 } else { 1 };
    ensure!(
        channels <= own,
        "{channels} channels: {:?}",
        sight.descriptors
    );
    for (number, target) in &sight.descriptors {
        let stdio = *number < 3;
        let silent = matches!(sight.name.as_str(), "crux-planner" | "crux-builder");
        ensure!(
            !(stdio && *number < 2 && silent) || target == "/dev/null",
            "{number} of {} is {target}",
            sight.name
        );
        let image = target.contains("/images/");
        let allowed = match sight.name.as_str() {
            "crux-planner" => image || target.ends_with("/mountinfo"),
            "crux-forker" => ["mnt:", "net:", "ipc:", "/"]
                .iter()
                .any(|kind| target.starts_with(kind)),
            _ => true,
        };
        ensure!(
            stdio || allowed || target.starts_with("socket:"),
            "{number} of {} is {target}",
            sight.name
        );
    }
    Ok(())
}

#[test]
fn root_each_live_role_holds_what_the_document_says() {
    Lab::test(Setup::ROOT, |lab| {
        let images = image(lab)?;
        let own = Sight::of(nix::unistd::getpid())?;
        let whole = own.capabilities("CapBnd")?;
        let traced = restore(lab, &images, &[], Fault::Look)?;
        traced.output.success("crux-restore")?;
        for (name, role, keep) in [
            ("crux-planner", "planner", spec::PLANNER),
            ("crux-builder", "builder", spec::BUILDER),
            ("crux-forker", "forker", spec::FORKER),
            ("crux-restore", "supervisor", spec::SUPERVISOR),
        ] {
            let sights: Vec<_> = traced.sights.iter().filter(|s| s.name == name).collect();
            // The supervisor is what it is to be once the image is open.
            let settled: Vec<_> = sights
                .iter()
                .filter(|sight| role != "supervisor" || sight.line("Seccomp") == "2")
                .collect();
            ensure!(!settled.is_empty(), "{role} was never seen");
            for sight in settled {
                document().check(role, sight, mask(keep), whole)?;
                check_descriptors(sight)?;
            }
        }
        Ok(())
    });
}

#[test]
fn root_a_forbidden_call_ends_the_role_and_the_run() {
    Lab::test(Setup::ROOT, |lab| {
        let images = image(lab)?;
        let host = Table::own()?;
        for (role, call, with) in [
            ("crux-planner", "read", "openat"),
            ("crux-planner", "sendmsg", "execve"),
            ("crux-builder", "fsopen", "execve"),
            ("crux-builder", "move_mount", "execve"),
            ("crux-builder", "statx", "close_range"),
        ] {
            let (call, with) = (named(call), named(with));
            let fault = Fault::Forbidden { role, call, with };
            let traced = restore(lab, &images, &[], fault)?;
            let stderr = &traced.output.stderr;
            ensure!(traced.hit.is_some(), "{role} never makes {}", call.name);
            ensure!(traced.output.code() == Some(6), "{role}: {stderr}");
            ensure!(stderr.contains("SIGSYS"), "{role}: {stderr}");
            ensure!(Table::own()? == host, "the host's table changed");
        }
        Ok(())
    });
}

#[test]
fn root_a_forbidden_call_of_the_supervisor_ends_everything() {
    Lab::test(Setup::ROOT, |lab| {
        let images = image(lab)?;
        let host = Table::own()?;
        let fault = Fault::Forbidden {
            role: "crux-restore",
            call: named("recvmsg"),
            with: named("openat"),
        };
        // All that it started is followed to its end.
        let traced = restore(lab, &images, &[], fault)?;
        ensure!(traced.hit.is_some());
        ensure!(traced.output.code().is_none(), "{:?}", traced.output);
        ensure!(Table::own()? == host, "the host's table changed");
        Ok(())
    });
}

#[test]
fn root_a_role_that_hangs_is_ended_with_the_run() {
    Lab::test(Setup::ROOT, |lab| {
        let images = image(lab)?;
        let host = Table::own()?;
        for (role, call) in [("crux-planner", "read"), ("crux-builder", "move_mount")] {
            let call = named(call);
            let fault = Fault::Hang { role, call };
            let limit = patience(1).as_secs().to_string();
            let traced = restore(lab, &images, &["--time-limit", &limit], fault)?;
            let stderr = &traced.output.stderr;
            ensure!(traced.hit.is_some(), "{role} never makes {}", call.name);
            ensure!(traced.output.code() == Some(6), "{role}: {stderr}");
            ensure!(
                stderr.contains(&format!("did not answer within {limit} seconds")),
                "{stderr}"
            );
            ensure!(Table::own()? == host, "the host's table changed");
        }
        Ok(())
    });
}

#[test]
fn root_a_role_that_answers_out_of_turn_ends_the_run() {
    Lab::test(Setup::ROOT, |lab| {
        let images = image(lab)?;
        let host = Table::own()?;
        for role in ["crux-planner", "crux-builder"] {
            let traced = restore(lab, &images, &[], Fault::Repeat { role })?;
            let stderr = &traced.output.stderr;
            ensure!(traced.hit.is_some(), "{role} says nothing");
            ensure!(traced.output.code() == Some(6), "{role}: {stderr}");
            ensure!(stderr.contains("out of turn"), "{role}: {stderr}");
            ensure!(Table::own()? == host, "the host's table changed");
        }
        Ok(())
    });
}

#[test]
fn root_command_has_no_filter_and_the_capabilities_of_the_caller() {
    Lab::test(Setup::ROOT, |lab| {
        let images = image(lab)?;
        let traced = restore(lab, &images, &[], Fault::None)?;
        let printed = traced.output.success("crux-restore")?.stdout;
        let command = String::from_utf8(printed)?;
        let caller = fs::read_to_string("/proc/self/status")?;
        let kept = |text: &str| -> Vec<String> {
            let wanted = ["Cap", "Seccomp", "NoNewPrivs", "Uid", "Gid", "Groups"];
            let lines = text.lines().map(str::to_owned);
            lines
                .filter(|line| wanted.iter().any(|name| line.starts_with(name)))
                .collect()
        };
        ensure!(!kept(&command).is_empty());
        assert_eq!(kept(&command), kept(&caller));
        Ok(())
    });
}

//! What each process of a dump holds, and what becomes of one that goes wrong.

use anyhow::{Result, ensure};
use crux_dump::roles::spec;
use crux_role::Capability;
use crux_tests::blueprint::vivid;
use crux_tests::privileges::Document;
use crux_tests::tracing::{Fault, Sight, Traced, named, run};
use crux_tests::{Container, Lab, Setup, Table, patience};
use std::collections::BTreeSet;
use std::fs;

const AUTO: [&str; 2] = ["--external", "auto"];

fn document() -> Document {
    Document::of("crux-dump")
}

fn names(list: &[Capability]) -> BTreeSet<String> {
    list.iter().map(ToString::to_string).collect()
}

fn mask(list: &[Capability]) -> u64 {
    list.iter().fold(0, |mask, one| mask | one.bitmask())
}

#[test]
fn the_document_lists_the_capabilities_of_each_role_of_a_dump() {
    let lists = [
        ("supervisor", spec::SUPERVISOR),
        ("collector", spec::COLLECTOR),
        ("tracer", spec::TRACER),
        ("reader", spec::READER),
        ("encoder", spec::ENCODER),
    ];
    for (role, list) in lists {
        assert_eq!(document().capabilities(role), names(list), "{role}");
    }
}

fn dump(lab: &Lab, container: &Container, more: &[&str], fault: Fault) -> Result<Traced> {
    let (pid, images) = (container.pid.to_string(), lab.path("images"));
    let images = images.to_string_lossy();
    let fixed = ["--mounts-only", "--pid", &pid, "--images", &images];
    run(
        &lab.programs.dump,
        [&fixed[..], &AUTO, more].concat(),
        fault,
    )
}

/// Nothing is left of a dump that went wrong, and the target is as it was.
fn nothing_is_left(lab: &Lab, container: &Container, before: &(Table, Table)) -> Result<()> {
    for name in ["images", "images.partial"] {
        ensure!(!lab.path(name).exists(), "{name} is left");
    }
    ensure!(tables(container)? == *before, "a table changed");
    Ok(())
}

fn tables(container: &Container) -> Result<(Table, Table)> {
    let pid = container.pid.as_raw().unsigned_abs();
    Ok((Table::own()?, Table::of(pid)?))
}

/// Every descriptor is one that the document gives to the role.
fn check_descriptors(sight: &Sight) -> Result<()> {
    let supervises = sight.name == "crux-dump";
    let channels = sight.descriptors.values();
    let channels = channels.filter(|to| to.starts_with("socket:")).count();
    let own = if supervises { 2 } else { 1 };
    ensure!(
        channels <= own,
        "{channels} channels: {:?}",
        sight.descriptors
    );
    for (number, target) in &sight.descriptors {
        let silent = *number < 2 && !supervises;
        ensure!(
            !silent || target == "/dev/null",
            "{number} of {} is {target}",
            sight.name
        );
        let image = target.contains("/images.partial");
        let allowed = match sight.name.as_str() {
            "crux-encoder" => image,
            // Whatever it looks at, but of the image the contents alone.
            "crux-collector" => !image || target.contains("/contents."),
            // Where memory goes that nobody is to have.
            _ => image || target == "/dev/null" || target.ends_with(&scratch(sight)),
        };
        ensure!(
            *number < 3 || allowed || target.starts_with("socket:"),
            "{number} of {} is {target}",
            sight.name
        );
    }
    Ok(())
}

/// The directory that the image is in.
fn scratch(sight: &Sight) -> String {
    let partial = sight.descriptors.values();
    let partial = partial.filter_map(|to| to.strip_suffix("/images.partial"));
    partial.map(str::to_owned).next().unwrap_or_default()
}

#[test]
fn root_each_live_role_of_a_dump_holds_what_the_document_says() {
    Lab::test(Setup::ROOT, |lab| {
        let container = vivid::start(lab)?;
        let whole = Sight::of(nix::unistd::getpid())?.capabilities("CapBnd")?;
        let traced = dump(lab, &container, &[], Fault::Look)?;
        traced.output.success("crux-dump")?;
        for (name, role, keep) in [
            ("crux-collector", "collector", spec::COLLECTOR),
            ("crux-encoder", "encoder", spec::ENCODER),
            ("crux-dump", "supervisor", spec::SUPERVISOR),
        ] {
            let sights = traced.sights.iter().filter(|sight| sight.name == name);
            // The supervisor is what it is to be once the others are there.
            let settled =
                sights.filter(|sight| role != "supervisor" || sight.line("Seccomp") == "2");
            let settled: Vec<_> = settled.collect();
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
fn root_a_forbidden_call_ends_the_role_and_the_dump() {
    Lab::test(Setup::ROOT, |lab| {
        let container = vivid::start(lab)?;
        let before = tables(&container)?;
        for (role, call, with) in [
            ("crux-collector", "getdents64", "execve"),
            ("crux-collector", "setns", "socketpair"),
            ("crux-collector", "flistxattr", "unlinkat"),
            ("crux-encoder", "recvmsg", "execve"),
            ("crux-encoder", "write", "unlinkat"),
            ("crux-encoder", "fsync", "mkdirat"),
        ] {
            let (call, with) = (named(call), named(with));
            let fault = Fault::Forbidden { role, call, with };
            let traced = dump(lab, &container, &[], fault)?;
            let stderr = &traced.output.stderr;
            ensure!(traced.hit.is_some(), "{role} never makes {}", call.name);
            ensure!(traced.output.code() == Some(6), "{role}: {stderr}");
            ensure!(stderr.contains("SIGSYS"), "{role}: {stderr}");
            nothing_is_left(lab, &container, &before)?;
        }
        Ok(())
    });
}

#[test]
fn root_a_forbidden_call_of_the_supervisor_of_a_dump_ends_everything() {
    Lab::test(Setup::ROOT, |lab| {
        let container = vivid::start(lab)?;
        let before = tables(&container)?;
        let fault = Fault::Forbidden {
            role: "crux-dump",
            call: named("recvmsg"),
            with: named("openat"),
        };
        // All that it started is followed to its end.
        let traced = dump(lab, &container, &[], fault)?;
        ensure!(traced.hit.is_some());
        ensure!(traced.output.code().is_none(), "{:?}", traced.output);
        // Nobody is there to remove it.
        fs::remove_dir_all(lab.path("images.partial"))?;
        nothing_is_left(lab, &container, &before)
    });
}

#[test]
fn root_a_role_of_a_dump_that_hangs_is_ended_with_the_run() {
    Lab::test(Setup::ROOT, |lab| {
        let container = vivid::start(lab)?;
        let before = tables(&container)?;
        for (role, call) in [
            ("crux-collector", "statx"),
            ("crux-collector", "flistxattr"),
            ("crux-encoder", "fsync"),
        ] {
            let call = named(call);
            let limit = patience(1).as_secs().to_string();
            let traced = dump(
                lab,
                &container,
                &["--time-limit", &limit],
                Fault::Hang { role, call },
            )?;
            let stderr = &traced.output.stderr;
            ensure!(traced.hit.is_some(), "{role} never makes {}", call.name);
            ensure!(traced.output.code() == Some(6), "{role}: {stderr}");
            ensure!(
                stderr.contains(&format!("did not answer within {limit} seconds")),
                "{stderr}"
            );
            nothing_is_left(lab, &container, &before)?;
        }
        Ok(())
    });
}

#[test]
fn root_any_role_killed_at_any_call_leaves_nothing() {
    Lab::test(Setup::ROOT, |lab| {
        let container = vivid::start(lab)?;
        let before = tables(&container)?;
        for nth in (1..).step_by(41) {
            let traced = dump(lab, &container, &[], Fault::KillRole { nth })?;
            match traced.output.code() {
                Some(0) => fs::remove_dir_all(lab.path("images"))?,
                Some(6) => {}
                code => anyhow::bail!("{nth}: {code:?}: {}", traced.output.stderr),
            }
            nothing_is_left(lab, &container, &before)?;
            if traced.hit.is_none() {
                return Ok(());
            }
        }
        Ok(())
    });
}

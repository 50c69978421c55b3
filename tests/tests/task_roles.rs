//! What each process of a dump and of a restore of tasks holds while it works.
//!
//! docs/privileges.md is held to the code here. Tasks that are restored cannot be traced by two, so the
//! roles of a restore are caught by stopping them (SIGSTOP) where they are found.

use anyhow::{Result, ensure};
use crux_restore::roles::spec as restore_spec;
use crux_role::Capability;
use crux_tests::privileges::Document;
use crux_tests::tracing::{Fault, Sight, run};
use crux_tests::workload::{dump, images, start, verify};
use crux_tests::{Lab, Running, Setup, patience};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

fn mask(list: &[Capability]) -> u64 {
    list.iter().fold(0, |mask, one| mask | one.bitmask())
}

/// The caller's bounding set, and all that it holds.
fn own() -> Result<(u64, u64)> {
    let own = Sight::of(nix::unistd::getpid())?;
    Ok((own.capabilities("CapBnd")?, own.capabilities("CapPrm")?))
}

#[test]
fn root_each_live_role_of_a_dump_of_tasks_holds_what_the_document_says() {
    use crux_dump::roles::spec;
    Lab::test(Setup::ROOT, |lab| {
        let mut container = start(lab, "threads")?;
        let _decoy = leave_open(lab)?;
        let (whole, _) = own()?;
        let pid = container.pid.to_string();
        let place = images(lab).to_string_lossy().into_owned();
        let words = ["--pid", &pid, "--images", &place, "--external=auto"];
        let arguments = [&words[..], &["--leave-running"]].concat();
        let traced = run(&lab.programs.dump, arguments, Fault::Look)?;
        traced.output.success("crux-dump")?;
        for (name, role, keep) in [
            ("crux-collector", "collector", spec::COLLECTOR),
            ("crux-encoder", "encoder", spec::ENCODER),
            ("crux-tracer", "tracer", spec::TRACER),
            ("crux-reader", "reader", spec::READER),
            ("crux-dump", "supervisor", spec::SUPERVISOR),
        ] {
            let sights = traced.sights.iter().filter(|sight| sight.name == name);
            let settled: Vec<_> = sights
                .filter(|sight| role != "supervisor" || sight.line("Seccomp") == "2")
                .collect();
            ensure!(!settled.is_empty(), "{role} was never seen");
            for sight in settled {
                has_no_decoy(sight)?;
                Document::of("crux-dump").check(role, sight, mask(keep), whole)?;
            }
        }
        container.say("look")?;
        ensure!(container.hear()? == "ok", "the workload noticed the dump");
        Ok(())
    });
}

/// The roles of a restore, each stopped as soon as it is what it is to be, looked at, and let go.
fn sights(restore: &mut Running) -> Result<BTreeMap<String, Sight>> {
    let (mut found, began) = (BTreeMap::new(), Instant::now());
    while restore.ended()?.is_none() && began.elapsed() < patience(10) {
        for pid in restore.children() {
            let pid = Pid::from_raw(i32::try_from(pid)?);
            // It may have ended meanwhile.
            let Ok(sight) = Sight::of(pid) else { continue };
            let settled = match sight.name.as_str() {
                "crux-forker" => true,
                "crux-tracer" | "crux-planner" | "crux-builder" | "crux-broker"
                | "crux-cgroups" => sight.line("Seccomp") == "2",
                _ => false,
            };
            if settled && !found.contains_key(&sight.name) && kill(pid, Signal::SIGSTOP).is_ok() {
                let stopped = Sight::of(pid);
                kill(pid, Signal::SIGCONT)?;
                found.insert(sight.name, stopped?);
            }
        }
        if found.len() == 6 {
            break;
        }
    }
    Ok(found)
}

/// A descriptor that whoever starts crux has left open: no role may have it.
fn leave_open(lab: &Lab) -> Result<OwnedFd> {
    let decoy = lab.path(DECOY);
    fs::write(&decoy, "")?;
    let decoy = fcntl_dupfd_cloexec(fs::File::open(&decoy)?, 100)?;
    fcntl_setfd(&decoy, FdFlags::empty())?;
    let passed = Running::start(Path::new("/bin/ls"), ["-l", "/proc/self/fd"])?.finish()?;
    let passed = String::from_utf8_lossy(&passed.stdout).into_owned();
    ensure!(passed.contains(DECOY), "it is not passed on: {passed}");
    Ok(decoy)
}

const DECOY: &str = "decoy";

fn has_no_decoy(sight: &Sight) -> Result<()> {
    let mut all = sight.descriptors.values();
    ensure!(!all.any(|to| to.ends_with(DECOY)), "{sight:?}");
    Ok(())
}

/// Channels, the null device, and what else the document gives to it.
fn check_descriptors(sight: &Sight) -> Result<()> {
    has_no_decoy(sight)?;
    let allowed = |target: &str| match sight.name.as_str() {
        "crux-tracer" => ["/memfd:", "pipe:", "/proc", "socket:", "/dev/null"]
            .iter()
            .any(|kind| target.starts_with(kind)),
        "crux-broker" => ["socket:", "/dev/null"]
            .iter()
            .any(|kind| target.starts_with(kind)),
        // What the first task is born with.
        "crux-forker" => !target.contains("mounts.crux") && !target.contains("tasks.crux"),
        _ => true,
    };
    for (number, target) in &sight.descriptors {
        ensure!(
            *number == 2 || allowed(target),
            "{number} of {} is {target}",
            sight.name
        );
    }
    Ok(())
}

#[test]
fn root_each_live_role_of_a_restore_of_tasks_holds_what_the_document_says() {
    Lab::test(Setup::ROOT, |lab| {
        let container = start(lab, "threads")?;
        dump(lab, &container, &[])?;
        drop(container);
        let _decoy = leave_open(lab)?;
        let (whole, held) = own()?;
        let mut seen = BTreeMap::new();
        let roles = [
            ("crux-planner", "planner", mask(restore_spec::PLANNER)),
            ("crux-builder", "builder", mask(restore_spec::BUILDER)),
            ("crux-tracer", "tracer", mask(restore_spec::TRACER)),
            ("crux-broker", "broker", mask(restore_spec::BROKER)),
            ("crux-cgroups", "cgroups", mask(restore_spec::CGROUPS)),
            ("crux-forker", "forker of tasks", held),
        ];
        // A role may have done its work before it is found.
        for _ in 0..100 {
            let mut restored = crux_tests::workload::restore(lab)?;
            seen.extend(sights(&mut restored)?);
            verify(restored, 1)?;
            if roles.iter().all(|(name, ..)| seen.contains_key(*name)) {
                break;
            }
        }
        for (name, role, keep) in roles {
            let Some(sight) = seen.get(name) else {
                anyhow::bail!("{role} was never seen");
            };
            Document::of("crux-restore").check(role, sight, keep, whole)?;
            check_descriptors(sight)?;
        }
        Ok(())
    });
}

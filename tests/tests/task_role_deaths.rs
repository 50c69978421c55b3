//! A role of a dump or a restore of tasks makes a call that it may not make, hangs, or dies: the run ends with 6
//! (docs/exit-codes.md), tasks that were dumped go on, and of those that were to be restored nothing is left.

use anyhow::{Result, bail, ensure};
use crux_tests::tracing::{Fault, Sight, Traced, named, run};
use crux_tests::workload::{ask, dump, images, restore, start, start_in_this_network, verify};
use crux_tests::{Container, Lab, Setup, Table, children, patience};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::process::{getpid, set_child_subreaper};
use std::fs;
use std::time::{Duration, Instant};

fn traced(lab: &Lab, container: &Container, options: &[&str], fault: Fault) -> Result<Traced> {
    let pid = container.pid.to_string();
    let place = images(lab).to_string_lossy().into_owned();
    let words = ["--pid", &pid, "--images", &place, "--external=auto"];
    let words = [&words[..], &["--leave-running"], options].concat();
    run(&lab.programs.dump, words, fault)
}

/// A container with few settings of a network to be read: every call of a traced program takes long.
fn start_small(lab: &Lab) -> Result<Container> {
    start_in_this_network(lab, "threads")
}

/// After a dump that was not to succeed.
fn goes_on(lab: &Lab, container: &mut Container) -> Result<()> {
    for name in ["images", "images.partial"] {
        ensure!(!lab.path(name).exists(), "{name} is left");
    }
    ask(container)
}

#[test]
fn root_a_forbidden_call_ends_the_role_and_the_dump_of_tasks() {
    Lab::test(Setup::ROOT, |lab| {
        let mut container = start_small(lab)?;
        for (role, call, with) in [
            ("crux-tracer", "ptrace", "execve"),
            ("crux-tracer", "process_vm_readv", "mkdirat"),
            ("crux-encoder", "fsync", "mkdirat"),
        ] {
            let (call, with) = (named(call), named(with));
            let fault = Fault::Forbidden { role, call, with };
            let traced = traced(lab, &container, &[], fault)?;
            let stderr = &traced.output.stderr;
            ensure!(traced.hit.is_some(), "{role} never makes {}", call.name);
            ensure!(traced.output.code() == Some(6), "{role}: {stderr}");
            ensure!(stderr.contains("SIGSYS"), "{role}: {stderr}");
            goes_on(lab, &mut container)?;
        }
        Ok(())
    });
}

#[test]
fn root_a_role_of_a_dump_of_tasks_that_hangs_is_ended_with_the_run() {
    Lab::test(Setup::ROOT, |lab| {
        let mut container = start_small(lab)?;
        // The limit is for each answer, and those before the one that does not come have to be in time.
        let limit = patience(2).as_secs().max(4).to_string();
        for (role, call) in [("crux-tracer", "ptrace"), ("crux-encoder", "fsync")] {
            let call = named(call);
            let options = ["--time-limit", &limit];
            let traced = traced(lab, &container, &options, Fault::Hang { role, call })?;
            let stderr = &traced.output.stderr;
            ensure!(traced.hit.is_some(), "{role} never makes {}", call.name);
            ensure!(traced.output.code() == Some(6), "{role}: {stderr}");
            let wanted = format!("did not answer within {limit} seconds");
            ensure!(stderr.contains(&wanted), "{role}: {stderr}");
            goes_on(lab, &mut container)?;
        }
        Ok(())
    });
}

#[test]
fn root_a_role_of_a_dump_of_tasks_that_answers_out_of_turn_ends_the_run() {
    Lab::test(Setup::ROOT, |lab| {
        let mut container = start_small(lab)?;
        for role in ["crux-tracer", "crux-collector", "crux-encoder"] {
            let traced = traced(lab, &container, &[], Fault::Repeat { role })?;
            let stderr = &traced.output.stderr;
            ensure!(traced.hit.is_some(), "{role} says nothing");
            ensure!(traced.output.code() == Some(6), "{role}: {stderr}");
            ensure!(stderr.contains("out of turn"), "{role}: {stderr}");
            goes_on(lab, &mut container)?;
        }
        Ok(())
    });
}

#[test]
fn root_any_role_of_a_dump_of_tasks_is_killed_and_the_tasks_go_on() {
    Lab::test(Setup::ROOT, |lab| {
        let mut container = start_small(lab)?;
        for nth in (1..).step_by(211) {
            let traced = traced(lab, &container, &[], Fault::KillRole { nth })?;
            match traced.output.code() {
                Some(0) => fs::remove_dir_all(images(lab))?,
                Some(6) => {}
                code => bail!("{nth}: {code:?}: {}", traced.output.stderr),
            }
            goes_on(lab, &mut container)?;
            if traced.hit.is_none() {
                return Ok(());
            }
        }
        Ok(())
    });
}

/// When a role of a restore dies, counted from when it is what it is to be.
const MOMENTS: [u64; 6] = [0, 2, 5, 10, 20, 40];

#[test]
fn root_any_role_of_a_restore_of_tasks_is_killed_and_nothing_is_left() {
    Lab::test(Setup::ROOT, |lab| {
        let container = start(lab, "threads")?;
        dump(lab, &container, &[])?;
        drop(container);
        set_child_subreaper(Some(getpid()))?;
        let host = Table::own()?;
        let mut failed = 0;
        for role in [
            "crux-planner",
            "crux-builder",
            "crux-tracer",
            "crux-broker",
            "crux-cgroups",
            "crux-forker",
        ] {
            for moment in MOMENTS {
                failed += usize::from(killed(lab, role, Duration::from_millis(moment))?);
                ensure!(Table::own()? == host, "{role}: the host's table changed");
            }
        }
        ensure!(failed >= MOMENTS.len(), "{failed} restores failed only");
        verify(restore(lab)?, 1)
    });
}

/// Whether the restore failed; it has not where the role had done its work.
fn killed(lab: &Lab, role: &str, moment: Duration) -> Result<bool> {
    let mut restored = restore(lab)?;
    let began = Instant::now();
    let mut found = None;
    while found.is_none() && restored.ended()?.is_none() && began.elapsed() < patience(10) {
        let children = restored.children().into_iter();
        let mut pids = children.map(|pid| Pid::from_raw(pid.cast_signed()));
        found = pids.find(|pid| {
            let sight = Sight::of(*pid);
            sight.is_ok_and(|it| {
                it.name == role && (role == "crux-forker" || it.line("Seccomp") == "2")
            })
        });
    }
    std::thread::sleep(moment);
    if let Some(pid) = found {
        // It may have ended.
        let _ = kill(pid, Signal::SIGKILL);
    }
    restored.say("look")?;
    let output = restored.finish()?;
    let left = still_there()?;
    ensure!(
        left.is_empty(),
        "{role} after {moment:?}: left are {left:?}"
    );
    match output.code() {
        Some(0) => Ok(false),
        Some(6) => Ok(true),
        // The tasks had been let go, and nobody hears any more how they ended.
        Some(7) if role == "crux-forker" => Ok(false),
        code => bail!("{role} after {moment:?}: {code:?}: {}", output.stderr),
    }
}

/// What it had started and nobody has ended: it has become a child of this process.
fn still_there() -> Result<Vec<String>> {
    let since = Instant::now();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return Ok(Vec::new()),
            Ok(WaitStatus::StillAlive) if since.elapsed() > patience(5) => break,
            Ok(WaitStatus::StillAlive) => std::thread::yield_now(),
            other => drop(other?),
        }
    }
    let left = children(std::process::id()).into_iter();
    Ok(left
        .map(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default())
        .collect())
}

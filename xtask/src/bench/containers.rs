//! Containers as LXC makes them, which run while they are dumped.
//!
//! Kind: effect. Each is dumped, restored, and dumped again from what was restored; what LXC itself started does not count.

use super::measure::{Row, Target, median};
use super::tasks::Dumped;
use anyhow::{Context as _, Result, ensure};
use crux_tests::{Detached, Lab, Lxc, Programs, Setup, busybox_is_up, patience};
use rustix::process::{getpid, set_child_subreaper};
use std::fs;
use std::path::Path;
use std::time::Instant;

/// A container, and what may take how long.
struct Case {
    name: &'static str,
    start: fn(&Lab) -> Result<Lxc>,
    seconds: Target,
    frozen: Target,
}

const CASES: [Case; 2] = [
    Case {
        name: "busybox",
        start: busybox,
        seconds: Target::Most(0.030),
        frozen: Target::Most(0.020),
    },
    Case {
        name: "systemd",
        start: Lxc::systemd,
        seconds: Target::Most(0.300),
        frozen: Target::None,
    },
];

/// Seconds until a container is given up.
const PATIENCE: u64 = 30;

pub(super) fn run(programs: &Programs, runs: u32) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for case in &CASES {
        let answer = Lab::with_programs(Setup::ROOT, programs.clone(), |lab| {
            Ok(serde_json::to_vec(&measure(lab, case, runs)?)?)
        });
        let answer = answer.with_context(|| format!("with {}", case.name))?;
        rows.extend(serde_json::from_slice::<Vec<Row>>(&answer)?);
    }
    Ok(rows)
}

fn busybox(lab: &Lab) -> Result<Lxc> {
    let container = Lxc::busybox(lab)?;
    let start = Instant::now();
    while !busybox_is_up(container.pid) {
        ensure!(start.elapsed() < patience(PATIENCE), "it does not start");
        std::thread::yield_now();
    }
    Ok(container)
}

fn measure(lab: &Lab, case: &Case, runs: u32) -> Result<Vec<Row>> {
    // What is left of a restored container is reaped.
    set_child_subreaper(Some(getpid()))?;
    let images = lab.path("images");
    let container = (case.start)(lab)?;
    Dumped::by(lab, container.pid, &images)?;
    container.ended()?;
    let (mut dumps, mut restores, mut frozen) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..=runs {
        let (restored, seconds) = restore(lab, &images, run)?;
        fs::remove_dir_all(&images)?;
        let dumped = Dumped::by(lab, restored.pid(), &images)?;
        // The first of each does not count.
        if run > 0 {
            restores.push(seconds);
            dumps.push(dumped.seconds);
            frozen.push(dumped.frozen);
        }
    }
    let row = |what: String, seconds, target| Row::alone(what, median(seconds), target);
    let name = case.name;
    Ok(vec![
        row(format!("dump of {name}"), dumps, case.seconds),
        row(format!("{name} frozen"), frozen, case.frozen),
        row(format!("restore of {name}"), restores, case.seconds),
    ])
}

/// From the start of crux-restore until it has left a container that runs.
fn restore(lab: &Lab, images: &Path, run: u32) -> Result<(Detached, f64)> {
    let pidfile = lab.path("pid");
    let pid = format!("--pidfile={}", pidfile.display());
    let socket = lab.path(&format!("console-{run}"));
    let broker = format!("--console-broker={}", socket.display());
    let options = ["--external=auto", "--detach", &pid, &broker];
    let start = Instant::now();
    let running = lab.programs.restore_tasks(images, &options)?;
    running.finish()?.success("crux-restore")?;
    let seconds = start.elapsed().as_secs_f64();
    Ok((Detached::named(&pidfile)?, seconds))
}

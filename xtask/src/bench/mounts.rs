//! Tables of many mounts, against the bare system calls.
//!
//! Kind: effect.

use super::measure::{Row, Target, growth, in_turn};
use super::one_process;
use anyhow::{Context as _, Result, ensure};
use crux_tests::blueprint::many;
use crux_tests::mounting::{self, Depth, Kind};
use crux_tests::{Container, Lab, Programs, Setup, in_child, peak_of_children};
use std::fs;
use std::path::Path;
use std::time::Instant;

const COUNTS: [usize; 4] = [0, 100, 1_000, 10_000];
const AUTO: [&str; 2] = ["--external", "auto"];
const TARGET: Target = Target::Times(3.0, 0.005);
/// Of a restore, against the same work in one process.
const ROLES: Target = Target::Times(1.0, 0.005);
const MEBIBYTES: f64 = 16.0;

pub(super) fn run(programs: &Programs, runs: u32) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for count in COUNTS {
        let programs = programs.clone();
        let answer = Lab::with_programs(Setup::ROOT, programs, |lab| {
            Ok(serde_json::to_vec(&measure(lab, count, runs)?)?)
        });
        let answer = answer.with_context(|| format!("with {count} mounts"))?;
        rows.extend(serde_json::from_slice::<Vec<Row>>(&answer)?);
    }
    let growths = ["dump", "restore"].map(|what| {
        let [small, large] = [1_000, 10_000].map(|count| name(what, count));
        growth(&rows, what, &small, &large)
    });
    rows.extend(growths.into_iter().flatten());
    Ok(rows)
}

fn name(what: &str, count: usize) -> String {
    format!("{what} of {count} mounts")
}

fn measure(lab: &Lab, count: usize, runs: u32) -> Result<Vec<Row>> {
    let root = many::prepare(lab, count)?;
    let images = lab.path("images");
    let container = many::start(lab, &root, count)?;
    let (dumping, reading) = in_turn(
        runs,
        || dump(lab, &container, &images),
        || read_and_walk(&container, count),
    )?;
    let dump_peak = peak(|| dump(lab, &container, &images))?;
    drop(container);
    let (restoring, making) = in_turn(
        runs,
        || Ok(restore(lab, &images)?.until_command),
        || make(&root, count),
    )?;
    let (ending, unmaking) = in_turn(
        runs,
        || Ok(restore(lab, &images)?.until_end),
        || make_and_end(&root, count),
    )?;
    let (separated, together) = in_turn(
        runs,
        || Ok(restore(lab, &images)?.until_command),
        || one_process::restore(&images),
    )?;
    let restore_peak = peak(|| Ok(restore(lab, &images)?.until_end))?;
    let limit = match count {
        1_000 => Target::Most(MEBIBYTES),
        _ => Target::None,
    };
    let memory =
        |what, peak| Row::mebibytes(format!("memory of {}", name(what, count)), peak, limit);
    Ok(vec![
        Row::seconds(name("dump", count), dumping, reading, TARGET),
        Row::seconds(name("restore", count), restoring, making, TARGET),
        Row::seconds(name("restore and end", count), ending, unmaking, TARGET),
        Row::seconds(
            format!("roles of a {}", name("restore", count)),
            separated,
            together,
            ROLES,
        ),
        memory("dump", dump_peak),
        memory("restore", restore_peak),
    ])
}

pub(super) fn dump(lab: &Lab, container: &Container, images: &Path) -> Result<f64> {
    if images.exists() {
        fs::remove_dir_all(images)?;
    }
    let start = Instant::now();
    lab.programs
        .dump(container.pid, images, &AUTO)?
        .success("crux-dump")?;
    Ok(start.elapsed().as_secs_f64())
}

/// From the start of crux-restore, in seconds.
pub(super) struct Restored {
    /// Until a command inside runs.
    pub(super) until_command: f64,
    /// Until the command and crux-restore have ended, and all mounts are gone.
    pub(super) until_end: f64,
}

pub(super) fn restore(lab: &Lab, images: &Path) -> Result<Restored> {
    let command = ["--external", "auto", "--", "/bin/busybox", "echo", "here"];
    let start = Instant::now();
    let (running, said) = lab.programs.restore_until_said(images, &command)?;
    let until_command = start.elapsed().as_secs_f64();
    running.finish()?.success("crux-restore")?;
    let until_end = start.elapsed().as_secs_f64();
    ensure!(said == b"here\n", "the command said {said:?}");
    Ok(Restored {
        until_command,
        until_end,
    })
}

/// In a process of its own, as the kernel keeps one maximum for all children.
pub(super) fn peak(job: impl FnOnce() -> Result<f64>) -> Result<f64> {
    let answer = in_child(|| {
        job()?;
        Ok(peak_of_children()?.to_le_bytes().to_vec())
    })?;
    let bytes = answer.try_into().ok().context("eight bytes")?;
    Ok(u64::from_le_bytes(bytes) as f64 / f64::from(1 << 20))
}

/// What a dump has to read at the least.
fn read_and_walk(container: &Container, count: usize) -> Result<f64> {
    let start = Instant::now();
    fs::read(format!("/proc/{}/mountinfo", container.pid)).context("mountinfo")?;
    for tree in many::own_tmpfs(&container.path("/"), count) {
        walk(&tree)?;
    }
    Ok(start.elapsed().as_secs_f64())
}

fn walk(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("{directory:?}"))? {
        let entry = entry?;
        if entry.metadata()?.is_dir() {
            walk(&entry.path())?;
        }
    }
    Ok(())
}

/// The system calls, in a namespace that has only the root before.
fn make(root: &Path, count: usize) -> Result<f64> {
    let answer = in_child(|| Ok(make_here(root, count)?.to_le_bytes().to_vec()))?;
    let bytes = answer.try_into().ok().context("eight bytes")?;
    Ok(f64::from_le_bytes(bytes))
}

/// The same, with a process for it and the end of that.
fn make_and_end(root: &Path, count: usize) -> Result<f64> {
    let start = Instant::now();
    make(root, count)?;
    Ok(start.elapsed().as_secs_f64())
}

fn make_here(root: &Path, count: usize) -> Result<f64> {
    crux_tests::new_mount_namespace()?;
    mounting::propagation(Path::new("/"), Kind::Private, Depth::Tree)?;
    mounting::bind(root, root, Depth::One)?;
    let start = Instant::now();
    many::make(root, count)?;
    Ok(start.elapsed().as_secs_f64())
}

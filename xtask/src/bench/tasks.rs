//! Containers with processes, against starting the same executable, and against bare copying of the same memory.
//!
//! Kind: effect.

use super::measure::{Row, Target, growth, in_turn, median};
use anyhow::{Context as _, Result, ensure};
use crux_tests::{Lab, Programs, Setup, in_child, workload};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A container, and what its dump and its restore may take beyond the start of a program.
struct Case {
    name: &'static str,
    words: [&'static str; 2],
    seconds: f64,
    /// Of stopping all, and of all that stands between that and letting go.
    stopping: Target,
    frozen: Target,
}

const CASES: [Case; 6] = [
    Case {
        name: "1 process",
        words: ["processes-of-crowd", "1"],
        seconds: 0.010,
        stopping: Target::None,
        frozen: Target::None,
    },
    Case {
        name: "5 processes",
        words: ["processes-of-crowd", "5"],
        seconds: 0.030,
        stopping: Target::None,
        frozen: Target::Most(0.020),
    },
    Case {
        name: "100 processes",
        words: ["processes-of-crowd", "100"],
        seconds: 0.040,
        stopping: Target::Most(0.005),
        frozen: Target::None,
    },
    Case {
        name: "100 threads",
        words: ["threads-of-crowd", "100"],
        seconds: 0.015,
        stopping: Target::None,
        frozen: Target::None,
    },
    Case {
        name: FILES,
        words: ["files-of-crowd", "1000"],
        seconds: 0.100,
        stopping: Target::None,
        frozen: Target::None,
    },
    Case {
        name: MANY_FILES,
        words: ["files-of-crowd", "10000"],
        seconds: 0.100,
        stopping: Target::None,
        frozen: Target::None,
    },
];

const FILES: &str = "1,000 open files";
const MANY_FILES: &str = "10,000 open files";

/// Of writing the memory, and of reading it into new memory.
const MEMORY: Target = Target::Times(1.3, 0.0);
const MEBIBYTES: f64 = 16.0;
const ROLES: Target = Target::Times(1.0, 0.005);

pub(super) fn run(programs: &Programs, runs: u32, mib: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for case in &CASES {
        let measured = in_lab(programs, |lab| measure(lab, case, runs));
        rows.extend(measured.with_context(|| format!("with {}", case.name))?);
    }
    let growths = ["dump", "restore"].map(|what| {
        let name = |case| format!("{what} of {case}");
        growth(&rows, what, &name(FILES), &name(MANY_FILES))
    });
    rows.extend(growths.into_iter().flatten());
    rows.extend(in_lab(programs, |lab| memory(lab, runs, mib)).context("with much memory")?);
    rows.push(roles(programs, runs)?);
    Ok(rows)
}

fn in_lab(programs: &Programs, job: impl FnOnce(&Lab) -> Result<Vec<Row>>) -> Result<Vec<Row>> {
    let answer = Lab::with_programs(Setup::ROOT, programs.clone(), |lab| {
        Ok(serde_json::to_vec(&job(lab)?)?)
    })?;
    Ok(serde_json::from_slice(&answer)?)
}

fn measure(lab: &Lab, case: &Case, runs: u32) -> Result<Vec<Row>> {
    let (mut frozen, mut stopping) = (Vec::new(), Vec::new());
    let dump = || {
        let dumped = dump(lab, &case.words)?;
        frozen.push(dumped.frozen);
        stopping.push(dumped.stopping);
        Ok(dumped.seconds)
    };
    let (dumping, starting) = in_turn(runs, dump, || start(&lab.programs.dump))?;
    let restore = || restore(lab);
    let (restoring, starting_restore) = in_turn(runs, restore, || start(&lab.programs.restore))?;
    let (name, target) = (case.name, Target::Times(1.0, case.seconds));
    Ok(vec![
        Row::seconds(format!("dump of {name}"), dumping, starting, target),
        Row::alone(format!("stopping {name}"), median(stopping), case.stopping),
        Row::alone(format!("{name} frozen"), median(frozen), case.frozen),
        Row::seconds(
            format!("restore of {name}"),
            restoring,
            starting_restore,
            target,
        ),
    ])
}

/// A dump that ends the tasks.
pub(super) struct Dumped {
    pub(super) seconds: f64,
    stopping: f64,
    pub(super) frozen: f64,
}

impl Dumped {
    pub(super) fn by(lab: &Lab, pid: u32, images: &Path) -> Result<Self> {
        let start = Instant::now();
        let output = lab
            .programs
            .dump_tasks(pid, images, &["--external", "auto"])?;
        let seconds = start.elapsed().as_secs_f64();
        let said = output.success("crux-dump")?.stderr;
        let time = |before: &str| {
            let rest = said.split_once(before)?.1;
            let milliseconds: f64 = rest.split_once(" ms")?.0.parse().ok()?;
            Some(milliseconds / 1000.0)
        };
        Ok(Self {
            seconds,
            stopping: time("stopped within ").context("it says how long it took to stop them")?,
            frozen: time("frozen for ").context("it says for how long they were frozen")?,
        })
    }
}

fn dump(lab: &Lab, words: &[&str]) -> Result<Dumped> {
    let images = workload::images(lab);
    if images.exists() {
        fs::remove_dir_all(&images)?;
    }
    let container = workload::start_with(lab, words)?;
    Dumped::by(lab, container.pid.as_raw().unsigned_abs(), &images)
}

fn restore(lab: &Lab) -> Result<f64> {
    let (running, time) = workload::restore_until_answer(lab)?;
    running.finish()?.success("crux-restore")?;
    Ok(time.as_secs_f64())
}

/// What it takes to be there at all.
fn start(program: &Path) -> Result<f64> {
    let start = Instant::now();
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).status()?;
    Ok(start.elapsed().as_secs_f64())
}

/// The roles of a restore are started, and have nothing to do as there is no image.
fn roles(programs: &Programs, runs: u32) -> Result<Row> {
    let all = || {
        let start = Instant::now();
        let mut command = Command::new(&programs.restore);
        let nothing = ["--images", "/proc/self/nothing"];
        let output = command.args(nothing).output()?;
        let time = start.elapsed().as_secs_f64();
        // Whatever fails before they are there is quicker.
        let said = String::from_utf8_lossy(&output.stderr);
        let image = output.status.code() == Some(5) && said.contains("/proc/self/nothing");
        ensure!(image, "{}: {said}", output.status);
        Ok(time)
    };
    let (crux, bare) = in_turn(runs, all, || start(&programs.restore))?;
    let name = "starting and ending the roles".to_owned();
    Ok(Row::seconds(name, crux, bare, ROLES))
}

fn memory(lab: &Lab, runs: u32, mib: usize) -> Result<Vec<Row>> {
    let (length, words) = (mib << 20, mib.to_string());
    let words = ["memory-of-crowd", &words];
    let (dumping, writing) = in_turn(
        runs,
        || Ok(dump(lab, &words)?.seconds),
        || in_a_process(|| write(&lab.path("bare"), length)),
    )?;
    let dump_peak = peak(|| dump(lab, &words).map(drop))?;
    let pages = workload::images(lab).join("pages.raw");
    let (restoring, reading) = in_turn(
        runs,
        || restore(lab),
        || in_a_process(|| read(&pages, length)),
    )?;
    let restore_peak = peak(|| restore(lab).map(drop))?;
    let limit = Target::Most(MEBIBYTES);
    Ok(vec![
        Row::seconds(format!("dump of {mib} MiB"), dumping, writing, MEMORY),
        Row::seconds(format!("restore of {mib} MiB"), restoring, reading, MEMORY),
        Row::mebibytes(format!("memory of a dump of {mib} MiB"), dump_peak, limit),
        Row::mebibytes(
            format!("memory of a restore of {mib} MiB"),
            restore_peak,
            limit,
        ),
    ])
}

fn in_a_process(job: impl FnOnce() -> Result<f64>) -> Result<f64> {
    let answer = in_child(|| Ok(job()?.to_le_bytes().to_vec()))?;
    Ok(f64::from_le_bytes(
        answer.try_into().ok().context("eight bytes")?,
    ))
}

/// One process writes its own memory.
fn write(path: &Path, length: usize) -> Result<f64> {
    let memory = vec![1u8; length];
    let start = Instant::now();
    File::create(path)?.write_all(&memory)?;
    let time = start.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    Ok(time)
}

/// One process reads it into memory that nobody has touched.
fn read(path: &Path, length: usize) -> Result<f64> {
    let mut memory = vec![0u8; length];
    let start = Instant::now();
    File::open(path)?.read_exact(&mut memory)?;
    Ok(start.elapsed().as_secs_f64())
}

/// The largest resident set of any of our processes during a job, in mebibytes. They are looked at again and again: the
/// kernel's own sum has the dumped and the restored processes in it.
fn peak(job: impl FnOnce() -> Result<()>) -> Result<f64> {
    let root = std::process::id();
    let done = AtomicBool::new(false);
    let (result, most) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(largest(root));
                std::thread::yield_now();
            }
            most
        });
        let result = job();
        done.store(true, Ordering::Relaxed);
        (result, watch.join().unwrap_or(0))
    });
    result?;
    Ok(most as f64 / 1024.0)
}

/// In kilobytes, of crux and its roles, which are its children. What is beneath those is no part of it.
fn largest(root: u32) -> u64 {
    let supervisors = crux_tests::children(root);
    let supervisors = supervisors
        .into_iter()
        .filter_map(|pid| Some((pid, resident(pid)?)));
    let with_roles = supervisors.map(|(pid, own)| {
        let roles = crux_tests::children(pid);
        roles.into_iter().filter_map(resident).fold(own, u64::max)
    });
    with_roles.max().unwrap_or(0)
}

fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let name = status.lines().next()?;
    let (_, rest) = status.split_once("VmHWM:")?;
    let ours = name.contains("crux-") && !name.contains("workload");
    rest.split_whitespace()
        .next()?
        .parse()
        .ok()
        .filter(|_| ours)
}

//! What runs in the machine: each test in a process of its own, and a line for each
//! thing that happens.
//!
//! Kind: effect. It is told what to run by the plan, and never decides what it means.

use super::events::{Event, PLAN, Plan, Test, Verdict};
use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _, stdout};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// More of what a test printed is not wanted: the line is slow.
const LONGEST: u64 = 24 * 1024;

/// Runs the plan. Standard output is the line to the other side.
pub(crate) fn run() -> Result<()> {
    let plan: Plan = serde_json::from_slice(&fs::read(PLAN).context(PLAN)?)?;
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    say(&Event::Ready { release })?;
    let (next, errors) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..plan.workers {
            scope.spawn(|| {
                if let Err(error) = work(&plan, &next) {
                    errors
                        .lock()
                        .unwrap_or_else(|bad| bad.into_inner())
                        .push(error);
                }
            });
        }
    });
    let errors = errors.into_inner().unwrap_or_default();
    errors.into_iter().next().map_or(Ok(()), Err)?;
    say(&Event::Done)
}

fn work(plan: &Plan, next: &AtomicUsize) -> Result<()> {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(test) = plan.tests.get(number) else {
            return Ok(());
        };
        say(&Event::Started(number))?;
        let start = Instant::now();
        let (verdict, output) = twice(test, plan);
        say(&Event::Ended {
            test: number,
            verdict,
            seconds: start.elapsed().as_secs_f64(),
            output,
        })?;
    }
}

/// On an emulated processor that others use as well, a test may fail by time alone: one that failed is run again. How
/// often that helped is told, and bounded ([`super::report`]).
fn twice(test: &Test, plan: &Plan) -> (Verdict, String) {
    let once = || {
        attempt(test, plan).unwrap_or_else(|error| (Verdict::Failed, format!("{test}: {error:#}")))
    };
    match once() {
        (Verdict::Failed, first) => match once() {
            (Verdict::Passed, _) => (Verdict::Later, first),
            second => second,
        },
        first => first,
    }
}

fn say(event: &Event) -> Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    let mut out = stdout().lock();
    out.write_all(&line)?;
    Ok(out.flush()?)
}

fn attempt(test: &Test, plan: &Plan) -> Result<(Verdict, String)> {
    let mut printed = File::from(memfd_create("output", MemfdFlags::CLOEXEC)?);
    let mut child = Command::new(&test.program)
        .args(["--exact", &test.name, "--nocapture"])
        .current_dir(&test.directory)
        .env("CARGO_MANIFEST_DIR", &test.directory)
        .env("RUST_BACKTRACE", "0")
        .env("CRUX_PATIENCE", plan.slowness.to_string())
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(printed.try_clone()?)
        .stderr(printed.try_clone()?)
        .spawn()
        .with_context(|| format!("failed to start {}", test.program.display()))?;
    let in_time = ends_in(&child, Duration::from_secs(plan.limit))?;
    if !in_time {
        kill_process_group(Pid::from_child(&child), Signal::KILL)?;
    }
    let status = child.wait()?;
    let output = end_of(&mut printed)?;
    // A program that knows no such test is content.
    let verdict = match in_time {
        false => Verdict::TimedOut,
        true if status.success() && output.contains("test result: ok. 1 passed") => Verdict::Passed,
        true => Verdict::Failed,
    };
    Ok(match verdict {
        Verdict::Passed => (verdict, String::new()),
        _ => (verdict, format!("{output}\n{status}")),
    })
}

fn ends_in(child: &Child, limit: Duration) -> Result<bool> {
    let handle = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).context("pidfd_open")?;
    let limit = Timespec::try_from(limit)?;
    Ok(poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit))? != 0)
}

/// The offset is shared with the test's processes, which may still be there.
fn end_of(file: &mut File) -> Result<String> {
    use std::os::fd::AsRawFd as _;
    let mut again = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let size = again.metadata()?.len();
    again.seek(std::io::SeekFrom::Start(size.saturating_sub(LONGEST)))?;
    let mut bytes = Vec::new();
    again.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

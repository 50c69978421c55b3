//! Watching a machine: what happens in it, and whether it still does.
//!
//! Kind: effect.

use super::cache;
use super::events::{Event, Verdict};
use super::qemu::Machine;
use super::report::{Report, Trouble};
use super::suite::Suite;
use anyhow::{Context as _, Result};
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a machine may take to come up, and to go down.
const BOOT: Duration = Duration::from_secs(120);
/// Lines of the console that are shown.
const LAST: usize = 40;

/// Starts a machine and follows it to its end.
pub(super) fn run(name: &str, machine: &Machine, suite: &Suite, limit: Duration) -> Result<Report> {
    let console = cache().join(format!("{}.console", machine.kernel.release));
    let start = Instant::now();
    let mut child = machine.start(&console)?;
    let lines = lines(child.stdout.take().context("the machine has no output")?);
    let mut report = Report::new(name, suite);
    let trouble = follow(&lines, suite, limit, &mut report, start);
    if trouble.is_none() && !ends(&mut child)? {
        eprintln!("the machine did not go down, and was stopped");
    }
    // It has ended, or has to.
    let _ = child.kill();
    child.wait()?;
    report.whole = start.elapsed();
    report.trouble = trouble.map(|trouble| (trouble, last_lines(&console)));
    Ok(report)
}

/// Takes in events until the last; what ends them before that is trouble.
fn follow(
    lines: &Receiver<String>,
    suite: &Suite,
    limit: Duration,
    report: &mut Report,
    start: Instant,
) -> Option<Trouble> {
    let mut patience = BOOT;
    loop {
        let line = match lines.recv_timeout(patience) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => return Some(Trouble::Silent(patience)),
            Err(RecvTimeoutError::Disconnected) => return Some(Trouble::Gone),
        };
        match serde_json::from_str(&line) {
            Ok(Event::Done) => return None,
            Ok(Event::Ready { release }) => {
                report.boot = start.elapsed();
                println!(
                    "Linux {release} is up after {:.1} s",
                    report.boot.as_secs_f64()
                );
                // The machine kills a test at its limit: it should not be late.
                patience = limit + BOOT;
            }
            Ok(event) => take_in(event, suite, report),
            Err(_) => println!("(unexpected: {line:?})"),
        }
    }
}

fn take_in(event: Event, suite: &Suite, report: &mut Report) {
    match event {
        Event::Started(test) => report.started(test),
        Event::Ended {
            test,
            verdict,
            seconds,
            output,
        } => {
            let word = match verdict {
                Verdict::Passed => "PASS",
                Verdict::Later => "PASS, the second time,",
                Verdict::Failed => "FAIL",
                Verdict::TimedOut => "TIME",
            };
            let name = suite.tests.get(test).map(ToString::to_string);
            println!("{word} [{seconds:>7.3}s] {}", name.unwrap_or_default());
            if verdict != Verdict::Passed {
                println!("{}", indented(&output));
            }
            report.ended(test, verdict);
        }
        Event::Ready { .. } | Event::Done => {}
    }
}

fn indented(text: &str) -> String {
    let lines = text.trim().lines().map(|line| format!("    {line}\n"));
    lines.collect()
}

/// The lines of the machine, as they come.
fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(from).split(b'\n').map_while(Result::ok);
        for line in lines {
            let line = String::from_utf8_lossy(&line).trim().to_owned();
            if !line.is_empty() && sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn ends(child: &mut std::process::Child) -> Result<bool> {
    let start = Instant::now();
    while start.elapsed() < BOOT {
        if child.try_wait()?.is_some() {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(false)
}

fn last_lines(console: &Path) -> String {
    let read = |path: &Path| {
        let bytes = fs::read(path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let text = read(console) + &read(&console.with_extension("qemu"));
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LAST);
    lines[from..].join("\n")
}

//! Watching a machine: what happens in it, and whether it still does.
//!
//! Kind: effect.

use super::cache;
use super::events::{Event, Verdict};
use super::qemu::Machine;
use super::report::{Report, Trouble};
use super::suite::Suite;
use anyhow::{Context as _, Result};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a machine may take to come up, and to go down.
const BOOT: Duration = Duration::from_secs(120);
/// Lines of the console that are shown.
const LAST: usize = 40;
/// What no kernel says that is well. Not "BUG:": a soft lockup of a slow host is printed so.
const FATAL: [&str; 2] = ["Kernel panic", "Oops:"];

/// How long to wait for the machine to say or do something.
struct Patience {
    /// Until it is up.
    boot: Duration,
    /// From then on, until its tests have ended.
    test: Duration,
    /// Until it is down.
    end: Duration,
}

/// Starts a machine and follows it to its end.
pub(super) fn run(name: &str, machine: &Machine, suite: &Suite, limit: Duration) -> Result<Report> {
    let console = cache().join(format!("{}.console", machine.kernel.release));
    // What an earlier machine said is not this one's, should QEMU not get as far as to open it.
    File::create(&console)?;
    let patience = Patience {
        boot: BOOT,
        // The machine kills a test at its limit: it should not be late.
        test: limit + BOOT,
        end: BOOT,
    };
    let mut report = Report::new(name, suite);
    let start = Instant::now();
    let child = machine.start(&console)?;
    watch(child, &console, suite, &patience, &mut report, start)?;
    Ok(report)
}

/// Follows a machine that was started, to its end.
fn watch(
    mut child: Child,
    console: &Path,
    suite: &Suite,
    patience: &Patience,
    report: &mut Report,
    start: Instant,
) -> Result<()> {
    let lines = lines(child.stdout.take().context("the machine has no output")?);
    let mut trouble = follow(&lines, suite, patience, report, start);
    if trouble.is_none() {
        trouble = stays_up(&mut child, patience.end)?;
    }
    // It has ended, or has to.
    let _ = child.kill();
    child.wait()?;
    report.whole = start.elapsed();
    let printed = text(console);
    // A kernel that failed is why a machine fell silent, ended early or stayed up.
    let trouble = failure(&printed).or(trouble);
    let qemu = text(&console.with_extension("qemu"));
    report.trouble = trouble.map(|trouble| (trouble, last_lines(&(printed + &qemu))));
    Ok(())
}

/// Takes in events until the last; what ends them before that is trouble.
fn follow(
    lines: &Receiver<String>,
    suite: &Suite,
    patience: &Patience,
    report: &mut Report,
    start: Instant,
) -> Option<Trouble> {
    let mut time = patience.boot;
    loop {
        let line = match lines.recv_timeout(time) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => return Some(Trouble::Silent(time)),
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
                time = patience.test;
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

/// Waits for a machine that has nothing left to do.
fn stays_up(child: &mut Child, limit: Duration) -> Result<Option<Trouble>> {
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() >= limit {
            return Ok(Some(Trouble::Up(limit)));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(None)
}

/// The first line of a console that says that the kernel failed. A panic ends the machine as
/// `poweroff` does, and if all tests have ended nothing else tells of it.
fn failure(console: &str) -> Option<Trouble> {
    let fatal = |line: &&str| FATAL.iter().any(|words| line.contains(words));
    let line = console.lines().find(fatal)?;
    Some(Trouble::Kernel(line.trim().to_owned()))
}

/// What is in a file; nothing if there is none.
fn text(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LAST);
    lines[from..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, memfd_create};
    use std::os::fd::AsRawFd as _;
    use std::process::{Command, Stdio};
    use std::sync::mpsc::Sender;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(20);

    fn said(sender: &Sender<String>, events: &[Event]) {
        for event in events {
            let line = serde_json::to_string(event).unwrap();
            sender.send(line).unwrap();
        }
    }

    fn ready() -> Event {
        let release = "6.1.0".into();
        Event::Ready { release }
    }

    fn passed(test: usize) -> Event {
        Event::Ended {
            test,
            verdict: Verdict::Passed,
            seconds: 0.5,
            output: String::new(),
        }
    }

    /// What comes of a suite of one test, and whether that is success.
    fn followed(
        lines: &Receiver<String>,
        boot: Duration,
        test: Duration,
    ) -> (Option<Trouble>, bool) {
        let suite = Suite::of(1);
        let mut report = Report::new("6.1", &suite);
        let end = LONG;
        let patience = Patience { boot, test, end };
        let trouble = follow(lines, &suite, &patience, &mut report, Instant::now());
        (trouble, report.passed())
    }

    #[test]
    fn a_machine_that_does_not_come_up_is_silent() {
        let (_sender, lines) = channel();
        let (trouble, _) = followed(&lines, SHORT, LONG);
        assert_eq!(trouble, Some(Trouble::Silent(SHORT)));
    }

    #[test]
    fn a_machine_that_is_up_has_the_time_of_a_test() {
        let (sender, lines) = channel();
        said(&sender, &[ready(), Event::Started(0)]);
        let (trouble, passed) = followed(&lines, LONG, SHORT);
        assert_eq!((trouble, passed), (Some(Trouble::Silent(SHORT)), false));
    }

    #[test]
    fn a_machine_that_ends_before_it_is_done_is_gone() {
        let (sender, lines) = channel();
        said(&sender, &[ready(), passed(0)]);
        drop(sender);
        // All tests have passed: the trouble alone makes it a failure.
        assert_eq!(followed(&lines, LONG, LONG), (Some(Trouble::Gone), true));
    }

    #[test]
    fn nothing_is_taken_in_after_the_last_event() {
        let (sender, lines) = channel();
        said(&sender, &[ready(), Event::Done, passed(0)]);
        assert_eq!(followed(&lines, LONG, LONG), (None, false));
        assert_eq!(lines.try_iter().count(), 1);
    }

    #[test]
    fn an_unexpected_line_is_no_event_and_no_end() {
        let (sender, lines) = channel();
        said(&sender, &[ready()]);
        for line in [
            "[    1.5] a kernel's",
            "\"Undone\"",
            "{\"Ended\":{\"test\":0}}",
        ] {
            sender.send(line.into()).unwrap();
        }
        said(&sender, &[passed(0), Event::Done]);
        assert_eq!(followed(&lines, LONG, LONG), (None, true));
    }

    /// What comes of a machine whose tests have ended, with this shell command instead of QEMU.
    fn watched(command: &str, end: Duration, console: &str) -> Option<(Trouble, String)> {
        let file = memfd_create("console", MemfdFlags::CLOEXEC).unwrap();
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        fs::write(&path, console).unwrap();
        let done = serde_json::to_string(&Event::Done).unwrap();
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", &format!("echo '{done}'; {command}")]);
        let child = shell.stdout(Stdio::piped()).spawn().unwrap();
        let suite = Suite::of(0);
        let mut report = Report::new("6.1", &suite);
        let patience = Patience {
            boot: LONG,
            test: LONG,
            end,
        };
        let start = Instant::now();
        watch(
            child,
            Path::new(&path),
            &suite,
            &patience,
            &mut report,
            start,
        )
        .unwrap();
        assert_eq!(report.passed(), report.trouble.is_none());
        report.trouble
    }

    #[test]
    fn a_machine_that_does_not_go_down_is_trouble() {
        let printed = "the tests ended: 0".to_owned();
        let up = watched("exec sleep 1000", SHORT, &printed);
        assert_eq!(up, Some((Trouble::Up(SHORT), printed.clone())));
        assert_eq!(watched("exit", LONG, &printed), None);
    }

    #[test]
    fn a_kernel_that_fails_on_its_way_down_is_trouble() {
        let panic = "Kernel panic - not syncing: Fatal exception";
        let console = format!("the tests ended: 0\n{panic}");
        for (command, end) in [("exit", LONG), ("exec sleep 1000", SHORT)] {
            let failed = Trouble::Kernel(panic.into());
            assert_eq!(
                watched(command, end, &console),
                Some((failed, console.clone()))
            );
        }
    }

    #[test]
    fn a_kernel_that_failed_is_found_by_its_first_words() {
        let end = "the tests ended: 0\r\n[ 1119.9] reboot: Power down\r\n";
        let slow = "[ 80.1] watchdog: BUG: soft lockup - CPU#1 stuck for 23s! [tests:812]\r\n";
        let oops = "[ 81.0] Oops: 0002 [#1] PREEMPT SMP NOPTI";
        let panic = "[ 81.2] Kernel panic - not syncing: Fatal exception";
        let cases = [
            (String::new(), None),
            (end.to_owned(), None),
            (format!("{slow}{end}"), None),
            (format!("{slow}{oops}\r\n{panic}\r\n"), Some(oops)),
            (format!("the tests ended: 0\r\n{panic}\r\n"), Some(panic)),
        ];
        for (console, line) in cases {
            let expected = line.map(|line| Trouble::Kernel(line.to_owned()));
            assert_eq!(failure(&console), expected, "{console}");
        }
    }
}

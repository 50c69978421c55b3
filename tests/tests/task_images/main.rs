//! Tasks of images that are made by hand: what becomes of them, and of crux-restore.

mod record;

use anyhow::{Context as _, Result, ensure};
use crux_image::tasks::Tasks;
use crux_tests::{Lab, Running, Setup};
use record::{image, place, record};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper};
use std::fs;
use std::time::{Duration, Instant};

/// Starts a restore of a record.
fn restore(lab: &Lab, tasks: &Tasks, options: &[&str]) -> Result<Running> {
    let (images, mut own) = image(lab, tasks)?;
    own.extend(options.iter().map(|option| (*option).to_owned()));
    lab.programs.restore_tasks(&images, &own)
}

/// Waits until the program has said that it runs.
fn wait_for_letter(running: &mut Running) -> Result<()> {
    wait(running, |running| Ok(running.printed()? == b"M"))
}

fn wait(running: &mut Running, mut done: impl FnMut(&mut Running) -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !done(running)? {
        let complaint = String::from_utf8_lossy(&running.complained()?).into_owned();
        ensure!(start.elapsed() < Duration::from_secs(60), "{complaint}");
        // Who has detached is gone, and its tasks are not.
        if let Some(status) = running.ended()?.filter(|status| !status.success()) {
            ensure!(done(running)?, "{status}: {complaint}");
        }
        std::thread::yield_now();
    }
    Ok(())
}

#[test]
fn root_the_exit_status_of_the_first_task_is_passed_on() {
    Lab::test(Setup::ROOT, |lab| {
        let mut running = restore(lab, &record()?, &[])?;
        wait_for_letter(&mut running)?;
        ensure!(running.ended()?.is_none(), "it did not wait");
        running.say("x")?;
        let output = running.finish()?;
        ensure!(output.code() == Some(7), "{output:?}");
        Ok(())
    });
}

#[test]
fn root_who_detaches_leaves_and_writes_the_pid() {
    Lab::test(Setup::ROOT, |lab| {
        let pidfile = lab.path("pid");
        let option = format!("--pidfile={}", pidfile.display());
        let mut running = restore(lab, &record()?, &["--detach", "--inherit-stdio", &option])?;
        wait(&mut running, |running| Ok(running.ended()?.is_some()))?;
        let pid: u32 = fs::read_to_string(&pidfile)?.trim().parse()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let mut lines = status.lines();
            lines
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        ensure!(
            field("NSpid:").is_some_and(|it| it.ends_with("\t1")),
            "{status}"
        );
        ensure!(field("TracerPid:") == Some("0"), "{status}");
        ensure!(field("Seccomp:") == Some("0"), "{status}");
        ensure!(field("NoNewPrivs:") == Some("0"), "{status}");
        running.say("x")?;
        ends(pid)
    });
}

#[test]
fn root_a_restored_task_has_nothing_that_is_not_its_own() {
    Lab::test(Setup::ROOT, |lab| {
        let mut running = restore(lab, &record()?, &[])?;
        wait_for_letter(&mut running)?;
        let pid = of_namespace(running.id())?;
        let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let own = maps.lines().filter(|line| !line.contains("[vsyscall]"));
        let own: Vec<_> = own.filter_map(|line| line.split(' ').next()).collect();
        ensure!(own == ["10000000-10001000", "20000000-20001000"], "{maps}");
        let mut fds: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd"))?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<Result<_>>()?;
        fds.sort();
        ensure!(fds == ["0", "1"], "{fds:?}");
        let comm = fs::read_to_string(format!("/proc/{pid}/comm"))?;
        ensure!(comm == "made by hand\n", "{comm}");
        running.say("x")?;
        ensure!(running.finish()?.code() == Some(7));
        Ok(())
    });
}

#[test]
fn root_a_line_that_fails_is_named_and_everything_is_undone() {
    Lab::test(Setup::ROOT, |lab| {
        set_child_subreaper(Some(getpid()))?;
        let mut tasks = record()?;
        tasks.fs[0].working = place("not/there");
        let output = restore(lab, &tasks, &[])?.finish()?;
        ensure!(output.code() == Some(6), "{output:?}");
        ensure!(output.stderr.contains("task 1 line "), "{output:?}");
        ensure!(output.stderr.contains("openat2"), "{output:?}");
        ensure!(output.stderr.contains("ENOENT"), "{output:?}");
        ensure!(output.stdout.is_empty(), "{output:?}");
        nobody_is_left()
    });
}

#[test]
fn root_tasks_that_are_left_stopped_go_on_with_sigcont() {
    Lab::test(Setup::ROOT, |lab| {
        let pidfile = lab.path("pid");
        let option = format!("--pidfile={}", pidfile.display());
        let options = ["--detach", "--inherit-stdio", "--leave-stopped", &option];
        let mut running = restore(lab, &record()?, &options)?;
        wait(&mut running, |running| Ok(running.ended()?.is_some()))?;
        let pid: i32 = fs::read_to_string(&pidfile)?.trim().parse()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        ensure!(status.contains("State:\tT (stopped)"), "{status}");
        ensure!(running.printed()?.is_empty(), "it ran");
        let pid = Pid::from_raw(pid).context("a pid")?;
        kill_process(pid, Signal::CONT)?;
        wait_for_letter(&mut running)?;
        running.say("x")?;
        ends(pid.as_raw_pid().unsigned_abs())
    });
}

#[test]
fn root_who_is_killed_at_any_moment_leaves_no_task() {
    Lab::test(Setup::ROOT, |lab| {
        set_child_subreaper(Some(getpid()))?;
        let (images, options) = image(lab, &record()?)?;
        for after in (0..60).map(Duration::from_millis) {
            let mut running = lab.programs.restore_tasks(&images, &options)?;
            let start = Instant::now();
            while start.elapsed() < after {
                std::thread::yield_now();
            }
            let pid = Pid::from_raw(running.id() as i32).context("a pid")?;
            kill_process(pid, Signal::KILL)?;
            while running.ended()?.is_none() {}
            // Once it runs it has been let go, and lives until its input ends.
            if running.printed()?.is_empty()
                && let Err(error) = nobody_is_left()
            {
                ensure!(running.printed()? == b"M", "after {after:?}: {error}");
            }
            running.finish()?;
            nobody_is_left()?;
        }
        Ok(())
    });
}

/// Whatever a restore has left is a child of this process now, and ends by itself.
fn nobody_is_left() -> Result<()> {
    let start = Instant::now();
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Err(Errno::CHILD) => return Ok(()),
            Err(errno) => return Err(errno.into()),
            Ok(_) => {}
        }
        ensure!(start.elapsed() < Duration::from_secs(5), "somebody is left");
        std::thread::yield_now();
    }
}

/// Waits until a process is no more than a zombie that somebody else is to wait for.
fn ends(pid: u32) -> Result<()> {
    let start = Instant::now();
    loop {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") {
            return Ok(());
        }
        ensure!(start.elapsed() < Duration::from_secs(60), "{stat}");
        std::thread::yield_now();
    }
}

/// The process beneath `pid` that is the first of a pid namespace.
fn of_namespace(pid: u32) -> Result<u32> {
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let status = fs::read_to_string(format!("/proc/{}/status", name.to_string_lossy()));
        let Ok(status) = status else { continue };
        let first = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_default().trim().to_owned()
        };
        let beneath = parents(&first("PPid:")).any(|it| it == pid);
        if beneath && first("NSpid:").ends_with("\t1") {
            return Ok(name.to_string_lossy().parse()?);
        }
    }
    None.context("there is no restored task")
}

fn parents(of: &str) -> impl Iterator<Item = u32> {
    let parent = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        line.trim().parse().ok().filter(|it| *it != 0)
    };
    std::iter::successors(of.parse().ok(), parent)
}

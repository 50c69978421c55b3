//! Tasks of images that are made by hand: what becomes of them, and of crux-restore.

mod record;

use anyhow::{Context as _, Result, ensure};
use crux_image::tasks::Tasks;
use crux_tests::{Lab, Running, Setup};
use record::{image, record};
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
        if let Some(status) = running.ended()? {
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
        let mut running = restore(lab, &record()?, &["--detach", &option])?;
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

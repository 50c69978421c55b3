//! Dumps of processes that live on: they notice nothing, whatever becomes of the dumper.
//!
//! The workload is shell loops that fork, sleep and look at the clock all the time, and write
//! down whatever is not as it should be.

use anyhow::{Context as _, Result, ensure};
use crux_image::directory::ImageReader;
use crux_tests::tracing::{Fault, run};
use crux_tests::{Container, Lab, Setup, Site, Spec};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const LOOPS: usize = 4;

/// Sleeps of a fifth of a second, each in a new process, on and on. Each says how it ended and
/// is timed by hundredths of a second in /proc/uptime.
const LOOP: &str = r#"
n=0
while :; do
    read -r a rest < /proc/uptime
    sleep 0.2 || echo "sleep ended with $?" >> /tmp/wrong
    read -r b rest < /proc/uptime
    [ $(( ${b%.*}${b#*.} - ${a%.*}${a#*.} )) -ge 19 ] || echo "slept from $a to $b" >> /tmp/wrong
    n=$((n + 1))
    echo $n > /tmp/count.$1
done"#;

fn start(lab: &Lab) -> Result<Container> {
    let spec = Spec::new(lab.root("root")?);
    let build = |site: &Site<'_>| {
        site.mount("proc", "proc", "/proc", "nosuid,nodev,noexec", "")?;
        site.mount("tmpfs", "tmp", "/tmp", "nosuid,nodev", "mode=1777")?;
        site.mount("tmpfs", "dev", "/dev", "nosuid", "mode=755")?;
        site.bind(Path::new("/dev/null"), "/dev/null", "rw")
    };
    let inside = || {
        for number in 0..LOOPS {
            let number = number.to_string();
            Command::new("/bin/busybox")
                .args(["sh", "-c", LOOP, "sh", &number])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .context("failed to start a loop")?;
        }
        Ok(())
    };
    Container::start(lab, &spec, build, inside)
}

fn images(lab: &Lab) -> PathBuf {
    lab.path("images")
}

fn arguments(lab: &Lab, container: &Container, more: &[&str]) -> Vec<String> {
    let (pid, images) = (container.pid.to_string(), images(lab));
    let images = images.to_string_lossy();
    let fixed = ["--pid", &pid, "--images", &images, "--external", "auto"];
    fixed
        .iter()
        .chain(more)
        .map(|&word| word.to_owned())
        .collect()
}

fn dump(lab: &Lab, container: &Container, more: &[&str]) -> Result<Output> {
    let mut command = Command::new(&lab.programs.dump);
    command.args(arguments(lab, container, more));
    command.stdin(Stdio::null()).output().context("crux-dump")
}

fn success(output: &Output) -> Result<()> {
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {words}", output.status);
    Ok(())
}

fn counts(container: &Container) -> Result<Vec<u64>> {
    let count = |number| {
        let text = fs::read_to_string(container.path(&format!("/tmp/count.{number}")));
        // A shell empties the file before it writes.
        text.map(|text| text.trim().parse().unwrap_or(0))
    };
    let all = (0..LOOPS).map(|number| count(number).or(Ok(0)));
    all.collect()
}

/// All loops go on, and nothing is wrong.
fn is_undisturbed(container: &Container) -> Result<()> {
    let (before, since) = (counts(container)?, Instant::now());
    loop {
        let wrong = fs::read_to_string(container.path("/tmp/wrong")).unwrap_or_default();
        ensure!(wrong.is_empty(), "{wrong}");
        let now = counts(container)?;
        if now.iter().zip(&before).all(|(now, before)| now > before) {
            return Ok(());
        }
        ensure!(
            since.elapsed() < Duration::from_secs(30),
            "{before:?} {now:?}"
        );
        std::thread::yield_now();
    }
}

#[test]
fn root_a_tree_that_forks_all_the_time_is_dumped_and_notices_nothing() {
    Lab::test(Setup::ROOT, |lab| {
        let container = start(lab)?;
        is_undisturbed(&container)?;
        for _ in 0..5 {
            success(&dump(lab, &container, &["--leave-running"])?)?;
            is_undisturbed(&container)?;
            let image = ImageReader::open(&images(lab))?;
            let mounts = image.mounts()?;
            let tasks = image.tasks(&mounts)?.context("the image has no tasks")?;
            let children = tasks.children(0.into()).count();
            ensure!(
                children >= LOOPS,
                "{children} children of the first process"
            );
            fs::remove_dir_all(images(lab))?;
        }
        Ok(())
    });
}

/// Counted over all of the dumper's processes: its death ends them all.
#[test]
fn root_a_dumper_that_is_killed_at_any_call_leaves_the_tasks_undisturbed() {
    /// Calls from one death to the next.
    const STRIDE: usize = 173;
    Lab::test(Setup::ROOT, |lab| {
        let container = start(lab)?;
        let (mut nth, mut deaths) = (STRIDE, 0);
        loop {
            let words = arguments(lab, &container, &["--leave-running"]);
            let traced = run(&lab.programs.dump, words, Fault::Kill { nth })?;
            is_undisturbed(&container).with_context(|| format!("killed at call {nth}"))?;
            for name in ["images", "images.partial"] {
                let _ = fs::remove_dir_all(lab.path(name));
            }
            if traced.hit.is_none() {
                break;
            }
            (nth, deaths) = (nth + STRIDE, deaths + 1);
        }
        ensure!(deaths > 5, "it was killed {deaths} times only");
        Ok(())
    });
}

#[test]
fn root_tasks_end_when_their_image_is_complete() {
    Lab::test(Setup::ROOT, |lab| {
        let container = start(lab)?;
        is_undisturbed(&container)?;
        let directory = PathBuf::from(format!("/proc/{}", container.pid));
        let output = dump(lab, &container, &[])?;
        success(&output)?;
        ensure!(
            !directory.join("exe").exists(),
            "the first process is still there"
        );
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(words.contains("frozen for"), "{words}");
        Ok(())
    });
}

#[test]
fn root_stopped_tasks_are_left_as_by_sigstop() {
    Lab::test(Setup::ROOT, |lab| {
        let container = start(lab)?;
        is_undisturbed(&container)?;
        success(&dump(lab, &container, &["--leave-stopped"])?)?;
        let status = fs::read_to_string(format!("/proc/{}/status", container.pid))?;
        ensure!(status.contains("State:\tT (stopped)"), "{status}");
        ensure!(status.contains("TracerPid:\t0"), "{status}");
        Ok(())
    });
}

#[test]
fn root_a_task_that_is_traced_already_is_an_obstacle() {
    Lab::test(Setup::ROOT, |lab| {
        let container = start(lab)?;
        ptrace::seize(container.pid, ptrace::Options::empty())?;
        let output = dump(lab, &container, &[])?;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(3), "{words}");
        ensure!(
            words.contains("it is traced already, by process"),
            "{words}"
        );
        for name in ["images", "images.partial"] {
            ensure!(!lab.path(name).exists(), "{name} is left");
        }
        ptrace::interrupt(container.pid)?;
        waitpid(container.pid, Some(WaitPidFlag::__WALL))?;
        ptrace::detach(container.pid, None)?;
        is_undisturbed(&container)
    });
}

#[test]
fn root_a_dry_run_of_tasks_writes_nothing_and_lets_them_go_on() {
    Lab::test(Setup::ROOT, |lab| {
        let container = start(lab)?;
        success(&dump(lab, &container, &["--dry-run"])?)?;
        for name in ["images", "images.partial"] {
            ensure!(!lab.path(name).exists(), "{name} is left");
        }
        is_undisturbed(&container)
    });
}

//! Containers whose program sets a state up and looks after it itself: most run a scenario of `crux-workload`.
//!
//! Kind: effect.

use crate::looks::{changes, looks};
use crate::{Container, Detached, Lab, Output, Program, Running, Site, Spec};
use anyhow::{Context as _, Result, bail, ensure};
use nix::sched::CloneFlags;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a program that is linked dynamically needs, from the host.
const LIBRARIES: [&str; 4] = ["/usr", "/lib", "/lib64", "/etc/ld.so.cache"];

/// A container that runs a scenario, and is ready.
pub fn start(lab: &Lab, scenario: &str) -> Result<Container> {
    start_with(lab, &[scenario])
}

/// The same, with more words for the program.
pub fn start_with(lab: &Lab, words: &[&str]) -> Result<Container> {
    let place = "/bin/crux-workload";
    let words: Vec<&str> = [place].iter().chain(words).copied().collect();
    start_program(lab, &words, &[(lab.programs.workload.as_path(), place)])
}

/// A container with its own /proc, /tmp and /dev that runs a program which talks as `crux-workload` does, and is
/// ready; with what else it needs of the host, and where.
pub fn start_program(lab: &Lab, command: &[&str], brings: &[(&Path, &str)]) -> Result<Container> {
    let mut spec = Spec::new(lab.root("root")?);
    spec.program = Program::Talking(command.iter().map(|&word| word.to_owned()).collect());
    start_spec(lab, &spec, brings)
}

/// A container that runs a scenario in the network namespace of the lab's process.
pub fn start_in_this_network(lab: &Lab, scenario: &str) -> Result<Container> {
    let place = "/bin/crux-workload";
    let mut spec = Spec::new(lab.root("root")?);
    spec.namespaces.remove(CloneFlags::CLONE_NEWNET);
    spec.program = Program::Talking(vec![place.to_owned(), scenario.to_owned()]);
    start_spec(lab, &spec, &[(lab.programs.workload.as_path(), place)])
}

fn start_spec(lab: &Lab, spec: &Spec, brings: &[(&Path, &str)]) -> Result<Container> {
    let mut container = Container::start(lab, spec, |site| build(site, brings), || Ok(()))?;
    let said = container.hear()?;
    ensure!(said == "ready", "the workload said {said:?}");
    Ok(container)
}

fn build(site: &Site<'_>, brings: &[(&Path, &str)]) -> Result<()> {
    // A machine need not have all of them.
    let here = LIBRARIES
        .iter()
        .filter(|library| Path::new(library).exists());
    for library in here {
        let path = Path::new(library);
        // Where /lib is a link to usr/lib, so it is in the container.
        match std::fs::read_link(path) {
            // A root directory may be used again.
            Ok(_) if site.at(library).is_symlink() => {}
            Ok(target) => std::os::unix::fs::symlink(target, site.at(library))?,
            Err(_) => site.bind(path, library, "ro")?,
        }
    }
    for (from, at) in brings {
        site.bind(from, at, "ro")?;
    }
    site.mount("proc", "proc", "/proc", "nosuid,nodev,noexec", "")?;
    site.mount("tmpfs", "tmp", "/tmp", "nosuid,nodev", "mode=1777")?;
    site.mount("tmpfs", "dev", "/dev", "nosuid", "mode=755")?;
    site.bind(Path::new("/dev/null"), "/dev/null", "rw")?;
    site.bind(Path::new("/dev/tty"), "/dev/tty", "rw")?;
    site.mount(
        "devpts",
        "pts",
        "/dev/pts",
        "nosuid,noexec",
        "ptmxmode=666,newinstance",
    )
}

/// Has the program look after its state.
pub fn ask(container: &mut Container) -> Result<()> {
    container.say("look")?;
    let said = container.hear()?;
    ensure!(said == "ok", "the workload said {said:?}");
    Ok(())
}

/// Dumped and restored while it is stopped: nothing of it looks different, and it goes on.
pub fn looks_the_same(lab: &Lab, container: Container) -> Result<()> {
    dump(lab, &container, &["--leave-stopped"])?;
    let before = looks(container.pid.as_raw().unsigned_abs())?;
    drop(container);
    let pidfile = lab.path("pid");
    let root = format!("--root={}", lab.path("root").display());
    let name = format!("--pidfile={}", pidfile.display());
    let options = ["--external=auto", &root, "--leave-stopped", &name];
    let mut restored = lab.programs.restore_tasks(&images(lab), &options)?;
    // Written when they are let go.
    let pid = loop {
        let text = std::fs::read_to_string(&pidfile).unwrap_or_default();
        if let Some(number) = text.strip_suffix('\n') {
            break number.parse()?;
        }
        if restored.ended()?.is_some() {
            bail!("crux-restore: {:?}", restored.finish()?);
        }
        std::thread::yield_now();
    };
    let restored = Detached::new(pid)?;
    let changes = changes(&before, &looks(restored.pid())?);
    ensure!(changes.is_empty(), "{}", changes.join("\n"));
    Ok(())
}

/// Left running by a first dump, ended by a second, and restored: it notices nothing.
pub fn survives(lab: &Lab, mut container: Container) -> Result<()> {
    dump(lab, &container, &["--leave-running"])?;
    ask(&mut container).context("after a dump")?;
    std::fs::remove_dir_all(images(lab))?;
    dump(lab, &container, &[])?;
    let said = container.hear()?;
    ensure!(said.is_empty(), "it was to end, and said {said}");
    drop(container);
    verify(restore(lab)?, 2)
}

/// Where the image goes.
pub fn images(lab: &Lab) -> PathBuf {
    lab.path("images")
}

/// Exit 3 with these words, no image, and a workload that has noticed nothing.
pub fn is_refused(lab: &Lab, container: &mut Container, words: &[&str]) -> Result<()> {
    let pid = container.pid.as_raw().unsigned_abs();
    let options = ["--external", "auto"];
    let output = lab.programs.dump_tasks(pid, &images(lab), &options)?;
    let said = &output.stderr;
    ensure!(output.code() == Some(3), "{:?}: {said}", output.status);
    ensure!(said.starts_with("Error: "), "{said}");
    for word in words {
        ensure!(said.contains(word), "not a word of {word:?}: {said}");
    }
    for name in ["images", "images.partial"] {
        ensure!(!lab.path(name).exists(), "{name} is left");
    }
    ask(container)?;
    ask(container)
}

/// Dumps it; what is outside of it is external.
pub fn dump(lab: &Lab, container: &Container, options: &[&str]) -> Result<Output> {
    let options = [&["--external", "auto"][..], options].concat();
    let pid = container.pid.as_raw().unsigned_abs();
    lab.programs
        .dump_tasks(pid, &images(lab), &options)?
        .success("crux-dump")
}

/// Starts its restore.
pub fn restore(lab: &Lab) -> Result<Running> {
    let root = format!("--root={}", lab.path("root").display());
    let options = ["--external=auto", &root];
    lab.programs.restore_tasks(&images(lab), &options)
}

/// Restores it, and asks once: from the start of crux-restore until that is answered.
pub fn restore_until_answer(lab: &Lab) -> Result<(Running, Duration)> {
    let root = format!("--root={}", lab.path("root").display());
    let options = ["--external=auto", &root];
    let start = Instant::now();
    let programs = &lab.programs;
    let (running, said) = programs.restore_tasks_until_said(&images(lab), &options, "look")?;
    let time = start.elapsed();
    if said != b"ok\n" {
        let output = running.finish()?.success("crux-restore")?;
        bail!("the workload said {said:?}: {}", output.stderr);
    }
    Ok((running, time))
}

/// Asks the restored workload `rounds` times, and lets it end.
pub fn verify(mut restored: Running, rounds: usize) -> Result<()> {
    for _ in 0..rounds {
        restored.say("look")?;
    }
    let output = restored.finish()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.code() == Some(0),
        "{said}{}\n{}",
        output.status,
        output.stderr
    );
    ensure!(said == "ok\n".repeat(rounds), "{said}");
    Ok(())
}

//! Containers that run a scenario of `crux-workload`, which sets a state up and looks after it itself.
//!
//! Kind: effect.

use crate::{Container, Lab, Output, Program, Running, Site, Spec};
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};

/// What a program that is linked dynamically needs, from the host.
const LIBRARIES: [&str; 4] = ["/usr", "/lib", "/lib64", "/etc/ld.so.cache"];

/// A container with its own /proc, /tmp and /dev that runs a scenario, and is ready.
pub fn start(lab: &Lab, scenario: &str) -> Result<Container> {
    let mut spec = Spec::new(lab.root("root")?);
    spec.program = Program::Talking(vec!["/bin/crux-workload".into(), scenario.into()]);
    let mut container = Container::start(
        lab,
        &spec,
        |site| build(site, &lab.programs.workload),
        || Ok(()),
    )?;
    let said = container.hear()?;
    ensure!(said == "ready", "the workload said {said:?}");
    Ok(container)
}

fn build(site: &Site<'_>, workload: &Path) -> Result<()> {
    // A machine need not have all of them.
    let here = LIBRARIES
        .iter()
        .filter(|library| Path::new(library).exists());
    for library in here {
        let path = Path::new(library);
        // Where /lib is a link to usr/lib, so it is in the container.
        match std::fs::read_link(path) {
            Ok(target) => std::os::unix::fs::symlink(target, site.at(library))?,
            Err(_) => site.bind(path, library, "ro")?,
        }
    }
    site.bind(workload, "/bin/crux-workload", "ro")?;
    site.mount("proc", "proc", "/proc", "nosuid,nodev,noexec", "")?;
    site.mount("tmpfs", "tmp", "/tmp", "nosuid,nodev", "mode=1777")?;
    site.mount("tmpfs", "dev", "/dev", "nosuid", "mode=755")?;
    site.bind(Path::new("/dev/null"), "/dev/null", "rw")
}

/// Where the image goes.
pub fn images(lab: &Lab) -> PathBuf {
    lab.path("images")
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

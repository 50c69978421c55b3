//! Whole containers with their processes: dumped while they run, ended, restored, and looked
//! after by the program in them (`crux-workload`).

use anyhow::{Result, ensure};
use crux_tests::{Container, Lab, Output, Program, Running, Setup, Site, Spec};
use std::path::{Path, PathBuf};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_crux-workload");
/// What a program that is linked dynamically needs, from the host.
const LIBRARIES: [&str; 4] = ["/usr", "/lib", "/lib64", "/etc/ld.so.cache"];

/// A container with its own /proc, /tmp and /dev that runs a scenario, and is ready.
fn start(lab: &Lab, scenario: &str) -> Result<Container> {
    let mut spec = Spec::new(lab.root("root")?);
    spec.program = Program::Talking(vec!["/bin/crux-workload".into(), scenario.into()]);
    let mut container = Container::start(lab, &spec, build, || Ok(()))?;
    let said = container.hear()?;
    ensure!(said == "ready", "the workload said {said:?}");
    Ok(container)
}

fn build(site: &Site<'_>) -> Result<()> {
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
    site.bind(Path::new(WORKLOAD), "/bin/crux-workload", "ro")?;
    site.mount("proc", "proc", "/proc", "nosuid,nodev,noexec", "")?;
    site.mount("tmpfs", "tmp", "/tmp", "nosuid,nodev", "mode=1777")?;
    site.mount("tmpfs", "dev", "/dev", "nosuid", "mode=755")?;
    site.bind(Path::new("/dev/null"), "/dev/null", "rw")
}

fn images(lab: &Lab) -> PathBuf {
    lab.path("images")
}

fn dump(lab: &Lab, container: &Container, options: &[&str]) -> Result<Output> {
    let options = [&["--external", "auto"][..], options].concat();
    let pid = container.pid.as_raw().unsigned_abs();
    lab.programs
        .dump_tasks(pid, &images(lab), &options)?
        .success("crux-dump")
}

fn restore(lab: &Lab) -> Result<Running> {
    let root = format!("--root={}", lab.path("root").display());
    let options = ["--external=auto", &root];
    lab.programs.restore_tasks(&images(lab), &options)
}

/// Asks the restored workload `rounds` times, and lets it end.
fn verify(mut restored: Running, rounds: usize) -> Result<()> {
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

/// The judge is judged first: without a dump in between each scenario is content.
#[test]
fn root_workloads_are_content_when_nothing_happens() {
    for scenario in SCENARIOS {
        Lab::test(Setup::ROOT, |lab| {
            let mut container = start(lab, scenario)?;
            for _ in 0..2 {
                container.say("look")?;
                let said = container.hear()?;
                ensure!(said == "ok", "{scenario}: {said}");
            }
            Ok(())
        });
    }
}

/// Left running by a first dump, ended by a second, and restored: it notices nothing.
fn survives(scenario: &str) {
    Lab::test(Setup::ROOT, |lab| {
        let mut container = start(lab, scenario)?;
        dump(lab, &container, &["--leave-running"])?;
        container.say("look")?;
        let said = container.hear()?;
        ensure!(said == "ok", "after a dump: {said}");
        std::fs::remove_dir_all(images(lab))?;
        dump(lab, &container, &[])?;
        let said = container.hear()?;
        ensure!(said.is_empty(), "it was to end, and said {said}");
        drop(container);
        verify(restore(lab)?, 2)
    });
}

macro_rules! survive {
    ($($name:ident $scenario:literal;)*) => {
        $(#[test]
        fn $name() {
            survives($scenario);
        })*

        const SCENARIOS: &[&str] = &[$($scenario),*];
    };
}

survive! {
    root_a_single_process_survives "nothing";
    root_memory_survives "memory";
    root_shared_memory_survives "shared-memory";
    root_copied_memory_survives "copy-on-write";
    root_open_files_survive "files";
    root_pipes_survive "pipes";
    root_signals_survive "signals";
    root_timers_survive "timers";
    root_a_family_survives "tree";
    root_those_who_have_ended_are_still_there "zombie";
    root_registers_survive "processor";
    root_sleeps_keep_their_length "sleep";
    root_identity_survives "identity";
    root_threads_survive "threads";
}

//! Other people's runtimes: what they keep for themselves (threads, timers, stacks, code made as they run)
//! has to survive as well as what the kernel keeps for them.
//!
//! Their programs are in tests/runtimes, and look after their own state.

use crux_tests::workload::{self, ask, start_program};
use crux_tests::{Lab, Setup};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/runtimes");

/// Where the programs are in the container, and what is compiled of them.
const PLACE: &str = "/programs";
const COMPILED: &str = "/compiled";

/// Content when nothing happens; then dumped, dumped, and restored.
fn survives(command: &[&str], brings: &[(&Path, &str)]) {
    let brings = [&[(Path::new(PROGRAMS), PLACE)], brings].concat();
    // Nothing of the machine's environment.
    let bare = ["/usr/bin/env", "-i", "PATH=/usr/bin:/bin"];
    let command = [&bare, command].concat();
    let start = |lab: &Lab| start_program(lab, &command, &brings);
    Lab::test(Setup::ROOT, |lab| ask(&mut start(lab)?));
    Lab::test(Setup::ROOT, |lab| workload::survives(lab, start(lab)?));
}

/// A directory for what a compiler makes of a program.
fn compiled(compiler: impl FnOnce(&Path) -> Command) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let output = compiler(directory.path()).output().expect("a compiler");
    assert!(output.status.success(), "{output:?}");
    directory
}

#[test]
fn root_a_shell_of_busybox_survives() {
    survives(&["/bin/busybox", "ash", "/programs/counting.sh"], &[]);
}

#[test]
fn root_bash_survives() {
    survives(&["/usr/bin/bash", "/programs/counting.sh"], &[]);
}

#[test]
fn root_python_survives() {
    survives(&["/usr/bin/python3", "/programs/counting.py"], &[]);
}

#[test]
fn root_go_survives() {
    let made = compiled(|directory| {
        let mut go = Command::new("go");
        go.arg("build").arg("-o").arg(directory.join("counting"));
        go.arg(format!("{PROGRAMS}/counting.go"));
        go
    });
    survives(&["/compiled/counting"], &[(made.path(), COMPILED)]);
}

#[test]
fn root_java_survives() {
    let made = compiled(|directory| {
        let mut javac = Command::new("javac");
        javac.arg("-d").arg(directory);
        javac.arg(format!("{PROGRAMS}/Counting.java"));
        javac
    });
    let java = std::fs::canonicalize("/usr/bin/java").expect("java");
    let java = java.to_str().expect("a name in UTF-8");
    let mut brings = vec![(made.path().to_owned(), COMPILED.to_owned())];
    // Its settings are links to there.
    let settings = std::fs::read_dir("/etc").expect("/etc");
    brings.extend(settings.filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = path.to_str()?.to_owned();
        name.starts_with("/etc/java-").then_some((path, name))
    }));
    let brings: Vec<_> = brings
        .iter()
        .map(|(from, at)| (from.as_path(), at.as_str()))
        .collect();
    survives(
        &[
            java,
            "-Xmx128m",
            "-XX:+UseG1GC",
            "-cp",
            COMPILED,
            "Counting",
        ],
        &brings,
    );
}

#[test]
fn root_node_survives() {
    survives(&["/usr/bin/node", "/programs/counting.js"], &[]);
}

/// A server, with clients.
#[test]
fn root_redis_survives() {
    survives(&["/usr/bin/python3", "/programs/keeping.py"], &[]);
}

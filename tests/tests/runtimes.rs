//! Other people's runtimes: what they keep for themselves (threads, timers, stacks, code made as they run)
//! has to survive as well as what the kernel keeps for them.
//!
//! Their programs are in tests/runtimes, and look after their own state.

use crux_tests::workload::{self, ask, start_program};
use crux_tests::{Lab, Setup};
use std::path::Path;

const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/runtimes");

/// Content when nothing happens; then dumped, dumped, and restored.
fn survives(command: &[&str]) {
    let start = |lab: &Lab| start_program(lab, command, &[(Path::new(PROGRAMS), "/programs")]);
    Lab::test(Setup::ROOT, |lab| ask(&mut start(lab)?));
    Lab::test(Setup::ROOT, |lab| workload::survives(lab, start(lab)?));
}

#[test]
fn root_a_shell_of_busybox_survives() {
    survives(&["/bin/busybox", "ash", "/programs/counting.sh"]);
}

#[test]
fn root_bash_survives() {
    survives(&["/usr/bin/bash", "/programs/counting.sh"]);
}

#[test]
fn root_python_survives() {
    survives(&["/usr/bin/python3", "/programs/counting.py"]);
}

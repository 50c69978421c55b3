//! `cargo xtask test --without CALL`: what dumps and restores, on a kernel that lacks a call.
//!
//! Kind: shell. The tests run under a seccomp filter that answers ENOSYS to it, which all
//! that they start inherits, and `no_new_privs` with it: tests of file capabilities and of
//! what COMMAND inherits are not among them. Where what is dumped would inherit it as well and be
//! dumped with it, crux-dump alone is under it.

use crate::cargo::{cargo, has, succeed, target};
use anyhow::{Context as _, Result, bail, ensure};
use crux_mount::survey::{Call, ROWS};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Instant;

/// Tables, propagation, contents and namespaces of every kind; the programs of tests/tests. Tasks would
/// inherit the filter, and are restored with what they had.
const PROGRAMS: [&str; 9] = [
    "attributes",
    "contents",
    "deleted",
    "nested",
    "pivot",
    "restored",
    "sharing",
    "stacking",
    "user_namespaces",
];

/// Calls that only a dump of tasks makes, and the programs that are run without them.
const OF_DUMPS: [(&str, &[&str]); 1] = [("PAGEMAP_SCAN", &["tasks"])];

/// Tests of what there is no other way to, in a part of their names: without these calls the
/// map of an id-mapped mount is told by nobody, and that is an obstacle.
const NEED: [(&str, &str); 6] = [
    ("statmount", "root_idmapped_"),
    ("listmount", "root_idmapped_"),
    ("NS_GET_MNTNS_ID", "root_idmapped_"),
    // KERNEL: whether a namespace can be bound is told by its id alone where ids come from a range for each CPU
    // (6.18); a kernel without the call counts in one sequence, which no filter can bring back.
    ("NS_GET_MNTNS_ID", "root_pin_"),
    // KERNEL: who is under a filter himself may not read those of others (PTRACE_SECCOMP_GET_FILTER).
    ("PAGEMAP_SCAN", "root_restored_tasks_look_as_they_did"),
    ("PAGEMAP_SCAN", "root_seccomp_filters"),
];

#[derive(clap::Args)]
pub(crate) struct Options {
    call: String,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

fn calls() -> impl Iterator<Item = &'static Call> {
    ROWS.iter().flat_map(|row| row.calls)
}

fn named(name: &str) -> Result<&'static Call> {
    let found = calls().find(|call| call.name == name);
    let known: Vec<_> = calls().map(|call| call.name).collect();
    found.with_context(|| {
        format!(
            "no way to do without {name}; there is for {}",
            known.join(", ")
        )
    })
}

/// The tests, once or once for each call.
pub(crate) fn run(name: &str) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the root tier needs root"
    );
    let calls: Vec<_> = match name {
        "all" => calls().collect(),
        name => vec![named(name)?],
    };
    // Compilers need no filter.
    let of_dumps = OF_DUMPS.iter().flat_map(|(_, programs)| *programs);
    let programs: Vec<_> = PROGRAMS.iter().chain(of_dumps).copied().collect();
    succeed(cargo(["build", "--bins"]).arg("--quiet"))?;
    succeed(&mut tests(&programs, &["--no-run"]))?;
    let mut failed = Vec::new();
    for call in calls {
        println!("\n=== without {}", call.name);
        let start = Instant::now();
        let mut command = match OF_DUMPS.iter().find(|(name, _)| *name == call.name) {
            Some((_, programs)) => with_dump_under(call, programs)?,
            None => under(call)?,
        };
        if let Err(error) = succeed(&mut command) {
            eprintln!("{error:#}");
            failed.push(call.name);
        }
        println!("=== {:.1} s", start.elapsed().as_secs_f64());
    }
    if !failed.is_empty() {
        bail!("not passed without {}", failed.join(", "));
    }
    Ok(())
}

fn tests(programs: &[&str], more: &[&str]) -> Command {
    let plain = ["test", "--quiet", "--package", "crux-tests"];
    let nextest = ["nextest", "run", "--package", "crux-tests"];
    let mut command = match has(&["nextest", "--version"]) {
        true => cargo(nextest),
        false => cargo(plain),
    };
    for program in programs {
        command.args(["--test", program]);
    }
    command.args(more);
    command
}

/// Those of the root tier that do not need a call.
fn root_tests(programs: &[&str], call: &Call) -> Command {
    let needed = NEED.iter().filter(|(name, _)| *name == call.name);
    let needed: Vec<_> = needed.map(|(_, tests)| *tests).collect();
    if has(&["nextest", "--version"]) {
        let chosen = match needed.as_slice() {
            [] => "all()".to_owned(),
            some => format!("not test(/{}/)", some.join("|")),
        };
        let profile = ["--profile", "root", "--no-tests", "fail"];
        let shown = ["--status-level", "fail", "-E", &chosen];
        return tests(programs, &[profile, shown].concat());
    }
    let skipped = needed.iter().flat_map(|tests| ["--skip", tests]);
    let fixed = ["--", "--test-threads=1", "root_"].into_iter();
    tests(programs, &fixed.chain(skipped).collect::<Vec<_>>())
}

/// The tests, started by [`exec`].
fn under(call: &Call) -> Result<Command> {
    let tests = root_tests(&PROGRAMS, call);
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["without", call.name, "--"]);
    command.arg(tests.get_program()).args(tests.get_args());
    if let Some(directory) = tests.get_current_dir() {
        command.current_dir(directory);
    }
    Ok(command)
}

/// The tests with a crux-dump that [`exec`] starts.
fn with_dump_under(call: &Call, programs: &[&str]) -> Result<Command> {
    let place = target().join("without");
    std::fs::create_dir_all(&place)?;
    let wrapper = place.join("crux-dump");
    let (own, dump) = (std::env::current_exe()?, target().join("debug/crux-dump"));
    let (own, dump, name) = (own.display(), dump.display(), call.name);
    let script = format!("#!/bin/sh\nexec '{own}' without {name} -- '{dump}' \"$@\"\n");
    std::fs::write(&wrapper, script)?;
    std::fs::set_permissions(&wrapper, Permissions::from_mode(0o755))?;
    let mut command = root_tests(programs, call);
    command.env("CRUX_TESTS_DUMP", wrapper);
    Ok(command)
}

/// Becomes a command that does not have the call.
pub(crate) fn exec(options: &Options) -> Result<()> {
    let program = filter(named(&options.call)?)?;
    seccompiler::apply_filter(&program)?;
    let mut command = Command::new(&options.command[0]);
    Err(command.args(&options.command[1..]).exec()).context("failed to start the tests")
}

/// All is allowed but that.
fn filter(call: &Call) -> Result<BpfProgram> {
    let rules = call.request.map(|request| {
        let kind = SeccompCmpArgLen::Dword;
        let condition = SeccompCondition::new(1, kind, SeccompCmpOp::Eq, request.into())?;
        SeccompRule::new(vec![condition])
    });
    let rules: Vec<_> = rules.into_iter().collect::<Result<_, _>>()?;
    let filter = SeccompFilter::new(
        BTreeMap::from([(i64::from(call.number), rules)]),
        SeccompAction::Allow,
        SeccompAction::Errno(rustix::io::Errno::NOSYS.raw_os_error().unsigned_abs()),
        std::env::consts::ARCH.try_into()?,
    )?;
    Ok(filter.try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crux_mount::survey::{Need, State, survey};

    #[test]
    fn every_call_has_a_filter_and_a_name_of_its_own() {
        let mut names: Vec<_> = calls().map(|call| call.name).collect();
        assert!(names.contains(&"openat2"));
        for call in calls() {
            filter(call).unwrap();
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), calls().count());
        assert!(named("read").is_err());
    }

    /// Under the filter the executables find that the call is absent, so what the tests
    /// then run on is what the row says.
    #[test]
    fn what_is_executed_does_not_have_the_call() {
        for row in ROWS {
            for call in row.calls {
                let program = filter(call).unwrap();
                let found = std::thread::spawn(move || {
                    seccompiler::apply_filter(&program).unwrap();
                    survey()
                });
                let states = found.join().unwrap();
                let (_, state) = states.iter().find(|(it, _)| it.name == row.name).unwrap();
                assert_ne!(*state, State::Present, "{}", call.name);
            }
        }
    }

    /// What is done where a feature is absent is tested, or it is told here why not.
    #[test]
    fn every_way_to_do_without_is_tested() {
        let told = [
            // No other call: the feature is an argument that is ignored where it is unknown, or a kind of file system.
            "STATX_MNT_ID_UNIQUE",
            "id-mapped tmpfs",
            // The kernel's 6.1 is without in the VM.
            "eventfd-semaphore in fdinfo",
            // What there is instead is done on every kernel.
            "open_tree CLONE of a detached mount",
            "move_mount onto a detached mount",
            // The obstacle is tested where the whole call is absent.
            "statmount: id-maps",
        ];
        let rows = ROWS.iter().filter(|row| row.need == Need::Optional);
        let untested = rows.filter(|row| row.calls.is_empty() && !row.without.is_empty());
        assert!(untested.map(|row| row.name).eq(told_in_order(&told)));
    }

    fn told_in_order<'a>(told: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
        let names = ROWS.iter().map(|row| row.name);
        names.filter(move |name| told.contains(name))
    }
}

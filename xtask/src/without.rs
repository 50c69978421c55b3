//! `cargo xtask test --without CALL`: what dumps and restores, on a kernel that lacks a call.
//!
//! Kind: shell. The tests run under a seccomp filter that answers ENOSYS to it, which all
//! that they start inherits, and `no_new_privs` with it: tests of file capabilities and of
//! what COMMAND inherits are not among them.

use crate::cargo::{cargo, has, succeed};
use anyhow::{Context as _, Result, bail, ensure};
use crux_mount::survey::{Call, ROWS};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use std::collections::BTreeMap;
use std::ffi::OsString;
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

/// Tests of what there is no other way to, in a part of their names: without these calls the
/// map of an id-mapped mount is told by nobody, and that is an obstacle.
const NEED: [(&str, &str); 3] = [
    ("statmount", "root_idmapped_"),
    ("listmount", "root_idmapped_"),
    ("NS_GET_MNTNS_ID", "root_idmapped_"),
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
    succeed(&mut tests(&["--no-run"]))?;
    let mut failed = Vec::new();
    for call in calls {
        println!("\n=== without {}", call.name);
        let start = Instant::now();
        let mut command = under(call)?;
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

fn tests(more: &[&str]) -> Command {
    let plain = ["test", "--quiet", "--package", "crux-tests"];
    let nextest = ["nextest", "run", "--package", "crux-tests"];
    let mut command = match has(&["nextest", "--version"]) {
        true => cargo(nextest),
        false => cargo(plain),
    };
    for program in PROGRAMS {
        command.args(["--test", program]);
    }
    command.args(more);
    command
}

/// The tests, started by [`exec`].
fn under(call: &Call) -> Result<Command> {
    let needed = NEED.iter().find(|(name, _)| *name == call.name);
    let needed = needed.map_or("no test is called so", |(_, tests)| tests);
    let chosen = format!("not test(/{needed}/)");
    let profile = [
        "--profile",
        "root",
        "--no-tests",
        "fail",
        "--status-level",
        "fail",
        "-E",
        &chosen,
    ];
    let tests = match has(&["nextest", "--version"]) {
        true => tests(&profile),
        false => tests(&["--", "--test-threads=1", "--skip", needed, "root_"]),
    };
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["without", call.name, "--"]);
    command.arg(tests.get_program()).args(tests.get_args());
    if let Some(directory) = tests.get_current_dir() {
        command.current_dir(directory);
    }
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
        let call = named("close_range").unwrap();
        let program = filter(call).unwrap();
        let found = std::thread::spawn(move || {
            seccompiler::apply_filter(&program).unwrap();
            crux_mount::sys::knows(call.number)
        });
        assert!(!found.join().unwrap());
        assert!(crux_mount::sys::knows(call.number));
    }
}

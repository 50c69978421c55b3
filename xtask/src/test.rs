//! `cargo xtask test`: the tests, by tier.
//!
//! Kind: shell. A tier is in the names of its tests: `userns_`, `root_`, `vm_`,
//! and no prefix for those that need nothing.

use crate::cargo::{cargo, has, succeed};
use crate::{packages, vm, without};
use anyhow::{Result, bail};
use clap::ValueEnum;
use std::fmt;
use std::process::{Command, Stdio};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only this tier (may be given several times)
    #[arg(long)]
    tier: Vec<Tier>,
    /// Tests of the root tier on a kernel that does not know CALL; "all": once for each call
    /// that docs/kernel-features.md knows a way to do without
    #[arg(long, value_name = "CALL|all", conflicts_with = "tier")]
    without: Option<String>,
    /// Fail if a tier that was asked for cannot run (with CI=true: always)
    #[arg(long)]
    require: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tier {
    /// No privilege
    Unit,
    /// A user namespace
    Userns,
    /// Real root
    Root,
    /// The root tier again on other kernels, in virtual machines
    Vm,
}

impl Tier {
    const ALL: [Self; 4] = [Self::Unit, Self::Userns, Self::Root, Self::Vm];

    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Userns => "userns",
            Self::Root => "root",
            Self::Vm => "vm",
        }
    }

    /// Why this machine cannot run it.
    fn obstacle(self) -> Option<String> {
        match self {
            Self::Unit => None,
            Self::Userns => no_user_namespace(),
            Self::Root => no_root().or_else(no_packages),
            Self::Vm => vm::obstacle(),
        }
    }

    /// The arguments of libtest that choose it, for when there is no nextest.
    fn plain_filters(self) -> &'static [&'static str] {
        match self {
            Self::Unit => &["--skip", "userns_", "--skip", "root_", "--skip", "vm_"],
            Self::Userns => &["userns_"],
            Self::Root => &["root_"],
            Self::Vm => &["vm_"],
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What became of a tier.
enum Outcome {
    Passed,
    Failed,
    NotRun(String),
}

pub(crate) fn run(options: &Options) -> Result<()> {
    succeed(&mut cargo(["build", "--quiet", "--workspace", "--bins"]))?;
    if let Some(name) = &options.without {
        return without::run(name);
    }
    let tiers = match options.tier.as_slice() {
        [] => &Tier::ALL[..],
        chosen => chosen,
    };
    let runner = Runner::choose();
    let outcomes: Vec<_> = tiers.iter().map(|&tier| (tier, runner.run(tier))).collect();
    report(&outcomes);
    judge(options, &outcomes)
}

fn report(outcomes: &[(Tier, Outcome)]) {
    println!("\nTiers:");
    for (tier, outcome) in outcomes {
        match outcome {
            Outcome::Passed => println!("  {tier:<8} passed"),
            Outcome::Failed => println!("  {tier:<8} FAILED"),
            Outcome::NotRun(why) => println!("  {tier:<8} NOT RUN: {why}"),
        }
    }
}

fn judge(options: &Options, outcomes: &[(Tier, Outcome)]) -> Result<()> {
    let bad = outcomes.iter().filter(|(_, outcome)| match outcome {
        Outcome::Passed => false,
        Outcome::Failed => true,
        Outcome::NotRun(_) => options.require || in_ci(),
    });
    let names: Vec<_> = bad.map(|(tier, _)| tier.name()).collect();
    if !names.is_empty() {
        bail!("not passed: {}", names.join(", "));
    }
    Ok(())
}

fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

/// What runs the tests.
enum Runner {
    /// A process for each test, with a limit on its time.
    Nextest,
    /// `cargo test`, one test after the other.
    Plain,
}

impl Runner {
    fn choose() -> Self {
        if has(&["nextest", "--version"]) {
            return Self::Nextest;
        }
        eprintln!(
            "There is no cargo-nextest: using `cargo test` with one thread. Tests of one \
             program then share a process, and one that hangs is not ended."
        );
        Self::Plain
    }

    fn run(&self, tier: Tier) -> Outcome {
        if let Some(why) = tier.obstacle() {
            eprintln!("\n*** The {tier} tier is NOT RUN: {why}\n");
            return Outcome::NotRun(why);
        }
        println!("\n=== {tier} tier");
        let outcome = match tier {
            // What it runs has the names of the root tier as well.
            Tier::Vm => vm::tier(),
            _ => succeed(&mut self.command(tier)),
        };
        match outcome {
            Ok(()) => Outcome::Passed,
            Err(error) => {
                eprintln!("{error:#}");
                Outcome::Failed
            }
        }
    }

    fn command(&self, tier: Tier) -> Command {
        match self {
            Self::Nextest => {
                let mut command = cargo(["nextest", "run", "--workspace", "--profile"]);
                // A tier in which nothing ran has not passed.
                command.args([tier.name(), "--no-tests", "fail"]);
                command
            }
            Self::Plain => {
                let mut command = cargo(["test", "--workspace", "--lib", "--bins", "--tests"]);
                command
                    .args(["--", "--test-threads=1"])
                    .args(tier.plain_filters());
                command
            }
        }
    }
}

fn no_user_namespace() -> Option<String> {
    let mut probe = Command::new("unshare");
    probe.args(["--user", "--mount", "--map-root-user", "true"]);
    let works = probe
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    (!works).then(|| "this machine does not let us make a user namespace".into())
}

fn no_root() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root (`sudo -E cargo xtask test --tier root`)".into());
    }
    let mut probe = Command::new("unshare");
    probe.args(["--mount", "--net", "--ipc", "--pid", "--fork", "true"]);
    let works = probe
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    (!works).then(|| "root cannot make namespaces here (CAP_SYS_ADMIN is missing)".into())
}

fn no_packages() -> Option<String> {
    let installed = packages::ensure_installed(packages::CONTAINERS);
    installed.err().map(|error| format!("{error:#}"))
}

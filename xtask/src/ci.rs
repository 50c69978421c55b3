//! `cargo xtask ci`: everything that has to pass before a change is merged.
//!
//! Kind: shell.

use crate::cargo::{cargo, succeed};
use crate::test::Tier;
use anyhow::{Context as _, Result};
use std::time::Instant;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these tiers of the tests, all of them required
    #[arg(long)]
    tier: Vec<Tier>,
}

/// The steps, the quick ones first.
const STEPS: [(&str, &[&str]); 6] = [
    ("format", &["fmt", "--all", "--check"]),
    ("tidy", &["xtask", "tidy"]),
    (
        "clippy",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    ),
    ("tests", &["xtask", "test", "--require"]),
    ("missing calls", &["xtask", "test", "--without", "all"]),
    (
        "documentation",
        &["doc", "--workspace", "--no-deps", "--quiet"],
    ),
];

pub(crate) fn run(options: &Options) -> Result<()> {
    let start = Instant::now();
    let mut times = Vec::new();
    for (name, arguments) in STEPS {
        println!("=== {name}: cargo {}", arguments.join(" "));
        let step = Instant::now();
        let mut command = cargo(arguments);
        if name == "tests" {
            let tiers = options.tier.iter();
            command.args(tiers.flat_map(|tier| ["--tier".to_owned(), tier.to_string()]));
        }
        if name == "documentation" {
            command.env("RUSTDOCFLAGS", "-D warnings");
        }
        succeed(&mut command).with_context(|| format!("{name} failed"))?;
        times.push((name, step.elapsed()));
    }
    println!("\nAll passed:");
    for (name, time) in times.into_iter().chain([("in all", start.elapsed())]) {
        println!("  {name:<14} {:>7.1} s", time.as_secs_f64());
    }
    Ok(())
}

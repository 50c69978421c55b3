//! `cargo xtask bench`: how long crux takes, as a multiple of what the same work
//! costs without it, measured in the same run.
//!
//! Kind: shell. Release builds, medians of several runs.

mod containers;
mod contents;
mod measure;
mod mounts;
pub(crate) mod one_process;
mod tasks;

use crate::cargo::{Profile, build, cargo, succeed};
use anyhow::{Result, bail, ensure};
use clap::Subcommand;
use crux_tests::Programs;
use measure::Row;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
    /// Fail if a target is missed
    #[arg(long, global = true)]
    check: bool,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// How often each thing is measured
    #[arg(long, global = true, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

#[derive(Subcommand)]
enum What {
    /// Tables of 0 to 10,000 mounts, against the bare system calls
    Mounts,
    /// A tmpfs of one large file, and one of many small ones, against `cp -a`
    Contents {
        /// Size of the large file
        #[arg(long, default_value_t = 1024)]
        mib: usize,
        /// Number of small files
        #[arg(long, default_value_t = 100_000)]
        files: usize,
    },
    /// Processes, threads and memory, against starting the same executable and against bare copying
    Tasks {
        /// Memory of the large process
        #[arg(long, default_value_t = 1024)]
        mib: usize,
    },
    /// The containers of LXC that docs/lxc.md is about
    Containers,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the benchmarks make containers, which needs root"
    );
    if cfg!(debug_assertions) {
        return again_optimised();
    }
    let programs = Programs::beneath(&build(Profile::Release)?)?;
    let rows = match options.what {
        What::Mounts => mounts::run(&programs, options.runs)?,
        What::Contents { mib, files } => contents::run(&programs, options.runs, mib, files)?,
        What::Tasks { mib } => tasks::run(&programs, options.runs, mib)?,
        What::Containers => containers::run(&programs, options.runs)?,
    };
    match options.json {
        true => println!("{}", serde_json::to_string_pretty(&rows)?),
        false => print(&rows),
    }
    let missed = rows
        .iter()
        .filter(|row| row.verdict() == Some(false))
        .count();
    if options.check && missed > 0 {
        bail!("{missed} targets missed");
    }
    Ok(())
}

/// What crux is compared with is in this program: it has to be as fast as can be.
fn again_optimised() -> Result<()> {
    let mut command = cargo(["run", "--quiet", "--release", "--package", "xtask", "--"]);
    succeed(command.args(std::env::args_os().skip(1)))
}

fn print(rows: &[Row]) {
    println!(
        "{:<34} {:>12} {:>12} {:>8}  target",
        "", "crux", "bare", "ratio"
    );
    for row in rows {
        println!("{row}");
    }
}

//! `cargo xtask`: the workshop around the product.
//!
//! Kind: shell. One file for each command; none is part of what is installed.

mod bench;
mod cargo;
mod ci;
mod deb;
mod demo;
mod executables;
mod fuzz;
mod install;
mod libraries;
mod packages;
mod test;
mod tidy;
mod vm;
mod without;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Developer commands of crux.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Dump and restore a container with the mount table of LXC on Ubuntu Vivid
    Demo,
    /// Run the tests of every tier that this machine can run
    Test(test::Options),
    /// What runs a command on a kernel that lacks a call
    #[command(hide = true)]
    Without(without::Options),
    /// Run the privileged tests on other kernels, in virtual machines
    VmTest(vm::Options),
    /// What runs in such a machine
    #[command(hide = true)]
    VmGuest,
    /// Measure against the bare system calls, in one run
    Bench(bench::Options),
    /// What the roles of a restore are measured against
    #[command(hide = true)]
    OneProcess {
        /// An image of mounts
        images: std::path::PathBuf,
    },
    /// Fuzz the readers of hostile input
    Fuzz(fuzz::Options),
    /// Install the executables for members of group crux
    Install(install::Options),
    /// Make a Debian package that does the same
    Deb(deb::Options),
    /// Check the rules of style that no compiler checks
    Tidy,
    /// Everything that has to pass before a change is merged
    Ci(ci::Options),
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Demo => demo::run(),
        Command::Test(options) => test::run(&options),
        Command::Without(options) => without::exec(&options),
        Command::VmTest(options) => vm::run(&options),
        Command::VmGuest => vm::guest::run(),
        Command::Bench(options) => bench::run(&options),
        Command::OneProcess { images } => bench::one_process::run(&images),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Install(options) => install::run(&options),
        Command::Deb(options) => deb::run(&options),
        Command::Tidy => tidy::run(),
        Command::Ci(options) => ci::run(&options),
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

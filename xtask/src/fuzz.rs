//! `cargo xtask fuzz`: cargo-fuzz on the targets in fuzz/.
//!
//! Kind: shell.

use crate::cargo::{succeed, workspace};
use anyhow::{Result, bail, ensure};
use std::fs;
use std::process::{Command, Stdio};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only this target
    target: Option<String>,
    /// How long each target runs, in seconds
    #[arg(long, default_value_t = 60)]
    time: u32,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let targets = targets()?;
    ensure!(
        !targets.is_empty(),
        "there are no targets in fuzz/fuzz_targets"
    );
    tools()?;
    let chosen: Vec<_> = match &options.target {
        None => targets,
        Some(name) if targets.contains(name) => vec![name.clone()],
        Some(name) => bail!("no such target: {name}; there are: {}", targets.join(", ")),
    };
    for target in &chosen {
        println!("=== {target}, {} s", options.time);
        succeed(&mut fuzzer(target, options.time))?;
    }
    Ok(())
}

fn fuzzer(target: &str, time: u32) -> Command {
    let limit = format!("-max_total_time={time}");
    let mut command = Command::new("cargo");
    command
        .current_dir(workspace())
        .args(["+nightly", "fuzz", "run", target, "--"])
        // A reader that allocates without a bound is a finding.
        .args([&limit, "-rss_limit_mb=512", "-timeout=10"]);
    command
}

fn targets() -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(workspace().join("fuzz/fuzz_targets")) else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let stem = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        if path.extension().is_some_and(|ending| ending == "rs") {
            names.extend(stem);
        }
    }
    names.sort();
    Ok(names)
}

fn tools() -> Result<()> {
    let works = |words: &[&str]| {
        let mut command = Command::new("cargo");
        command
            .args(words)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !works(&["+nightly", "--version"]) {
        bail!("fuzzing needs a nightly toolchain: `rustup toolchain install nightly`");
    }
    if !works(&["+nightly", "fuzz", "--version"]) {
        bail!("fuzzing needs cargo-fuzz: `cargo install cargo-fuzz`");
    }
    Ok(())
}

//! `crux-dump`: the command line.
//!
//! Kind: shell.

use anyhow::Context as _;
use clap::Parser;
use crux_dump::collect::{DumpError, check_capabilities};
use crux_dump::judge::{Obstacle, Policy};
use crux_image::render;
use crux_mount::features::Features;
use serde_json::json;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

/// Writes the mount namespaces of a running container to an image directory
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// The process whose mount namespace is dumped, with those of its descendants
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: u32,
    /// Where the image goes; the directory must not exist
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    images: Option<PathBuf>,
    /// Dump mounts and the contents of file systems in memory, not the processes
    #[arg(long, required = true)]
    mounts_only: bool,
    /// Declare a mount external under a name, or ("auto") every one that comes from outside
    #[arg(long, value_name = "auto|NAME=MOUNTPOINT")]
    external: Vec<OsString>,
    /// The mount at TARGET is a slave of the peer group of the host's mount at SOURCE
    #[arg(long, value_name = "SOURCE:TARGET")]
    slave_mount_map: Vec<OsString>,
    /// Show what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print a summary as JSON
    #[arg(long)]
    json: bool,
}

const USAGE: u8 = 2;
const FAILED: u8 = 6;
const UNCERTAIN: u8 = 7;

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => return usage(&error),
    };
    let policy = match policy(&options) {
        Ok(policy) => policy,
        Err(error) => {
            say(format_args!("Error: failed to use {error:#}\n"));
            return ExitCode::from(USAGE);
        }
    };
    match run(&options, &policy) {
        Ok(text) => print(&text, &options),
        Err(error) => report(&options, &error),
    }
}

/// clap begins its messages with "error:"; container runtimes look for "Error: ".
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    say(format_args!("Error: {text}"));
    ExitCode::from(USAGE)
}

/// Nothing is left to be done if standard error is gone too.
fn say(text: std::fmt::Arguments<'_>) {
    let _ = std::io::stderr().write_fmt(text);
}

fn policy(options: &Options) -> anyhow::Result<Policy> {
    let mut policy = Policy::default();
    for value in &options.external {
        policy
            .external(value.as_bytes())
            .with_context(|| format!("--external {}", value.display()))?;
    }
    for value in &options.slave_mount_map {
        policy
            .slave_map(value.as_bytes())
            .with_context(|| format!("--slave-mount-map {}", value.display()))?;
    }
    Ok(policy)
}

/// What to print, once it is done.
fn run(options: &Options, policy: &Policy) -> Result<String, DumpError> {
    check_capabilities()?;
    let features = Features::probe();
    let (id, mounts, left_out) = match (&options.images, options.dry_run) {
        (Some(images), false) => {
            let dumped = crux_dump::dump(options.pid, images, policy, &features)?;
            (Some(dumped.id), dumped.mounts, dumped.left_out)
        }
        _ => {
            let judged = crux_dump::look(options.pid, policy, &features)?;
            (None, judged.mounts, judged.left_out)
        }
    };
    if left_out > 0 {
        say(format_args!(
            "Note: {left_out} mounts that its root directory does not reach (chroot) are left out\n"
        ));
    }
    let id = id.map(|id| id.to_string());
    Ok(match (options.json, options.dry_run) {
        (true, _) => format!(
            "{}\n",
            json!({ "written": id.is_some(), "image": id, "left_out": left_out, "mounts": render::mounts_record(&mounts) })
        ),
        (false, true) => render::tree(&mounts),
        (false, false) => String::new(),
    })
}

/// Whoever closes standard output has seen enough; that it cannot be written is a failure,
/// though the image is there.
fn print(text: &str, options: &Options) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let (code, image) = match options.dry_run {
                true => (FAILED, ""),
                false => (UNCERTAIN, "; the image is complete"),
            };
            say(format_args!(
                "Error: failed to write to standard output: {error}{image}\n"
            ));
            ExitCode::from(code)
        }
        _ => ExitCode::SUCCESS,
    }
}

fn report(options: &Options, error: &DumpError) -> ExitCode {
    let code = error.exit_code();
    debug_assert!(code <= FAILED);
    let obstacles: &[Obstacle] = match error {
        DumpError::Obstacles(obstacles) => obstacles,
        _ => &[],
    };
    say(format_args!("Error: failed to {error}\n"));
    for obstacle in obstacles {
        say(format_args!("  {obstacle}\n"));
    }
    let helpful: BTreeSet<String> = obstacles.iter().flat_map(Obstacle::options).collect();
    if !helpful.is_empty() {
        say(format_args!("  these options would help:\n"));
        helpful
            .iter()
            .for_each(|option| say(format_args!("    {option}\n")));
    }
    if options.json {
        let list: Vec<_> = obstacles
            .iter()
            .map(|o| json!({ "what": o.to_string(), "options": o.options() }))
            .collect();
        let text = format!(
            "{}\n",
            json!({ "written": false, "error": error.to_string(), "exit": code, "obstacles": list })
        );
        // The exit code says it as well.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
    ExitCode::from(code)
}

//! The command line of crux-dump.
//!
//! Kind: shell. It says what was asked, not whether it makes sense for a container.

use crate::failure::{Exit, Failure};
use crate::judge::{Policy, PolicyError};
use crate::tasks::Release;
use clap::Parser;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Writes a running container to an image directory, and ends it
#[derive(Debug, Parser)]
#[command(name = "crux-dump", version, about)]
pub struct Options {
    /// The process that is dumped, with its descendants and their namespaces
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..),
        required_unless_present = "check")]
    pub pid: Option<u32>,
    /// Where the image goes; the directory must not exist
    #[arg(long, value_name = "DIR", required_unless_present_any = ["dry_run", "check"])]
    pub images: Option<PathBuf>,
    /// Dump mounts and the contents of file systems in memory, not the processes
    #[arg(long)]
    pub mounts_only: bool,
    /// Let the processes go on once they are dumped, instead of ending them
    #[arg(long, conflicts_with_all = ["leave_stopped", "mounts_only"])]
    pub leave_running: bool,
    /// Leave the processes stopped, as by SIGSTOP
    #[arg(long, conflicts_with = "mounts_only")]
    pub leave_stopped: bool,
    /// Declare a mount external under a name, or ("auto") every one that comes from outside
    #[arg(long, value_name = "auto|NAME=MOUNTPOINT")]
    pub external: Vec<OsString>,
    /// The mount at TARGET is a slave of the peer group of the host's mount at SOURCE
    #[arg(long, value_name = "SOURCE:TARGET")]
    pub slave_mount_map: Vec<OsString>,
    /// Put in the place of an eBPF program that cannot be read one that permits everything
    #[arg(long, conflicts_with = "mounts_only")]
    pub replace_bpf: bool,
    /// Show what would be written, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Say which capabilities and kernel features are there, and do nothing else
    #[arg(long)]
    pub check: bool,
    /// Give up, and leave nothing, when one part of the dump makes no progress for this
    /// long. The default is 120
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub time_limit: Option<u64>,
    /// Print a summary as JSON
    #[arg(long)]
    pub json: bool,
}

impl Options {
    /// The process; no process has number 0, which stands only where none is asked for.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.unwrap_or(0)
    }

    /// What becomes of the processes.
    pub(crate) fn release(&self) -> Release {
        match (self.leave_running || self.dry_run, self.leave_stopped) {
            (_, true) if !self.dry_run => Release::Stop,
            (true, _) => Release::Run,
            (false, _) => Release::End,
        }
    }

    /// What may come from outside.
    pub(crate) fn policy(&self) -> Result<Policy, Failure> {
        let fail = |option: &str, value: &OsString, error: PolicyError| {
            let value = value.display();
            Failure::new(Exit::Usage, format_args!("use {option} {value}: {error}"))
        };
        let mut policy = Policy {
            replaces_programs: self.replace_bpf,
            ..Policy::default()
        };
        for value in &self.external {
            policy
                .external(value.as_bytes())
                .map_err(|error| fail("--external", value, error))?;
        }
        for value in &self.slave_mount_map {
            policy
                .slave_map(value.as_bytes())
                .map_err(|error| fail("--slave-mount-map", value, error))?;
        }
        Ok(policy)
    }
}

/// Help and the version on stdout; what is wrong with a command line on stderr. clap begins
/// its messages with "error:"; container runtimes look for "Error: ".
pub fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // If stdout is closed there is nobody to help.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    crate::report::say(format_args!("Error: {text}"));
    ExitCode::from(Exit::Usage as u8)
}

//! A process that begins with something, and then does nothing until it is ended.
//!
//! Kind: effect.

use crate::sys::{close_descriptors, start_child};
use anyhow::{Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pause};
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs::File;
use std::io::{Read as _, Write as _};

/// The process. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Lingering(Pid);

impl Lingering {
    /// Starts it, and waits until it has done `begin`.
    pub(crate) fn start(begin: impl FnOnce() -> Result<()>) -> Result<Self> {
        let (answers, report) = pipe_with(PipeFlags::CLOEXEC)?;
        let child = start_child(move || linger(begin, File::from(report)))?;
        let mut text = String::new();
        File::from(answers).read_to_string(&mut text)?;
        match text.as_str() {
            "+" => Ok(Self(child)),
            _ => bail!("failed to start a process: {text}"),
        }
    }

    /// Its number, as its parent sees it.
    pub(crate) fn pid(&self) -> u32 {
        self.0.as_raw().unsigned_abs()
    }

    /// Leaves it to end with its parent.
    pub(crate) fn leave(self) {
        std::mem::forget(self);
    }
}

fn linger(begin: impl FnOnce() -> Result<()>, mut report: File) -> i32 {
    let begun = begin();
    let text = match &begun {
        Ok(()) => "+".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    let _ = report.write_all(text.as_bytes());
    // Pipes of its parent's are among them, of which somebody awaits the end.
    std::mem::forget(report);
    close_descriptors();
    if begun.is_err() {
        return 1;
    }
    loop {
        pause();
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        // It may have ended by itself; then there is only its status to collect.
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}

//! The first process of a container that crux-restore has let go (`--detach`).
//!
//! Kind: effect.

use crate::patience;
use anyhow::{Context as _, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

/// It would live on by itself: dropping this ends it, also where a test has failed. By its pidfd, as somebody else may
/// have its number by then.
#[derive(Debug)]
pub struct Detached {
    pid: u32,
    handle: OwnedFd,
}

impl Detached {
    /// The process with this number.
    pub fn new(pid: u32) -> Result<Self> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let number = number.context("no pid")?;
        let handle = pidfd_open(number, PidfdFlags::empty()).context("pidfd_open")?;
        Ok(Self { pid, handle })
    }

    /// The one that crux-restore has named (`--pidfile`).
    pub fn named(pidfile: &Path) -> Result<Self> {
        let text = fs::read_to_string(pidfile)?;
        Self::new(text.trim().parse()?)
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends it, and waits until it has ended. Whose child it is, takes it.
    pub fn end(&self) -> Result<()> {
        self.kill();
        let limit = Timespec::try_from(patience(10))?;
        let ended = poll(
            &mut [PollFd::new(&self.handle, PollFlags::IN)],
            Some(&limit),
        )?;
        ensure!(ended != 0, "{} does not end", self.pid);
        Ok(())
    }

    fn kill(&self) {
        // It may have ended.
        let _ = pidfd_send_signal(&self.handle, Signal::KILL);
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        self.kill();
    }
}

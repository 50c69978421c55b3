//! Whether a mount namespace has changed since.
//!
//! Kind: effect. Two equal tables do not prove it: ids and device numbers are given out
//! again, so a mount that went and another that came can look the same.

use super::DumpError;
use super::process::Process;
use crux_mount::sys::{self, SysError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;

/// An open mountinfo, which tells of every mount and umount since it was opened (proc(5):
/// poll(2) marks it with `POLLPRI`). What it does not tell of, such as propagation, tables show.
#[derive(Debug)]
pub(super) struct Watch {
    pid: u32,
    table: File,
}

impl Watch {
    pub(super) fn begin(process: &Process) -> Result<Self, DumpError> {
        let pid = process.pid;
        let table = sys::open_process_file(process.directory(), "mountinfo")
            .map_err(|error| DumpError::Process { pid, error })?;
        Ok(Self { pid, table })
    }

    /// Whether there was a change since it began, or since this was last asked.
    pub(super) fn has_changed(&self) -> Result<bool, DumpError> {
        let mut polled = [PollFd::new(&self.table, PollFlags::PRI)];
        poll(&mut polled, Some(&Timespec::default())).map_err(|errno| DumpError::Process {
            pid: self.pid,
            error: SysError::new("poll(\"mountinfo\", POLLPRI)", errno),
        })?;
        Ok(polled[0].revents().contains(PollFlags::PRI))
    }
}

//! The working directory, as a way to name a file in a directory by descriptor
//! where no *at call exists (extended attributes before Linux 6.13).
//!
//! Kind: effect. What was the working directory before is put back on drop.

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::fchdir;
use std::os::fd::{BorrowedFd, OwnedFd};

/// The working directory of the process, borrowed.
#[derive(Debug, Default)]
pub(super) struct WorkingDirectory {
    before: Option<OwnedFd>,
    inode: Option<u64>,
}

impl WorkingDirectory {
    /// Goes to `dir`. `inode` is its number, or `None` for a directory elsewhere;
    /// a call for the directory that it is already in costs nothing.
    pub(super) fn enter(&mut self, dir: BorrowedFd<'_>, inode: Option<u64>) -> Result<(), Errno> {
        if inode.is_some() && self.inode == inode {
            return Ok(());
        }
        if self.before.is_none() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            self.before = Some(openat(CWD, c".", flags, Mode::empty())?);
        }
        self.inode = None;
        fchdir(dir)?;
        self.inode = inode;
        Ok(())
    }
}

impl Drop for WorkingDirectory {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // It was the working directory before; nothing is left to do if it cannot be again.
            let _ = fchdir(before);
        }
    }
}

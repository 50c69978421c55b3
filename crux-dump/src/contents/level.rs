//! The directories between the root and where a walk is.
//!
//! Kind: effect. Only the innermost are open; the others are found again by "..",
//! which has to be the directory that was left.

use crux_image::contents::Metadata;
use rustix::fs::{Dir, DirEntry, Mode, OFlags, openat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

/// How many directories are open at most.
const OPEN: usize = 64;

const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens a directory in another, never through a symlink.
pub(super) fn open_directory(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    openat(dir, name, FLAGS, Mode::empty())
}

/// A directory that is being read.
#[derive(Debug)]
struct Level {
    open: Option<Dir>,
    /// Where to go on reading after it was closed.
    resume: i64,
    inode: u64,
    metadata: Metadata,
}

/// From the root to where the walk is. Never empty until the root is left.
#[derive(Debug, Default)]
pub(super) struct Levels(Vec<Level>);

impl Levels {
    /// Goes into a directory.
    pub(super) fn enter(
        &mut self,
        dir: OwnedFd,
        inode: u64,
        metadata: Metadata,
    ) -> Result<(), Errno> {
        let open = Some(Dir::new(dir)?);
        self.0.push(Level {
            open,
            resume: 0,
            inode,
            metadata,
        });
        if let Some(outer) = self.0.len().checked_sub(OPEN + 1) {
            self.0[outer].open = None;
        }
        Ok(())
    }

    /// The next name in the current directory.
    pub(super) fn next(&mut self) -> Result<Option<DirEntry>, Errno> {
        let Some(level) = self.0.last_mut() else {
            return Ok(None);
        };
        let Some(dir) = &mut level.open else {
            return Ok(None);
        };
        let entry = dir.read().transpose()?;
        if let Some(entry) = &entry {
            level.resume = entry.offset();
        }
        Ok(entry)
    }

    /// How many directories there are, the root included.
    pub(super) fn depth(&self) -> usize {
        self.0.len()
    }

    /// The current directory, and its inode number.
    pub(super) fn current(&self) -> Result<(BorrowedFd<'_>, u64), Errno> {
        let level = self.0.last().ok_or(Errno::BADF)?;
        let dir = level.open.as_ref().ok_or(Errno::BADF)?;
        Ok((dir.fd()?, level.inode))
    }

    /// What was read of the current directory when it was entered.
    pub(super) fn metadata(&self) -> Option<Metadata> {
        self.0.last().map(|level| level.metadata)
    }

    /// Leaves the current directory for its parent, if it has one. `ESTALE`: the
    /// directory was moved meanwhile.
    pub(super) fn leave(&mut self) -> Result<(), Errno> {
        let left = self.0.pop();
        let (Some(left), Some(parent)) = (left, self.0.last_mut()) else {
            return Ok(());
        };
        if parent.open.is_some() {
            return Ok(());
        }
        let child = left.open.as_ref().ok_or(Errno::BADF)?;
        let fd = open_directory(child.fd()?, c"..")?;
        if rustix::fs::fstat(&fd)?.st_ino != parent.inode {
            return Err(Errno::STALE);
        }
        let mut dir = Dir::new(fd)?;
        dir.seek(parent.resume)?;
        parent.open = Some(dir);
        Ok(())
    }
}

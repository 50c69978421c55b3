//! The file that is being finished: owner, then mode, then attributes, then times.
//!
//! Kind: effect. Data come before all of these: a write drops set-user-ID bits and
//! file capabilities, a change of owner does too, and everything changes times.

use super::ContentsError;
use crux_image::contents::{Metadata, Timestamp, Xattr};
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
    fchmod, fchown, fsetxattr, fstat, ftruncate, futimens, lsetxattr, openat, statat, utimensat,
};
use rustix::io::Errno;
use rustix::process::fchdir;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// How a file is reached.
#[derive(Debug)]
pub(super) enum Handle {
    /// It is open.
    Open(OwnedFd),
    /// By its name in the current directory: it cannot be opened.
    Named(Vec<u8>),
    /// So too, and it has no mode: a symlink.
    Symlink(Vec<u8>),
}

/// A file whose metadata are not all set.
#[derive(Debug)]
pub(super) struct Subject {
    handle: Handle,
    metadata: Metadata,
    length: Length,
    stage: Stage,
    path: Vec<u8>,
}

/// How long a file is to be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Length {
    /// It needs none, or has it.
    Done,
    /// So long; the data end at `written`.
    Regular { size: u64, written: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its data may go on.
    Data,
    /// Owner and mode are set.
    Attributes,
}

impl Subject {
    pub(super) fn new(handle: Handle, metadata: Metadata, length: Length, path: Vec<u8>) -> Self {
        Self {
            handle,
            metadata,
            length,
            stage: Stage::Data,
            path,
        }
    }

    /// The file, if it takes data.
    pub(super) fn file(&self) -> Option<BorrowedFd<'_>> {
        match &self.handle {
            Handle::Open(fd) => Some(fd.as_fd()),
            Handle::Named(_) | Handle::Symlink(_) => None,
        }
    }

    /// For errors.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// Data were written up to `end`.
    pub(super) fn written_to(&mut self, end: u64) {
        if let Length::Regular { written, .. } = &mut self.length {
            *written = end;
        }
    }

    /// Sets an extended attribute; `dir` is the directory that the file is in.
    pub(super) fn set_xattr(
        &mut self,
        dir: BorrowedFd<'_>,
        xattr: &Xattr,
    ) -> Result<(), ContentsError> {
        self.set_owner_and_mode(dir)?;
        let (name, value) = (xattr.name.as_bytes(), xattr.value.as_bytes());
        let set = match &self.handle {
            Handle::Open(fd) => fsetxattr(fd, name, value, XattrFlags::empty()),
            Handle::Named(file) | Handle::Symlink(file) => within(dir, || {
                lsetxattr(file.as_slice(), name, value, XattrFlags::empty())
            }),
        };
        set.map_err(|errno| {
            let name = name.escape_ascii();
            self.failed(
                format!("setxattr(\"{name}\", {} bytes)", value.len()),
                errno,
            )
        })
    }

    /// Sets what is still to be set; the times last.
    pub(super) fn finish(mut self, dir: BorrowedFd<'_>) -> Result<(), ContentsError> {
        self.set_owner_and_mode(dir)?;
        self.check_mode(dir)?;
        let times = times(&self.metadata);
        let set = match &self.handle {
            Handle::Open(fd) => futimens(fd, &times),
            Handle::Named(name) | Handle::Symlink(name) => {
                utimensat(dir, name.as_slice(), &times, AtFlags::SYMLINK_NOFOLLOW)
            }
        };
        set.map_err(|errno| self.failed("utimensat()", errno))
    }

    fn set_owner_and_mode(&mut self, dir: BorrowedFd<'_>) -> Result<(), ContentsError> {
        if self.stage == Stage::Attributes {
            return Ok(());
        }
        self.stage = Stage::Attributes;
        self.set_length()?;
        self.set_owner(dir)?;
        self.set_mode(dir)
    }

    fn set_length(&self) -> Result<(), ContentsError> {
        let (Handle::Open(fd), Length::Regular { size, written }) = (&self.handle, self.length)
        else {
            return Ok(());
        };
        if written == size {
            return Ok(());
        }
        ftruncate(fd, size).map_err(|errno| self.failed(format!("ftruncate({size})"), errno))
    }

    fn set_owner(&self, dir: BorrowedFd<'_>) -> Result<(), ContentsError> {
        let Metadata { uid, gid, .. } = self.metadata;
        // Neither is -1: the image was checked.
        let (owner, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        let set = match &self.handle {
            Handle::Open(fd) => fchown(fd, owner, group),
            Handle::Named(name) | Handle::Symlink(name) => chownat(
                dir,
                name.as_slice(),
                owner,
                group,
                AtFlags::SYMLINK_NOFOLLOW,
            ),
        };
        set.map_err(|errno| self.failed(format!("fchown({uid}, {gid})"), errno))
    }

    fn set_mode(&self, dir: BorrowedFd<'_>) -> Result<(), ContentsError> {
        let mode = Mode::from_raw_mode(self.metadata.mode.0.into());
        let set = match &self.handle {
            Handle::Open(fd) => fchmod(fd, mode),
            // It was made a moment ago by mknodat(2), which never makes a symlink.
            Handle::Named(name) => chmodat(dir, name.as_slice(), mode, AtFlags::empty()),
            Handle::Symlink(_) => Ok(()),
        };
        set.map_err(|errno| self.failed(format!("fchmod({:o})", self.metadata.mode.0), errno))
    }

    /// Without CAP_FSETID the kernel drops set-group-ID bits and says nothing,
    /// at fchmod(2) and when an ACL is set.
    fn check_mode(&self, dir: BorrowedFd<'_>) -> Result<(), ContentsError> {
        let wanted = self.metadata.mode.0;
        if wanted & 0o6000 == 0 {
            return Ok(());
        }
        let stat = match &self.handle {
            Handle::Open(fd) => fstat(fd),
            Handle::Named(name) => statat(dir, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW),
            Handle::Symlink(_) => return Ok(()),
        };
        let stat = stat.map_err(|errno| self.failed("fstat()", errno))?;
        match (stat.st_mode & 0o7777) as u16 {
            found if found == wanted => Ok(()),
            found => {
                let path = format!("/{}", crux_image::path::Escaped(&self.path));
                Err(ContentsError::Mode {
                    path,
                    wanted,
                    found,
                })
            }
        }
    }

    fn failed(&self, call: impl Into<String>, errno: Errno) -> ContentsError {
        ContentsError::call(call, &self.path, errno)
    }
}

/// Runs `call` with `dir` as the working directory: no *at call sets extended
/// attributes before Linux 6.13.
fn within(dir: BorrowedFd<'_>, call: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let before = openat(CWD, c".", flags, Mode::empty())?;
    fchdir(dir)?;
    let result = call();
    fchdir(before)?;
    result
}

fn times(metadata: &Metadata) -> Timestamps {
    let timespec = |time: Timestamp| Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanoseconds.into(),
    };
    Timestamps {
        last_access: timespec(metadata.accessed),
        last_modification: timespec(metadata.modified),
    }
}

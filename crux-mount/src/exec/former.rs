//! Removing a file by the name that it is to be remembered by.
//!
//! Kind: effect. A name that was unlinked is that of a directory entry which the kernel keeps
//! as long as the file is used: mountinfo shows it. So the file is first moved to where it had
//! been. Directories that are gone are made for the moment, what stands there now steps aside
//! for the moment, and times that this changes are put back.

use super::error::{StepError, call, named};
use crate::sys::{self, Open};
use crux_image::path::RelPath;
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, StatxFlags, Timespec, Timestamps, mkdirat, openat,
    renameat_with, statx, unlinkat, utimensat,
};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Where something waits that stands in the way. No file of a container is called like that.
const ASIDE: &str = ".crux-aside";

/// Unlinks `name` beneath `root`, or removes it if it is a directory, as `former`.
pub(super) fn unlink(
    root: BorrowedFd<'_>,
    name: &RelPath,
    former: Option<&RelPath>,
    flags: AtFlags,
) -> Result<(), StepError> {
    let (parent, last) = split(name)?;
    let parent = sys::open_beneath(root, &parent, Open::Directory)?;
    let times = Times::of(&parent)?;
    match former.filter(|former| *former != name) {
        None => unlinkat(&parent, last, flags).map_err(call("unlinkat", name))?,
        Some(former) => as_former(root, (&parent, last), former, flags)?,
    }
    times.put_back(&parent)
}

fn split(path: &RelPath) -> Result<(RelPath, &[u8]), StepError> {
    path.split_last().ok_or(StepError::NotGranted)
}

fn as_former(
    root: BorrowedFd<'_>,
    from: (&OwnedFd, &[u8]),
    former: &RelPath,
    flags: AtFlags,
) -> Result<(), StepError> {
    let mut way = Way::new(root)?;
    let (above, last) = split(former)?;
    for component in above.components() {
        way.enter(root, component, former)?;
    }
    way.make_room(root, last, former)?;
    let here = way.here();
    renameat_with(from.0, from.1, here, last, RenameFlags::NOREPLACE)
        .map_err(call("renameat2", former))?;
    unlinkat(here, last, flags).map_err(call("unlinkat", former))?;
    way.undo(root)
}

/// The directories on the way to a former name, and what was done to go there.
struct Way {
    /// From the root on: a directory, and its times as they were.
    directories: Vec<(OwnedFd, Times)>,
    /// Those that were made: the position of the parent, and the name.
    made: Vec<(usize, Vec<u8>)>,
    /// The position of the directory that something stood in, and its name.
    aside: Option<(usize, Vec<u8>)>,
}

impl Way {
    fn new(root: BorrowedFd<'_>) -> Result<Self, StepError> {
        let root = sys::open_beneath(root, &RelPath::root(), Open::Directory)?;
        let times = Times::of(&root)?;
        Ok(Self {
            directories: vec![(root, times)],
            made: Vec::new(),
            aside: None,
        })
    }

    fn here(&self) -> &OwnedFd {
        &self.directories[self.directories.len() - 1].0
    }

    fn enter(
        &mut self,
        root: BorrowedFd<'_>,
        name: &[u8],
        former: &RelPath,
    ) -> Result<(), StepError> {
        let found = open_directory(self.here(), name);
        let found = match found {
            Err(Errno::NOTDIR | Errno::LOOP) => {
                self.make_room(root, name, former)?;
                Err(Errno::NOENT)
            }
            found => found,
        };
        let directory = match found {
            Err(Errno::NOENT) => {
                let above = self.directories.len() - 1;
                mkdirat(self.here(), name, Mode::RWXU).map_err(call("mkdirat", former))?;
                self.made.push((above, name.to_vec()));
                open_directory(self.here(), name).map_err(call("openat", former))?
            }
            found => found.map_err(call("openat", former))?,
        };
        let times = Times::of(&directory)?;
        self.directories.push((directory, times));
        Ok(())
    }

    /// Puts aside what has the name now. That happens once: what is beneath was made.
    fn make_room(
        &mut self,
        root: BorrowedFd<'_>,
        name: &[u8],
        former: &RelPath,
    ) -> Result<(), StepError> {
        match renameat_with(self.here(), name, root, ASIDE, RenameFlags::NOREPLACE) {
            Ok(()) => {
                self.aside = Some((self.directories.len() - 1, name.to_vec()));
                Ok(())
            }
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(call("renameat2", former)(errno)),
        }
    }

    fn undo(self, root: BorrowedFd<'_>) -> Result<(), StepError> {
        for (above, name) in self.made.iter().rev() {
            unlinkat(&self.directories[*above].0, name, AtFlags::REMOVEDIR)
                .map_err(named("unlinkat(a directory made for a former name)"))?;
        }
        if let Some((at, name)) = &self.aside {
            let to = &self.directories[*at].0;
            renameat_with(root, ASIDE, to, name, RenameFlags::NOREPLACE)
                .map_err(named("renameat2(what was put aside)"))?;
        }
        let first_made = self.made.first().map_or(usize::MAX, |(above, _)| *above);
        let there_before = self.directories.iter().take(first_made.saturating_add(1));
        for (directory, times) in there_before {
            times.put_back(directory)?;
        }
        Ok(())
    }
}

/// The directory itself: never through a symlink or onto another mount.
fn open_directory(above: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(above, name, flags, Mode::empty())
}

/// The times of a directory that taking names from it changes.
struct Times(Timestamps);

impl Times {
    fn of(directory: &OwnedFd) -> Result<Self, StepError> {
        let wanted = StatxFlags::ATIME | StatxFlags::MTIME;
        let stat = statx(directory, c"", AtFlags::EMPTY_PATH, wanted).map_err(named("statx"))?;
        let time = |time: rustix::fs::StatxTimestamp| Timespec {
            tv_sec: time.tv_sec,
            tv_nsec: time.tv_nsec.into(),
        };
        Ok(Self(Timestamps {
            last_access: time(stat.stx_atime),
            last_modification: time(stat.stx_mtime),
        }))
    }

    fn put_back(&self, directory: &OwnedFd) -> Result<(), StepError> {
        utimensat(directory.as_fd(), c".", &self.0, AtFlags::empty())
            .map_err(named("utimensat(\".\")"))
    }
}

//! The place of an image that is being written: `DIR.partial` until it is complete.
//!
//! Kind: effect. It makes, names and removes the directory; what is in it is the
//! business of [`super::ImageWriter`], which may be another process's.

use crate::error::{ImageError, Problem};
use crate::member::MemberKind;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The directory that an image is. Dropped before [`Partial::publish`] it goes, with every member in it.
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    parent: OwnedFd,
    name: OsString,
    partial: OsString,
    dir: OwnedFd,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Partial,
    Complete,
}

impl Partial {
    /// Makes `path.partial`, mode 0700. Refused if it or `path` exists.
    pub fn create(path: &Path) -> Result<Self, ImageError> {
        let fail = |problem| ImageError::new(path, problem);
        let name = path
            .file_name()
            .ok_or_else(|| fail(Problem::NoName))?
            .to_owned();
        let mut partial = name.clone();
        partial.push(".partial");
        let parent = open_parent(path).map_err(fail)?;
        make(&parent, &name, &partial).map_err(fail)?;
        let dir = open_directory(&parent, &partial).map_err(|problem| {
            let _ = rustix::fs::unlinkat(&parent, &partial, AtFlags::REMOVEDIR);
            fail(problem)
        })?;
        Ok(Self {
            path: path.to_owned(),
            parent,
            name,
            partial,
            dir,
            state: State::Partial,
        })
    }

    /// The path of the image to be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory itself.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// The directory that it is in.
    pub fn parent(&self) -> BorrowedFd<'_> {
        self.parent.as_fd()
    }

    /// Gives the image its name. Its files and itself are synced already.
    pub fn publish(mut self) -> Result<(), ImageError> {
        self.rename()
            .map_err(|problem| ImageError::new(&self.path, problem))?;
        self.state = State::Complete;
        Ok(())
    }

    fn rename(&self) -> Result<(), Problem> {
        let (from, to) = (&self.partial, &self.name);
        rustix::fs::renameat_with(&self.parent, from, &self.parent, to, RenameFlags::NOREPLACE)
            .map_err(|errno| match errno {
                Errno::EXIST => Problem::Exists,
                _ => Problem::call("renameat2(image.partial, image, RENAME_NOREPLACE)", errno),
            })?;
        rustix::fs::fsync(&self.parent).map_err(|errno| {
            // The name may not be on disk; the image is not to be relied on.
            let _ = rustix::fs::renameat(&self.parent, to, &self.parent, from);
            Problem::call("fsync(directory of the image)", errno)
        })
    }
}

impl Drop for Partial {
    /// Nothing can be reported from here; what cannot be removed stays visible as `.partial`.
    fn drop(&mut self) {
        if self.state == State::Complete {
            return;
        }
        for kind in MemberKind::ALL {
            let _ = rustix::fs::unlinkat(&self.dir, kind.file_name(), AtFlags::empty());
        }
        let _ = rustix::fs::unlinkat(&self.parent, &self.partial, AtFlags::REMOVEDIR);
    }
}

fn open_parent(path: &Path) -> Result<OwnedFd, Problem> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    open_directory(rustix::fs::CWD, parent.as_os_str())
}

fn open_directory(at: impl AsFd, name: &OsStr) -> Result<OwnedFd, Problem> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
        .map_err(|errno| Problem::call(format!("openat({name:?}, {flags:?})"), errno))
}

fn make(parent: &OwnedFd, name: &OsStr, partial: &OsStr) -> Result<(), Problem> {
    if rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Err(Problem::Exists);
    }
    rustix::fs::mkdirat(parent, partial, Mode::RWXU).map_err(|errno| match errno {
        Errno::EXIST => {
            Problem::PartialExists(crate::path::Escaped(partial.as_bytes()).to_string())
        }
        _ => Problem::call(format!("mkdirat({partial:?}, 0700)"), errno),
    })
}

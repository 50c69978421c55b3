//! Makes an image: `DIR.partial`, synced and renamed to `DIR` when complete.
//!
//! Kind: effect. Dropped without [`ImageWriter::finish`] it removes what it made.

use crate::codec;
use crate::error::{ImageError, Problem};
use crate::inventory::{ImageFacts, ImageId, Inventory, MemberEntry};
use crate::member::{HEADER_LENGTH, Header, Layout, MemberKind};
use crate::mounts::Mounts;
use crate::tasks::Tasks;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// An image being written.
#[derive(Debug)]
pub struct ImageWriter {
    path: PathBuf,
    parent: OwnedFd,
    name: OsString,
    partial: OsString,
    dir: OwnedFd,
    members: Vec<Written>,
    state: State,
}

#[derive(Debug)]
struct Written {
    kind: MemberKind,
    file: File,
    /// Of a raw member, from whoever writes it.
    checksum: Option<u32>,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Partial,
    Complete,
}

impl ImageWriter {
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
        make_partial(&parent, &name, &partial).map_err(fail)?;
        let dir = open_directory(&parent, &partial).map_err(|problem| {
            let _ = rustix::fs::unlinkat(&parent, &partial, AtFlags::REMOVEDIR);
            fail(problem)
        })?;
        let (path, members) = (path.to_owned(), Vec::new());
        Ok(Self {
            path,
            parent,
            name,
            partial,
            dir,
            members,
            state: State::Partial,
        })
    }

    /// Checks and writes the record of mounts.
    pub fn write_mounts(&mut self, mounts: &Mounts) -> Result<(), ImageError> {
        let kind = MemberKind::Mounts;
        mounts.check().map_err(|error| self.fail(kind, error))?;
        self.write_record(kind, &codec::encode(mounts))
    }

    /// Checks and writes the record of tasks, of a container with these mounts.
    pub fn write_tasks(&mut self, tasks: &Tasks, mounts: &Mounts) -> Result<(), ImageError> {
        let kind = MemberKind::Tasks;
        tasks
            .check(mounts)
            .map_err(|error| self.fail(kind, error))?;
        self.write_record(kind, &codec::encode(tasks))
    }

    /// Begins a raw member. Reading and writing at any offset is the caller's.
    pub fn raw(&mut self, kind: MemberKind) -> Result<File, ImageError> {
        debug_assert_eq!(kind.layout(), Layout::Raw);
        self.make_member(kind)
    }

    /// Records the checksum of a raw member, where its writer computes one.
    pub fn raw_checksum(&mut self, kind: MemberKind, checksum: u32) {
        if let Some(written) = self.members.iter_mut().find(|written| written.kind == kind) {
            written.checksum = Some(checksum);
        }
    }

    /// Turns a failed write to a member into an error that names image and member.
    pub fn write_failed(&self, kind: MemberKind, error: &std::io::Error) -> ImageError {
        self.fail(kind, Problem::io("write", error))
    }

    /// Writes the inventory, syncs every file and the directory, and gives the image its name.
    pub fn finish(mut self, facts: ImageFacts) -> Result<ImageId, ImageError> {
        let id = facts.id;
        let members = self
            .members
            .iter()
            .map(|written| self.entry(written))
            .collect::<Result<_, _>>()?;
        let inventory = Inventory { facts, members };
        let kind = MemberKind::Inventory;
        inventory
            .check()
            .map_err(|words| self.fail(kind, Problem::Inventory(words)))?;
        self.write_record(kind, &codec::encode(&inventory))?;
        for written in &self.members {
            written
                .file
                .sync_all()
                .map_err(|e| self.fail(written.kind, Problem::io("fsync", &e)))?;
        }
        self.publish()
            .map_err(|problem| ImageError::new(&self.path, problem))?;
        self.state = State::Complete;
        Ok(id)
    }

    fn publish(&self) -> Result<(), Problem> {
        rustix::fs::fsync(&self.dir).map_err(|e| Problem::call("fsync(image)", e))?;
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

    fn entry(&self, written: &Written) -> Result<MemberEntry, ImageError> {
        let fail = |problem| self.fail(written.kind, problem);
        let metadata = written
            .file
            .metadata()
            .map_err(|e| fail(Problem::io("fstat", &e)))?;
        let (kind, length) = (written.kind.number(), metadata.len());
        if written.kind.layout() == Layout::Raw {
            return Ok(MemberEntry {
                kind,
                length,
                checksum: written.checksum,
            });
        }
        let mut bytes = [0; HEADER_LENGTH];
        written
            .file
            .read_exact_at(&mut bytes, 0)
            .map_err(|e| fail(Problem::io("pread(header)", &e)))?;
        let header = Header::parse(&bytes, written.kind).map_err(|_| fail(Problem::Unfinished))?;
        if header.length + HEADER_LENGTH as u64 != length {
            return Err(fail(Problem::Unfinished));
        }
        Ok(MemberEntry {
            kind,
            length,
            checksum: Some(header.checksum),
        })
    }

    fn write_record(&mut self, kind: MemberKind, payload: &[u8]) -> Result<(), ImageError> {
        let (length, limit) = (payload.len() as u64, kind.limit());
        if length > limit {
            return Err(self.fail(kind, codec::CodecError::TooLong { length, limit }));
        }
        let mut file = self.make_member(kind)?;
        let header = Header::new(kind, length, crc32fast::hash(payload));
        file.write_all(&header.to_bytes())
            .and_then(|()| file.write_all(payload))
            .map_err(|error| self.write_failed(kind, &error))
    }

    fn make_member(&mut self, kind: MemberKind) -> Result<File, ImageError> {
        let name = kind.file_name();
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR);
        let file = File::from(made.map_err(|errno| {
            self.fail(
                kind,
                Problem::call(format!("openat(image, \"{name}\", {flags:?}, 0600)"), errno),
            )
        })?);
        let handed_out = file
            .try_clone()
            .map_err(|e| self.fail(kind, Problem::io("dup", &e)))?;
        self.members.push(Written {
            kind,
            file,
            checksum: None,
        });
        Ok(handed_out)
    }

    fn fail(&self, kind: MemberKind, problem: impl Into<Problem>) -> ImageError {
        ImageError::of_member(&self.path, kind.file_name(), problem)
    }
}

impl Drop for ImageWriter {
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

fn open_directory(at: impl rustix::fd::AsFd, name: &OsStr) -> Result<OwnedFd, Problem> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
        .map_err(|errno| Problem::call(format!("openat({name:?}, {flags:?})"), errno))
}

fn make_partial(parent: &OwnedFd, name: &OsStr, partial: &OsStr) -> Result<(), Problem> {
    if rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Err(Problem::Exists);
    }
    rustix::fs::mkdirat(parent, partial, Mode::RWXU).map_err(|errno| match errno {
        Errno::EXIST => {
            use std::os::unix::ffi::OsStrExt;
            Problem::PartialExists(crate::path::Escaped(partial.as_bytes()).to_string())
        }
        _ => Problem::call(format!("mkdirat({partial:?}, 0700)"), errno),
    })
}

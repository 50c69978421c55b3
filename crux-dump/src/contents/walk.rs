//! The walk: from the root into every directory, without recursion.
//!
//! Kind: effect.

use super::error::shown;
use super::holes::Holes;
use super::level::{Levels, open_directory};
use super::links::Links;
use super::stat::{Place, Stat};
use super::working::WorkingDirectory;
use super::xattrs::{Subject, XattrError, XattrReader};
use super::{Beneath, ContentsError};
use crux_image::contents::{ContentsWriter, Entry, Name};
use rustix::fs::{DirEntry, FileType, fstatfs};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd};

/// A walk through one tree.
pub(super) struct Walk<'a> {
    pub(super) writer: &'a mut ContentsWriter<File>,
    pub(super) levels: Levels,
    pub(super) links: Links,
    pub(super) working: WorkingDirectory,
    xattrs: XattrReader,
    pub(super) place: Place,
    beneath: Beneath,
    /// How many files something is mounted on.
    pub(super) covered: u64,
    pub(super) holes: Holes,
    /// Names that orphans give back to a file, by its inode number.
    pub(super) extra_names: HashMap<u64, u32>,
    /// This thread's directory in /proc.
    pub(super) process: BorrowedFd<'a>,
    reserved: Vec<Name>,
    /// Of the current directory, relative to the root; with a slash at its end unless empty.
    path: Vec<u8>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        root: BorrowedFd<'_>,
        beneath: Beneath,
        orphans: &[(Name, BorrowedFd<'_>)],
        process: BorrowedFd<'a>,
        writer: &'a mut ContentsWriter<File>,
    ) -> Result<Self, ContentsError> {
        let failed = |call: &str, errno| ContentsError::Call {
            call: call.into(),
            path: shown(b""),
            errno,
        };
        let root = open_directory(root, c".")
            .map_err(|e| failed("openat(root, \".\", O_DIRECTORY)", e))?;
        let stat = Stat::of(root.as_fd()).map_err(|e| failed("statx(root)", e))?;
        let file_system = fstatfs(&root).map_err(|e| failed("fstatfs(root)", e))?;
        let mut levels = Levels::default();
        levels
            .enter(root, stat.inode(), stat.metadata())
            .map_err(|e| failed("getdents64(root)", e))?;
        let walk = Self {
            writer,
            levels,
            links: Links::default(),
            working: WorkingDirectory::default(),
            xattrs: XattrReader::default(),
            place: stat.place(),
            beneath,
            covered: 0,
            holes: Holes::of(&file_system),
            extra_names: HashMap::new(),
            process,
            reserved: orphans.iter().map(|(name, _)| name.clone()).collect(),
            path: Vec::new(),
        };
        walk.check_attributes(&stat, c"")?;
        Ok(walk)
    }

    /// Records everything, the orphans last.
    pub(super) fn run(mut self, orphans: &[(Name, BorrowedFd<'_>)]) -> Result<u64, ContentsError> {
        self.count_orphans(orphans)?;
        while self.levels.depth() > 0 {
            match self
                .levels
                .next()
                .map_err(|e| self.failed("getdents64()", c"", e))?
            {
                Some(entry) => self.record(&entry)?,
                None => {
                    if self.levels.depth() == 1 {
                        self.record_orphans(orphans)?;
                    }
                    self.leave()?;
                }
            }
        }
        Ok(self.covered)
    }

    fn record(&mut self, entry: &DirEntry) -> Result<(), ContentsError> {
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            return Ok(());
        }
        if self.levels.depth() == 1
            && self
                .reserved
                .iter()
                .any(|n| n.as_bytes() == name.to_bytes())
        {
            return Err(ContentsError::OrphanName {
                path: shown(name.to_bytes()),
            });
        }
        if self.beneath == Beneath::Mounts && self.is_covered(name)? {
            return self.record_covered(entry);
        }
        match entry.file_type() {
            FileType::Directory => self.enter(name),
            FileType::RegularFile => self.regular(name),
            FileType::Unknown => self.unknown(name),
            _ => self.special(name),
        }
    }

    /// A file system that does not say in its directories what its files are.
    fn unknown(&mut self, name: &CStr) -> Result<(), ContentsError> {
        match self.stat_named(name)?.file_type() {
            FileType::Directory => self.enter(name),
            FileType::RegularFile => self.regular(name),
            _ => self.special(name),
        }
    }

    fn enter(&mut self, name: &CStr) -> Result<(), ContentsError> {
        let dir = open_directory(self.current()?, name)
            .map_err(|e| self.failed("openat(O_RDONLY|O_DIRECTORY|O_NOFOLLOW)", name, e))?;
        let stat = Stat::of(dir.as_fd()).map_err(|e| self.failed("statx()", name, e))?;
        self.check(&stat, name)?;
        self.writer.push(&Entry::Enter(self.name(name)?))?;
        let entered = self.levels.enter(dir, stat.inode(), stat.metadata());
        entered.map_err(|e| self.failed("getdents64()", name, e))?;
        self.path.extend_from_slice(name.to_bytes());
        self.path.push(b'/');
        Ok(())
    }

    fn leave(&mut self) -> Result<(), ContentsError> {
        if let Some(metadata) = self.levels.metadata() {
            self.writer.push(&Entry::Leave(metadata))?;
        }
        let (dir, _) = self
            .levels
            .current()
            .map_err(|e| self.failed("dup()", c"", e))?;
        let (xattrs, writer) = (&mut self.xattrs, &mut *self.writer);
        xattrs
            .read(Subject::Open(dir), |xattr| {
                Ok::<(), Failure>(writer.push(&Entry::Xattr(xattr))?)
            })
            .map_err(|failure| self.xattrs_failed(c"", failure))?;
        self.levels
            .leave()
            .map_err(|e| self.failed("openat(\"..\")", c"", e))?;
        self.path.pop();
        let end = self
            .path
            .iter()
            .rposition(|&b| b == b'/')
            .map_or(0, |at| at + 1);
        self.path.truncate(end);
        Ok(())
    }

    /// Records the extended attributes of the file `name` that was recorded last.
    pub(super) fn record_xattrs(
        &mut self,
        of: Subject<'_>,
        name: &CStr,
    ) -> Result<(), ContentsError> {
        let (xattrs, writer) = (&mut self.xattrs, &mut *self.writer);
        xattrs
            .read(of, |xattr| {
                Ok::<(), Failure>(writer.push(&Entry::Xattr(xattr))?)
            })
            .map_err(|failure| self.xattrs_failed(name, failure))
    }

    /// Whether a file is part of this tree and can be recorded.
    pub(super) fn check(&self, stat: &Stat, name: &CStr) -> Result<(), ContentsError> {
        if stat.place() != self.place {
            return Err(ContentsError::Hidden {
                path: self.shown(name),
            });
        }
        self.check_attributes(stat, name)
    }

    pub(super) fn check_attributes(&self, stat: &Stat, name: &CStr) -> Result<(), ContentsError> {
        match stat.unsupported() {
            Some(attribute) => Err(ContentsError::Attribute {
                path: self.shown(name),
                attribute,
            }),
            None => Ok(()),
        }
    }

    pub(super) fn is_here(&self, stat: &Stat) -> bool {
        stat.place().same_file_system(self.place)
    }

    pub(super) fn current(&self) -> Result<BorrowedFd<'_>, ContentsError> {
        self.levels
            .current()
            .map(|(dir, _)| dir)
            .map_err(|e| self.failed("dup()", c"", e))
    }

    pub(super) fn stat_named(&self, name: &CStr) -> Result<Stat, ContentsError> {
        Stat::named(self.current()?, name)
            .map_err(|e| self.failed("statx(AT_SYMLINK_NOFOLLOW)", name, e))
    }

    pub(super) fn name(&self, name: &CStr) -> Result<Name, ContentsError> {
        Name::new(name.to_bytes()).map_err(|reason| ContentsError::Bytes {
            path: self.shown(name),
            what: "its name",
            reason,
        })
    }

    pub(super) fn shown(&self, name: &CStr) -> String {
        shown(&[&self.path, name.to_bytes()].concat())
    }

    pub(super) fn failed(&self, call: &str, name: &CStr, errno: Errno) -> ContentsError {
        ContentsError::Call {
            call: call.into(),
            path: self.shown(name),
            errno,
        }
    }

    fn xattrs_failed(&self, name: &CStr, failure: Failure) -> ContentsError {
        let path = self.shown(name);
        match failure {
            Failure::Format(error) => error.into(),
            Failure::Xattr(XattrError::Call(call, errno)) => {
                ContentsError::Call { call, path, errno }
            }
            Failure::Xattr(XattrError::Bytes(reason)) => ContentsError::Bytes {
                path,
                what: "an extended attribute",
                reason,
            },
        }
    }
}

/// Why attributes could not be copied.
enum Failure {
    Xattr(XattrError),
    Format(crux_image::contents::FormatError),
}

impl From<XattrError> for Failure {
    fn from(error: XattrError) -> Self {
        Self::Xattr(error)
    }
}

impl From<crux_image::contents::FormatError> for Failure {
    fn from(error: crux_image::contents::FormatError) -> Self {
        Self::Format(error)
    }
}

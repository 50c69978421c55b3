//! Files that are not directories.
//!
//! Kind: effect. A regular file costs five calls: openat, statx, pread, flistxattr, close.

use super::ContentsError;
use super::links::Link;
use super::stat::Stat;
use super::walk::Walk;
use super::xattrs::Subject;
use crux_image::contents::{
    Data, EXTENTS_IN_ENTRY, Entry, FileEntry, INLINE_LIMIT, Inline, LinkTarget, Name, Node,
};
use rustix::fs::{FileType, Mode, OFlags, openat, readlinkat};
use rustix::io::pread;
use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd};

/// A file to be recorded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subjected<'a> {
    pub(super) name: &'a CStr,
    pub(super) stat: &'a Stat,
}

impl Walk<'_> {
    pub(super) fn regular(&mut self, name: &CStr) -> Result<(), ContentsError> {
        // RACE: the directory said that it is a regular file; should something else
        // stand there now, O_NONBLOCK keeps a fifo from blocking us, and it is refused.
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat(self.current()?, name, flags, Mode::empty())
            .map_err(|e| self.failed("openat(O_RDONLY|O_NOFOLLOW)", name, e))?;
        let stat = Stat::of(file.as_fd()).map_err(|e| self.failed("statx()", name, e))?;
        self.check(&stat, name)?;
        if stat.file_type() != FileType::RegularFile {
            return Err(ContentsError::Changed {
                path: self.shown(name),
            });
        }
        self.record_regular(Subjected { name, stat: &stat }, file.as_fd())
    }

    pub(super) fn record_regular(
        &mut self,
        subject: Subjected<'_>,
        file: BorrowedFd<'_>,
    ) -> Result<(), ContentsError> {
        let Subjected { name, stat } = subject;
        if self.is_another_name(subject)? {
            return Ok(());
        }
        let size = stat.size();
        let data = match usize::try_from(size) {
            Ok(0) => Data::Extents,
            Ok(length) if length <= INLINE_LIMIT && stat.has_blocks() => {
                Data::Inline(self.inline(name, file, length)?)
            }
            _ => Data::Extents,
        };
        let has_extents = data == Data::Extents && stat.has_blocks();
        self.push_file(subject, Node::Regular { size, data })?;
        if has_extents {
            self.extents(name, file, size)?;
        }
        self.record_xattrs(Subject::Open(file), name)
    }

    pub(super) fn special(&mut self, name: &CStr) -> Result<(), ContentsError> {
        let stat = self.stat_named(name)?;
        self.check(&stat, name)?;
        let subject = Subjected { name, stat: &stat };
        if self.is_another_name(subject)? {
            return Ok(());
        }
        let node = self.node(subject, self.current()?, name)?;
        self.push_file(subject, node)?;
        let (dir, inode) = self
            .levels
            .current()
            .map_err(|e| self.failed("dup()", name, e))?;
        let entered = self.working.enter(dir, Some(inode));
        entered.map_err(|e| self.failed("fchdir()", name, e))?;
        self.record_xattrs(Subject::Named(name), name)
    }

    /// What a file that is neither directory nor regular is; `at` is its name in `dir`.
    pub(super) fn node(
        &self,
        subject: Subjected<'_>,
        dir: BorrowedFd<'_>,
        at: &CStr,
    ) -> Result<Node, ContentsError> {
        Ok(match subject.stat.file_type() {
            FileType::Symlink => Node::Symlink(self.target(subject.name, dir, at)?),
            FileType::CharacterDevice => Node::CharDevice(subject.stat.device()),
            FileType::BlockDevice => Node::BlockDevice(subject.stat.device()),
            FileType::Fifo => Node::Fifo,
            FileType::Socket => Node::Socket,
            FileType::RegularFile | FileType::Directory => {
                return Err(ContentsError::Changed {
                    path: self.shown(subject.name),
                });
            }
            FileType::Unknown => {
                let mode = subject.stat.raw_mode();
                return Err(ContentsError::Type {
                    path: self.shown(subject.name),
                    mode,
                });
            }
        })
    }

    /// Records a further name of a file that was recorded, and says whether it did.
    pub(super) fn is_another_name(
        &mut self,
        subject: Subjected<'_>,
    ) -> Result<bool, ContentsError> {
        let names = self.names(subject.stat);
        match self.links.meet(subject.stat.inode(), names) {
            Link::First => Ok(false),
            Link::To(to) => {
                self.writer.push(&Entry::Link {
                    name: self.name(subject.name)?,
                    to,
                })?;
                Ok(true)
            }
        }
    }

    pub(super) fn push_file(
        &mut self,
        subject: Subjected<'_>,
        node: Node,
    ) -> Result<(), ContentsError> {
        let name: Name = self.name(subject.name)?;
        let (names, metadata) = (self.names(subject.stat), subject.stat.metadata());
        Ok(self.writer.push(&Entry::File(FileEntry {
            name,
            names,
            metadata,
            node,
        }))?)
    }

    fn names(&self, stat: &Stat) -> u32 {
        let extra = self.extra_names.get(&stat.inode()).copied().unwrap_or(0);
        stat.links().saturating_add(extra).max(1)
    }

    fn target(
        &self,
        name: &CStr,
        dir: BorrowedFd<'_>,
        at: &CStr,
    ) -> Result<LinkTarget, ContentsError> {
        let target =
            readlinkat(dir, at, Vec::new()).map_err(|e| self.failed("readlinkat()", name, e))?;
        LinkTarget::new(target.into_bytes()).map_err(|reason| ContentsError::Bytes {
            path: self.shown(name),
            what: "its target",
            reason,
        })
    }

    fn inline(
        &self,
        name: &CStr,
        file: BorrowedFd<'_>,
        length: usize,
    ) -> Result<Inline, ContentsError> {
        let mut bytes = vec![0; length];
        let mut done = 0;
        while done < length {
            done += self.read(name, file, &mut bytes[done..], done as u64)?;
        }
        // It is as long as was checked.
        Inline::new(bytes).map_err(|reason| ContentsError::Bytes {
            path: self.shown(name),
            what: "its data",
            reason,
        })
    }

    fn extents(
        &mut self,
        name: &CStr,
        file: BorrowedFd<'_>,
        size: u64,
    ) -> Result<(), ContentsError> {
        let mut batch = Vec::new();
        let mut at = 0;
        while at < size {
            let next = self.holes.next_data(file, at, size);
            let Some((begin, end)) = next.map_err(|(call, e)| self.failed(call, name, e))? else {
                break;
            };
            batch.push(self.extent(name, file, begin, end)?);
            if batch.len() == EXTENTS_IN_ENTRY {
                self.writer
                    .push(&Entry::Extents(std::mem::take(&mut batch)))?;
            }
            at = end;
        }
        if !batch.is_empty() {
            self.writer.push(&Entry::Extents(batch))?;
        }
        Ok(())
    }

    fn extent(
        &mut self,
        name: &CStr,
        file: BorrowedFd<'_>,
        begin: u64,
        end: u64,
    ) -> Result<crux_image::contents::Extent, ContentsError> {
        let mut failure = None;
        let extent = self.writer.extent(begin, end - begin, |buffer, at| {
            match pread(file, buffer, at) {
                Ok(count) if count > 0 => Ok(count),
                other => {
                    failure = Some(other);
                    Err(Stop::Source)
                }
            }
        });
        match extent {
            Ok(extent) => Ok(extent),
            Err(Stop::Format(error)) => Err(error.into()),
            Err(Stop::Source) => Err(match failure {
                Some(Err(errno)) => self.failed("pread64()", name, errno),
                _ => ContentsError::Changed {
                    path: self.shown(name),
                },
            }),
        }
    }

    fn read(
        &self,
        name: &CStr,
        file: BorrowedFd<'_>,
        buffer: &mut [u8],
        at: u64,
    ) -> Result<usize, ContentsError> {
        match pread(file, buffer, at).map_err(|e| self.failed("pread64()", name, e))? {
            0 => Err(ContentsError::Changed {
                path: self.shown(name),
            }),
            count => Ok(count),
        }
    }
}

/// Why copying an extent stopped.
enum Stop {
    /// The file: the cause is beside it.
    Source,
    Format(crux_image::contents::FormatError),
}

impl From<crux_image::contents::FormatError> for Stop {
    fn from(error: crux_image::contents::FormatError) -> Self {
        Self::Format(error)
    }
}

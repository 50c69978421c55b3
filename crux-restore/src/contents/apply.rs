//! Follows the entries of a tree and makes what they say.
//!
//! Kind: effect.

use super::ContentsError;
use super::directories::{Directories, DirectoryId};
use super::links::Links;
use super::node::{make, write};
use super::subject::{Handle, Length, Subject};
use crate::inward::Outer;
use crux_image::contents::{
    Entry, Extent, FileEntry, FormatError, LinkNumber, Metadata, Name, SectionReader,
};
use rustix::fs::{AtFlags, Mode, OFlags, linkat, mkdirat, openat};
use rustix::io::Errno;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// A tree that is being made.
pub(super) struct Builder<'a> {
    own: Option<Outer>,
    root: BorrowedFd<'a>,
    /// The directory that entries are made in.
    current: OwnedFd,
    levels: Vec<Level>,
    /// Of the current directory, relative to the root; with a slash at its end unless empty.
    path: Vec<u8>,
    subject: Option<Subject>,
    directories: Directories,
    links: Links,
}

/// A directory between the root and the current one, that included.
struct Level {
    /// Where its name begins in the path.
    start: usize,
    /// Its identity, once a file in it or beneath may be linked to.
    id: Option<DirectoryId>,
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

fn open_root(root: BorrowedFd<'_>) -> Result<OwnedFd, ContentsError> {
    openat(root, c".", DIRECTORY, Mode::empty())
        .map_err(|e| ContentsError::call("openat(root, \".\", O_DIRECTORY)", b"", e))
}

impl<'a> Builder<'a> {
    pub(super) fn new(own: Option<Outer>, root: BorrowedFd<'a>) -> Result<Self, ContentsError> {
        Ok(Self {
            own,
            root,
            current: open_root(root)?,
            levels: Vec::new(),
            path: Vec::new(),
            subject: None,
            directories: Directories::default(),
            links: Links::default(),
        })
    }

    pub(super) fn run(mut self, tree: &mut SectionReader<'_>) -> Result<(), ContentsError> {
        while let Some(mut entry) = tree.next_entry()? {
            if let Some(own) = self.own {
                own.entry(&mut entry);
            }
            match entry {
                Entry::Extents(extents) => self.fill(tree, &extents)?,
                Entry::Xattr(xattr) => {
                    if let Some(subject) = &mut self.subject {
                        subject.set_xattr(self.current.as_fd(), &xattr)?;
                    }
                }
                entry => {
                    self.finish_subject()?;
                    self.make(entry)?;
                }
            }
        }
        self.finish_subject()
    }

    fn make(&mut self, entry: Entry) -> Result<(), ContentsError> {
        match entry {
            Entry::Enter(name) => self.enter(&name),
            Entry::Leave(metadata) => self.leave(metadata),
            Entry::File(file) => self.file(file),
            Entry::Link { name, to } => self.link(&name, to),
            Entry::Extents(_) | Entry::Xattr(_) => Ok(()),
        }
    }

    fn finish_subject(&mut self) -> Result<(), ContentsError> {
        match self.subject.take() {
            Some(subject) => subject.finish(self.current.as_fd()),
            None => Ok(()),
        }
    }

    fn enter(&mut self, name: &Name) -> Result<(), ContentsError> {
        let dir = self.current.as_fd();
        mkdirat(dir, name.as_bytes(), Mode::RWXU)
            .map_err(|e| self.failed("mkdirat(0700)", name.as_bytes(), e))?;
        self.current = openat(dir, name.as_bytes(), DIRECTORY, Mode::empty())
            .map_err(|e| self.failed("openat(O_DIRECTORY|O_NOFOLLOW)", name.as_bytes(), e))?;
        self.levels.push(Level {
            start: self.path.len(),
            id: None,
        });
        self.path.extend_from_slice(name.as_bytes());
        self.path.push(b'/');
        Ok(())
    }

    /// Goes up before anything of the directory is set: it may not let us through after.
    fn leave(&mut self, metadata: Metadata) -> Result<(), ContentsError> {
        let Some(level) = self.levels.pop() else {
            return self.leave_root(metadata);
        };
        let parent = openat(&self.current, c"..", DIRECTORY, Mode::empty())
            .map_err(|e| self.failed("openat(\"..\")", b"", e))?;
        let left = std::mem::replace(&mut self.current, parent);
        let path = self.path[..self.path.len() - 1].to_vec();
        self.path.truncate(level.start);
        self.directories.release(level.id);
        self.subject = Some(Subject::new(
            Handle::Open(left),
            metadata,
            Length::Done,
            path,
        ));
        Ok(())
    }

    fn leave_root(&mut self, metadata: Metadata) -> Result<(), ContentsError> {
        self.subject = Some(Subject::new(
            Handle::Open(open_root(self.root)?),
            metadata,
            Length::Done,
            Vec::new(),
        ));
        Ok(())
    }

    fn file(&mut self, file: FileEntry) -> Result<(), ContentsError> {
        let path = [&self.path, file.name.as_bytes()].concat();
        self.subject = Some(make(self.current.as_fd(), &file, path)?);
        if file.names > 1 {
            let directory = self.current_id()?;
            self.links
                .add(directory, file.name, file.names, &mut self.directories);
        }
        Ok(())
    }

    fn fill(
        &mut self,
        tree: &mut SectionReader<'_>,
        extents: &[Extent],
    ) -> Result<(), ContentsError> {
        let Some(subject) = &mut self.subject else {
            return Ok(());
        };
        for extent in extents {
            let Some(file) = subject.file() else {
                return Ok(());
            };
            tree.extent(extent, |bytes, at| {
                write(file, bytes, at)
                    .map_err(|(call, errno)| ContentsError::call(call, subject.path(), errno))
            })?;
            subject.written_to(extent.at + extent.length);
        }
        Ok(())
    }

    fn link(&mut self, name: &Name, to: LinkNumber) -> Result<(), ContentsError> {
        let here = self
            .levels
            .last()
            .map_or(Some(None), |level| level.id.map(Some));
        let Some((directory, first)) = self.links.find(to) else {
            return Err(self.failed("linkat()", name.as_bytes(), Errno::MLINK));
        };
        let flags = AtFlags::empty();
        let made = if here == Some(directory) {
            linkat(
                &self.current,
                first.as_bytes(),
                &self.current,
                name.as_bytes(),
                flags,
            )
        } else {
            let from = self.open(directory)?;
            linkat(
                from,
                first.as_bytes(),
                &self.current,
                name.as_bytes(),
                flags,
            )
        };
        made.map_err(|e| self.failed(format!("linkat({first:?})"), name.as_bytes(), e))?;
        self.links.used(to, &mut self.directories);
        Ok(())
    }

    /// Opens a directory that was made before, from the root, name by name.
    fn open(&self, directory: Option<DirectoryId>) -> Result<OwnedFd, ContentsError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let failed = |e| self.failed("openat(O_PATH|O_DIRECTORY|O_NOFOLLOW)", b"", e);
        let mut dir = openat(self.root, c".", flags, Mode::empty()).map_err(failed)?;
        for name in self.directories.names(directory) {
            dir = openat(&dir, name.as_bytes(), flags, Mode::empty()).map_err(failed)?;
        }
        Ok(dir)
    }

    /// The identity of the current directory; `None` is the root.
    fn current_id(&mut self) -> Result<Option<DirectoryId>, ContentsError> {
        let known = self.levels.iter().rposition(|level| level.id.is_some());
        let mut parent = known.and_then(|at| self.levels[at].id);
        for at in known.map_or(0, |at| at + 1)..self.levels.len() {
            let start = self.levels[at].start;
            let end = self
                .levels
                .get(at + 1)
                .map_or(self.path.len(), |next| next.start);
            let name = Name::new(&self.path[start..end - 1]).map_err(FormatError::from)?;
            parent = Some(self.directories.add(parent, name));
            self.levels[at].id = parent;
        }
        Ok(parent)
    }

    fn failed(&self, call: impl Into<String>, name: &[u8], errno: Errno) -> ContentsError {
        ContentsError::call(call, &[&self.path, name].concat(), errno)
    }
}

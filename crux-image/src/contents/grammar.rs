//! The order that entries of a section have to keep.
//!
//! Kind: pure. Used by the writer and by the reader alike, so that no image can
//! be written that would be refused.

use super::extent::Ends;
use super::{Data, EXTENTS_IN_ENTRY, Entry, Extent, FileEntry, Name, Node, Rule};
use crate::path::PATH_LIMIT;

/// Follows the entries of one section.
#[derive(Debug)]
pub(super) struct Grammar {
    /// Lengths of the names of the directories entered, outermost first. The
    /// limit of a path bounds how many.
    entered: Vec<u8>,
    path_length: usize,
    subject: Subject,
    linked: u32,
    data_end: u64,
    data_length: u64,
    entries: u64,
    seen: u64,
}

/// What an entry that follows may add to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    /// Nothing.
    None,
    /// A regular file whose extents may go on from here.
    Extents { end: u64, size: u64 },
    /// Something that takes extended attributes.
    Xattrs,
    /// The root, after which only its extended attributes come.
    Root,
}

impl Grammar {
    /// `data_length` is the end of the data member: what is there when it is
    /// read, without limit when it is written.
    pub(super) fn new(data_length: u64) -> Self {
        Self {
            entered: Vec::new(),
            path_length: 0,
            subject: Subject::None,
            linked: 0,
            data_end: 0,
            data_length,
            entries: 0,
            seen: 0,
        }
    }

    /// How many files, links and directories there were.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// How many entries of every kind there were.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// Takes the next entry.
    pub(super) fn take(&mut self, entry: &Entry) -> Result<(), Rule> {
        if self.subject == Subject::Root && !matches!(entry, Entry::Xattr(_)) {
            return Err(Rule::AfterEnd);
        }
        match entry {
            Entry::Enter(name) => self.enter(name)?,
            Entry::Leave(metadata) => {
                metadata.check()?;
                self.leave();
            }
            Entry::File(file) => self.file(file)?,
            Entry::Link { name, to } => self.link(name, to.0)?,
            Entry::Extents(extents) => self.extents(extents)?,
            Entry::Xattr(_) => self.xattr()?,
        }
        self.seen += 1;
        Ok(())
    }

    /// The section ends here.
    pub(super) fn end(&self) -> Result<(), Rule> {
        match self.subject {
            Subject::Root => Ok(()),
            _ => Err(Rule::NoEnd),
        }
    }

    fn enter(&mut self, name: &Name) -> Result<(), Rule> {
        self.fits(name)?;
        // A name has at most 255 bytes.
        self.entered.push(name.as_bytes().len() as u8);
        self.path_length += name.as_bytes().len() + 1;
        self.subject = Subject::None;
        Ok(())
    }

    fn leave(&mut self) {
        self.entries += 1;
        self.subject = match self.entered.pop() {
            Some(length) => {
                self.path_length -= usize::from(length) + 1;
                Subject::Xattrs
            }
            None => Subject::Root,
        };
    }

    fn file(&mut self, file: &FileEntry) -> Result<(), Rule> {
        self.fits(&file.name)?;
        file.check()?;
        if file.names > 1 {
            self.linked = self.linked.checked_add(1).ok_or(Rule::LinkNumber)?;
        }
        self.subject = match file.node {
            Node::Regular {
                size,
                data: Data::Extents,
            } => Subject::Extents { end: 0, size },
            _ => Subject::Xattrs,
        };
        self.entries += 1;
        Ok(())
    }

    fn link(&mut self, name: &Name, to: u32) -> Result<(), Rule> {
        self.fits(name)?;
        if to >= self.linked {
            return Err(Rule::LinkUnknown);
        }
        self.subject = Subject::None;
        self.entries += 1;
        Ok(())
    }

    fn extents(&mut self, extents: &[Extent]) -> Result<(), Rule> {
        let Subject::Extents { end, size } = self.subject else {
            return Err(Rule::ExtentsMisplaced);
        };
        if extents.is_empty() || extents.len() > EXTENTS_IN_ENTRY {
            return Err(Rule::ExtentsMisplaced);
        }
        let limits = Ends {
            file: size,
            data: self.data_length,
        };
        let mut ends = Ends {
            file: end,
            data: self.data_end,
        };
        for extent in extents {
            ends = extent.check(ends, limits)?;
        }
        self.data_end = ends.data;
        self.subject = Subject::Extents {
            end: ends.file,
            size,
        };
        Ok(())
    }

    fn xattr(&mut self) -> Result<(), Rule> {
        match self.subject {
            Subject::None => return Err(Rule::XattrMisplaced),
            Subject::Extents { .. } => self.subject = Subject::Xattrs,
            Subject::Xattrs | Subject::Root => {}
        }
        Ok(())
    }

    fn fits(&self, name: &Name) -> Result<(), Rule> {
        if self.path_length + name.as_bytes().len() > PATH_LIMIT {
            return Err(Rule::PathLength);
        }
        Ok(())
    }
}

//! Files that something is mounted on which nobody can take away.
//!
//! Kind: effect. A directory says what type they are of; no more can be known. Nor can any task
//! of the container: they are recorded so that there is something to mount on.

use super::ContentsError;
use super::walk::Walk;
use crux_image::contents::{Data, Entry, FileEntry, Metadata, Mode, Node, Timestamp};
use rustix::fs::{DirEntry, FileType};
use std::ffi::CStr;

impl Walk<'_> {
    /// Whether a name leads to another mount.
    pub(super) fn is_covered(&self, name: &CStr) -> Result<bool, ContentsError> {
        Ok(self.stat_named(name)?.place() != self.place)
    }

    pub(super) fn record_covered(&mut self, entry: &DirEntry) -> Result<(), ContentsError> {
        self.covered += 1;
        let name = self.name(entry.file_name())?;
        if entry.file_type() == FileType::Directory {
            self.writer.push(&Entry::Enter(name))?;
            return Ok(self.writer.push(&Entry::Leave(metadata(0o755)))?);
        }
        Ok(self.writer.push(&Entry::File(FileEntry {
            name,
            names: 1,
            metadata: metadata(0o644),
            node: Node::Regular {
                size: 0,
                data: Data::Extents,
            },
        }))?)
    }
}

fn metadata(mode: u16) -> Metadata {
    let time = Timestamp {
        seconds: 0,
        nanoseconds: 0,
    };
    Metadata {
        uid: 0,
        gid: 0,
        mode: Mode(mode),
        accessed: time,
        modified: time,
    }
}

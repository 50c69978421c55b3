//! Contents of file systems in memory (tmpfs, ramfs): how a tree of files is recorded.
//!
//! Kind: pure, and input and output on the two members that the caller opened.
//! An image has one *index* member (frames of entries) and one *data* member
//! (raw bytes of files, page-aligned); a [`Section`] says where one tree is in
//! the index. Both are streams: memory stays bounded however many files there
//! are. Every rule of `docs/format-contents.md` is checked on the way out and on
//! the way in. Nothing here walks or makes a tree: `crux-dump` and `crux-restore` do.

mod bytes;
mod entry;
mod error;
mod extent;
mod frame;
mod grammar;
mod header;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub use bytes::{BytesError, Inline, LinkTarget, Name, XattrName, XattrValue};
pub use entry::{
    Data, Device, Entry, FileEntry, INLINE_LIMIT, LinkNumber, Metadata, Mode, Node, Timestamp,
    Xattr,
};
pub use error::{FormatError, Rule};
pub use extent::{DATA_ALIGNMENT, EXTENTS_IN_ENTRY, Extent};
pub use reader::{ContentsReader, SectionReader};
pub use writer::ContentsWriter;

use serde::{Deserialize, Serialize};

/// One tree of files within the contents member of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Where its first frame begins in the contents member, in bytes.
    pub offset: u64,
    /// How many bytes its frames take.
    pub length: u64,
    /// How many entries it has, the root included.
    pub entries: u64,
}

/// How much of a file is read and written at once: large enough that calls cost
/// nothing, small enough to stay in a processor's cache between the two.
const BUFFER: usize = 256 << 10;

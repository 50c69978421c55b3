//! What can be wrong with the contents members of an image.
//!
//! Kind: pure.

use super::BytesError;
use crate::codec::CodecError;
use std::io;

/// Why a contents member could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// A system call on a member failed.
    #[error("{call} on the contents {member} member: {source}{}", hint(.source))]
    Io {
        /// `read`, `write`, `seek`.
        call: &'static str,
        /// `index` or `data`.
        member: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The index is not an index.
    #[error("read the contents index: it does not begin with its magic bytes")]
    Magic,
    /// The index is of a later format.
    #[error(
        "read the contents index: its format is version {found}, this program reads up to {known}"
    )]
    Version {
        /// What the image has.
        found: u32,
        /// What this program knows.
        known: u32,
    },
    /// The header is damaged.
    #[error("read the contents index: the checksum of its header is wrong")]
    HeaderChecksum,
    /// A member is not as long as the header says.
    #[error(
        "read the contents {member} member: it has {found} bytes where {expected} were written"
    )]
    Length {
        /// `index` or `data`.
        member: &'static str,
        /// What the header says.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// A section lies outside the index, or its frames do not fill it.
    #[error("read the contents index: a section is not within it")]
    SectionBounds,
    /// A frame has an impossible length.
    #[error("read the contents index at {offset}: a frame cannot have {length} bytes")]
    FrameLength {
        /// Where the frame begins.
        offset: u64,
        /// What it says.
        length: u32,
    },
    /// A frame is damaged or stands where it was not written.
    #[error("read the contents index at {offset}: the checksum of a frame is wrong")]
    FrameChecksum {
        /// Where the frame begins.
        offset: u64,
    },
    /// A frame does not hold entries.
    #[error("decode the contents index: {0}")]
    Decode(#[from] CodecError),
    /// An entry breaks a rule.
    #[error("read the contents index: entry {entry} {rule}")]
    Rule {
        /// Which, from 0, counted within the section.
        entry: u64,
        /// The rule.
        rule: Rule,
    },
    /// A byte string that the kernel gave cannot be recorded.
    #[error("record a name or value: {0}")]
    Bytes(#[from] BytesError),
    /// Data of a file are damaged.
    #[error("read the contents data at {place}: the checksum of {length} bytes is wrong")]
    DataChecksum {
        /// Where they begin.
        place: u64,
        /// How many.
        length: u64,
    },
    /// A writer was used out of order.
    #[error("write the contents: {0}")]
    Order(&'static str),
}

/// The rule that an entry breaks; reads well after "entry N".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// `uid` or `gid` of 2^32-1.
    #[error("has an owner or group of 4294967295, which chown(2) cannot set")]
    Owner,
    /// Mode above 0o7777.
    #[error("has mode bits beyond 07777")]
    Mode,
    /// Not below 10^9.
    #[error("has a time with 10^9 or more nanoseconds")]
    Nanoseconds,
    /// A file that says it has no name.
    #[error("is a file that claims to have no name")]
    NoName,
    /// Larger than off_t allows.
    #[error("is a file of 2^63 bytes or more")]
    Size,
    /// Inline data of another length than the file.
    #[error("has inline data that are not as long as the file")]
    InlineLength,
    /// Beyond what mknod(2) takes.
    #[error("has a device number that mknod(2) cannot make")]
    Device,
    /// Empty, or beyond the file's size.
    #[error("has an extent that is empty or not within its file")]
    ExtentRange,
    /// Overlapping or unsorted.
    #[error("has an extent that begins before the end of the one before")]
    ExtentOrder,
    /// Not within the data member, not aligned, or used before.
    #[error("has an extent whose place in the data member is outside, not aligned, or used before")]
    ExtentPlace,
    /// Extents where no regular file with extents precedes, or too many or none of them.
    #[error("has extents where none can be")]
    ExtentsMisplaced,
    /// Nothing that it could belong to.
    #[error("is an extended attribute of nothing")]
    XattrMisplaced,
    /// A link to a file that does not precede it.
    #[error("is a link to a file that does not precede it")]
    LinkUnknown,
    /// More files with several names than can be numbered.
    #[error("is one linked file too many")]
    LinkNumber,
    /// Deeper than any path.
    #[error("has a path of more than 1 MiB")]
    PathLength,
    /// Something follows the root.
    #[error("comes after the end of its tree")]
    AfterEnd,
    /// The section ends, the tree does not.
    #[error("is missing: the tree has no end")]
    NoEnd,
    /// The section says another number of entries.
    #[error("is the last, which is not the number that the section has")]
    Count,
}

/// What to do about it, where that is known.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some, or name a directory elsewhere (what was written is removed)"
        }
        _ => "",
    }
}

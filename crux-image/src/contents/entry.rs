//! Entries: what the index says of a tree, in the order in which it is rebuilt.
//!
//! Kind: pure. Directories are entered and left, so an entry needs one name and
//! never a path, and a directory's metadata stand where they are set: after its children.

use super::{Extent, Inline, LinkTarget, Name, Rule, XattrName, XattrValue};
use serde::{Deserialize, Serialize};

/// Up to this size the contents of a regular file stand in its entry, in bytes.
pub const INLINE_LIMIT: usize = 4096;

/// One entry. The root of the tree is entered before the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A directory begins; what follows is in it.
    Enter(Name),
    /// The directory ends (the root too: the last directory that is left).
    Leave(Metadata),
    /// Anything that is not a directory.
    File(FileEntry),
    /// A further name of an earlier file (link(2)).
    Link {
        /// The name.
        name: Name,
        /// Which file.
        to: LinkNumber,
    },
    /// Where the data of the regular file just named are; possibly again and again.
    Extents(Vec<Extent>),
    /// An extended attribute of what the last `Leave` or `File` was about.
    Xattr(Xattr),
}

/// A file that is not a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its (first) name.
    pub name: Name,
    /// How many names it may have in this tree. With more than one it gets the
    /// next [`LinkNumber`], so that a [`Entry::Link`] can refer to it.
    pub names: u32,
    /// Owner, mode, times.
    pub metadata: Metadata,
    /// What it is.
    pub node: Node,
}

/// Numbers files with several names, from 0, in the order in which they appear in a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LinkNumber(pub u32);

/// What a file is (inode(7)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Node {
    /// A regular file.
    Regular {
        /// Its size in bytes; what no data cover is a hole.
        size: u64,
        /// Where its data are.
        data: Data,
    },
    /// A symbolic link.
    Symlink(LinkTarget),
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A fifo.
    Fifo,
    /// A unix socket: the name alone; what listens there belongs to a task.
    Socket,
}

/// Where the data of a regular file are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Data {
    /// Here: all of them.
    Inline(Inline),
    /// In the data member, as the [`Entry::Extents`] that follow say; none: all a hole.
    Extents,
}

/// A device number, as mknod(2) can make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Below 2^12.
    pub major: u32,
    /// Below 2^20.
    pub minor: u32,
}

/// What every file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Owner, as seen by who dumped.
    pub uid: u32,
    /// Group, as seen by who dumped.
    pub gid: u32,
    /// Permission bits. Of no meaning for a symlink.
    pub mode: Mode,
    /// Last access.
    pub accessed: Timestamp,
    /// Last modification.
    pub modified: Timestamp,
}

/// Permission bits with set-user-ID, set-group-ID and sticky: at most 0o7777.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mode(pub u16);

/// A time of a file; before 1970 the seconds are negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp {
    /// Seconds since 1970-01-01 00:00 UTC.
    pub seconds: i64,
    /// To be added to them; below 1,000,000,000.
    pub nanoseconds: u32,
}

/// An extended attribute (xattr(7)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Xattr {
    /// Its name, with prefix.
    pub name: XattrName,
    /// Its value, raw.
    pub value: XattrValue,
}

impl FileEntry {
    pub(super) fn check(&self) -> Result<(), Rule> {
        self.metadata.check()?;
        if self.names == 0 {
            return Err(Rule::NoName);
        }
        self.node.check()
    }
}

impl Node {
    fn check(&self) -> Result<(), Rule> {
        match self {
            Self::Regular { size, data } => check_regular(*size, data),
            Self::CharDevice(device) | Self::BlockDevice(device) => device.check(),
            Self::Symlink(_) | Self::Fifo | Self::Socket => Ok(()),
        }
    }
}

fn check_regular(size: u64, data: &Data) -> Result<(), Rule> {
    if i64::try_from(size).is_err() {
        return Err(Rule::Size);
    }
    match data {
        Data::Inline(bytes) if bytes.as_bytes().len() as u64 != size => Err(Rule::InlineLength),
        Data::Inline(_) | Data::Extents => Ok(()),
    }
}

impl Device {
    /// mknod(2) would cut off larger numbers without a word.
    fn check(self) -> Result<(), Rule> {
        if self.major >= 1 << 12 || self.minor >= 1 << 20 {
            return Err(Rule::Device);
        }
        Ok(())
    }
}

impl Metadata {
    pub(super) fn check(&self) -> Result<(), Rule> {
        // chown(2) takes -1 as "leave it as it is".
        if self.uid == u32::MAX || self.gid == u32::MAX {
            return Err(Rule::Owner);
        }
        if self.mode.0 > 0o7777 {
            return Err(Rule::Mode);
        }
        // utimensat(2) takes larger values as "now" and "leave it as it is".
        if self.accessed.nanoseconds >= 1_000_000_000 || self.modified.nanoseconds >= 1_000_000_000
        {
            return Err(Rule::Nanoseconds);
        }
        Ok(())
    }
}

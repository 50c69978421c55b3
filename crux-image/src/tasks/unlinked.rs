//! Files and directories without a name.
//!
//! Kind: pure.

use super::{FsIndex, Location, PageRun, UnlinkedIndex};
use serde::{Deserialize, Serialize};

/// A file without a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnlinkedFile {
    /// The directory that it was in, or where `O_TMPFILE` made it; one above, if that is gone as well.
    pub directory: Location,
    /// The name that it had.
    pub name: Vec<u8>,
    /// Mode bits.
    pub mode: u32,
    /// Owner, as its user namespace has it.
    pub uid: u32,
    /// Owner.
    pub gid: u32,
    /// Its contents.
    pub size: u64,
    /// The pages that are not zero: `start` is an offset, the source is data.
    pub pages: Vec<PageRun>,
    /// The other name under which it is still there, if it has one (a hard link).
    pub linked: Option<Location>,
    /// What it is.
    pub kind: UnlinkedKind,
    /// When it was read last, and written.
    pub times: [FileTime; 2],
    /// Extended attributes: names and values.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What has no name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnlinkedKind {
    /// A regular file.
    #[default]
    Regular,
    /// A directory: it is empty.
    Directory,
}

/// A time of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTime {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds on top.
    pub nanoseconds: u32,
}

/// A working directory that has no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedWorking {
    /// Whose working directory it is, instead of the one that stands there.
    pub fs: FsIndex,
    /// Which.
    pub directory: UnlinkedIndex,
}

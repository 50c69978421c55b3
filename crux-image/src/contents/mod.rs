//! Contents of file systems in memory (tmpfs, ramfs): how a tree of files is recorded.
//!
//! Kind: pure.

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

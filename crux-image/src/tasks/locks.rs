//! Locks on files: flock(2), and those of fcntl_locking(2).
//!
//! Kind: pure. They are advice: what is recorded is who has what, not what is locked against whom.

use super::{DescriptorTableIndex, FileIndex};
use serde::{Deserialize, Serialize};

/// A lock that somebody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileLock {
    /// The open file description through which it was taken.
    pub file: FileIndex,
    /// Who has it.
    pub owner: LockOwner,
    /// Whether nobody else may have one there (`F_WRLCK`, `LOCK_EX`); otherwise it is shared (`F_RDLCK`, `LOCK_SH`).
    pub exclusive: bool,
    /// Its first byte.
    pub start: u64,
    /// Its last byte; none: it goes on for ever, however long the file becomes.
    pub last: Option<u64>,
}

/// Who has a lock, and so when it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LockOwner {
    /// The description, of the whole file (flock(2)).
    Whole,
    /// The description, of a range (`F_OFD_SETLK`).
    Description,
    /// A table of descriptors, in the words of POSIX a process (`F_SETLK`): it loses all that it has on a file with the first
    /// descriptor of that file that it closes.
    Table(DescriptorTableIndex),
}

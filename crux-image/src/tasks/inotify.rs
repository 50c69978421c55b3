//! inotify(7).
//!
//! Kind: pure.

use super::Location;
use serde::{Deserialize, Serialize};

/// What an inotify watches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Its number (`wd`).
    pub number: u32,
    /// The file or directory.
    pub location: Location,
    /// `IN_*`.
    pub mask: u32,
}

impl Watch {
    /// The largest number: the kernel gives them in their order, and each has to be given.
    pub const LAST: u32 = 4096;
    /// Events (`IN_ALL_EVENTS`), `IN_EXCL_UNLINK` and `IN_ONESHOT`.
    pub const MASK: u32 = 0xfff | 0x8400_0000;
}

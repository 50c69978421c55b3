//! epoll(7).
//!
//! Kind: pure.

use super::FileIndex;
use serde::{Deserialize, Serialize};

/// A file that an epoll watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpollTarget {
    /// Which.
    pub file: FileIndex,
    /// The number of the descriptor with which it was registered: it need not lead there any more.
    pub number: u32,
    /// `EPOLL*`; of a one-shot that was reported, only `EPOLLONESHOT` and the like are left.
    pub events: u32,
    /// What comes with each event.
    pub data: u64,
}

impl EpollTarget {
    /// What is no event, and stays when a one-shot was reported (`EP_PRIVATE_BITS`).
    pub const MODES: u32 = 0xf000_0000;
    /// `EPOLLONESHOT`.
    pub const ONE_SHOT: u32 = 1 << 30;
    /// `EPOLLEXCLUSIVE`.
    pub const EXCLUSIVE: u32 = 1 << 28;

    /// A one-shot that was reported.
    pub fn is_disarmed(&self) -> bool {
        self.events & !Self::MODES == 0 && self.events & Self::ONE_SHOT != 0
    }
}

//! Locks: what the kernel keeps a user namespace from changing of mounts that it
//! did not make itself (mount_namespaces(7), "Restrictions on mount namespaces").
//!
//! Kind: pure.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A lock of a mount in a namespace that belongs to a user namespace. No table shows it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum Lock {
    /// None: it was mounted there.
    #[default]
    Free,
    /// Its flags cannot be taken away: it came from outside, or is a bind of what did.
    Flags,
    /// Nor can it be parted from the mount that it is on, so that what it covers stays covered.
    Place,
    /// It was locked to its place, which a restore cannot do again; its flags are locked.
    Lost,
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Free => "not locked",
            Self::Flags => "flags locked",
            Self::Place => "locked in place",
            Self::Lost => "flags locked, was locked in place",
        })
    }
}

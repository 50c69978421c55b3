//! The difference between two mount trees.
//!
//! Kind: pure, O(n log n). Trees are compared up to ids: the order of the record
//! and the numbers of origins, groups, user namespaces and contexts do not
//! matter, but what they tie together does. Not compared: wishes of external
//! sources, what files are in a file system, and unknown future fields. Mount
//! namespaces are compared by position. Both records have passed `Mounts::check`.

mod compare;
mod filesystems;
mod pairing;
mod propagation;

use crate::mounts::Mounts;
use compare::Comparison;
use std::fmt;

/// One thing that is not as it was, in words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The position of the mount namespace.
    pub namespace: usize,
    /// What differs: `mount /proc/sys`, `mount /dev, option size`.
    pub subject: String,
    /// What it is: `rw`.
    pub is: String,
    /// What it was: `ro`.
    pub was: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: is {}, was {}", self.subject, self.is, self.was)
    }
}

/// Everything in which `is` differs from `was`; nothing if and only if the trees are the same.
pub fn diff(was: &Mounts, is: &Mounts) -> Vec<Difference> {
    // Most that are compared are the same down to the numbers.
    if was == is {
        return Vec::new();
    }
    let mut comparison = Comparison::new(was, is);
    comparison.run();
    comparison.found
}

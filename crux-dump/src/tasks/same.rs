//! Which processes share something (kcmp(2)).
//!
//! Kind: effect. The kernel orders what it compares, so one of many is found in few calls.

use crate::sys::kcmp;
use crux_mount::sys::SysError;
use std::cmp::Ordering;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// An open file description, by a descriptor of each.
    File,
    /// Memory (`CLONE_VM`).
    Memory,
    /// A table of descriptors (`CLONE_FILES`).
    Descriptors,
    /// Root and working directory (`CLONE_FS`).
    Directories,
}

impl Shared {
    /// `KCMP_*`.
    fn number(self) -> i32 {
        match self {
            Self::File => 0,
            Self::Memory => 1,
            Self::Descriptors => 2,
            Self::Directories => 3,
        }
    }
}

/// Whether two processes have one memory; false where nobody can tell.
pub(super) fn is_memory_of(pid: u32, other: u32) -> bool {
    kcmp(pid, other, Shared::Memory.number(), 0, 0).is_ok_and(Ordering::is_eq)
}

/// Things of one kind, in the kernel's order; each leads to a position in a table.
#[derive(Debug)]
pub struct Distinct {
    kind: Shared,
    /// Process, descriptor (or 0), position.
    known: Vec<(u32, u64, usize)>,
}

impl Distinct {
    /// None yet.
    pub fn new(kind: Shared) -> Self {
        Self {
            kind,
            known: Vec::new(),
        }
    }

    /// The position of what process `pid` has (as `descriptor`), if somebody had it before;
    /// otherwise `position` from now on.
    pub fn find(
        &mut self,
        pid: u32,
        descriptor: u64,
        position: usize,
    ) -> Result<Option<usize>, SysError> {
        let (mut low, mut high) = (0, self.known.len());
        while low < high {
            let middle = low.midpoint(high);
            let (other, theirs, found) = self.known[middle];
            match kcmp(pid, other, self.kind.number(), descriptor, theirs)? {
                Ordering::Equal => return Ok(Some(found)),
                Ordering::Less => high = middle,
                Ordering::Greater => low = middle + 1,
            }
        }
        self.known.insert(low, (pid, descriptor, position));
        Ok(None)
    }
}

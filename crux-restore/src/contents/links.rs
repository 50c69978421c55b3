//! Files with several names: where the first of them is.
//!
//! Kind: pure.

use super::directories::{Directories, DirectoryId};
use crux_image::contents::{LinkNumber, Name};
use std::collections::HashMap;

/// Where files that may be linked to are, by number.
#[derive(Debug, Default)]
pub(super) struct Links {
    known: HashMap<LinkNumber, Known>,
    next: u32,
}

#[derive(Debug)]
struct Known {
    directory: Option<DirectoryId>,
    name: Name,
    missing: u32,
}

impl Links {
    /// A file was made that may have `names` names, the first of them in `directory`.
    pub(super) fn add(
        &mut self,
        directory: Option<DirectoryId>,
        name: Name,
        names: u32,
        directories: &mut Directories,
    ) {
        directories.retain(directory);
        let known = Known {
            directory,
            name,
            missing: names - 1,
        };
        self.known.insert(LinkNumber(self.next), known);
        // The reader refuses a section in which this could go round.
        self.next = self.next.wrapping_add(1);
    }

    /// Where a file is. `None`: it has as many names as it said already.
    pub(super) fn find(&self, number: LinkNumber) -> Option<(Option<DirectoryId>, &Name)> {
        self.known
            .get(&number)
            .map(|known| (known.directory, &known.name))
    }

    /// A further name was made.
    pub(super) fn used(&mut self, number: LinkNumber, directories: &mut Directories) {
        let Some(known) = self.known.get_mut(&number) else {
            return;
        };
        known.missing -= 1;
        if known.missing == 0 {
            directories.release(known.directory);
            self.known.remove(&number);
        }
    }
}

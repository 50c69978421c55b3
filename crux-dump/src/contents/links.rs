//! Hard links: which file with several names was recorded already.
//!
//! Kind: pure. Only files with more than one name are remembered, and no
//! longer than until all their names were seen.

use crux_image::contents::LinkNumber;
use std::collections::HashMap;

/// The files with several names that were seen, by inode number.
#[derive(Debug, Default)]
pub(super) struct Links {
    seen: HashMap<u64, Seen>,
    next: u32,
}

#[derive(Debug)]
struct Seen {
    number: LinkNumber,
    missing: u32,
}

/// What to record for a name of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// The file itself: this is its first name.
    First,
    /// That it is another name of this one.
    To(LinkNumber),
}

impl Links {
    /// Another name of the file `inode`, which has `names` names in all.
    pub(super) fn meet(&mut self, inode: u64, names: u32) -> Link {
        if names < 2 {
            return Link::First;
        }
        let Some(seen) = self.seen.get_mut(&inode) else {
            let number = LinkNumber(self.next);
            // The writer refuses a section in which this could go round.
            self.next = self.next.wrapping_add(1);
            self.seen.insert(
                inode,
                Seen {
                    number,
                    missing: names - 1,
                },
            );
            return Link::First;
        };
        let number = seen.number;
        seen.missing -= 1;
        if seen.missing == 0 {
            self.seen.remove(&inode);
        }
        Link::To(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_file_refer_to_the_first() {
        let mut links = Links::default();
        assert_eq!(links.meet(7, 1), Link::First);
        assert_eq!(links.meet(8, 2), Link::First);
        assert_eq!(links.meet(9, 3), Link::First);
        assert_eq!(links.meet(9, 3), Link::To(LinkNumber(1)));
        assert_eq!(links.meet(8, 2), Link::To(LinkNumber(0)));
        assert_eq!(links.meet(9, 3), Link::To(LinkNumber(1)));
        assert!(links.seen.is_empty());
    }
}

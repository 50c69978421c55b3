//! Ids of tasks, as their own user namespace has them.
//!
//! Kind: pure. /proc shows ids as the reader's user namespace has them; the maps in the record of
//! mounts are the other way.

use crux_image::mounts::{IdRange, UserNamespace};

/// How the ids of one user namespace look from here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ids<'a>(pub(super) Option<&'a UserNamespace>);

impl Ids<'_> {
    /// A user id. None if it has none there.
    pub(super) fn uid(self, seen: u32) -> Option<u32> {
        self.0
            .map_or(Some(seen), |user| inside(&user.uid_map, seen))
    }

    /// A group id.
    pub(super) fn gid(self, seen: u32) -> Option<u32> {
        self.0
            .map_or(Some(seen), |user| inside(&user.gid_map, seen))
    }
}

fn inside(map: &[IdRange], seen: u32) -> Option<u32> {
    let range = map
        .iter()
        .find(|range| seen.wrapping_sub(range.outside) < range.count)?;
    range.inside.checked_add(seen - range.outside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_through_the_map_backwards() {
        let range = |inside, outside, count| IdRange {
            inside,
            outside,
            count,
        };
        let map = [range(0, 100_000, 1000), range(5000, 7, 1)];
        assert_eq!(inside(&map, 100_007), Some(7));
        assert_eq!(inside(&map, 7), Some(5000));
        assert_eq!(inside(&map, 0), None);
        assert_eq!(Ids(None).uid(12), Some(12));
    }
}

//! Ids of tasks, as their own user namespace has them.
//!
//! Kind: pure. /proc shows ids as the reader's user namespace has them; the maps in the record of
//! mounts are the other way.

use crux_image::mounts::{IdRange, UserNamespace, UserNsIndex};

/// How the ids of one user namespace look from here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ids<'a> {
    /// The record: parents come before their children.
    pub(super) all: &'a [UserNamespace],
    /// Which; none is the dumper's own.
    pub(super) user: Option<UserNsIndex>,
}

impl Ids<'_> {
    /// A user id. None if it has none there.
    pub(super) fn uid(self, seen: u32) -> Option<u32> {
        self.through(self.user, seen, &|user| &user.uid_map)
    }

    /// A group id.
    pub(super) fn gid(self, seen: u32) -> Option<u32> {
        self.through(self.user, seen, &|user| &user.gid_map)
    }

    fn through(
        self,
        user: Option<UserNsIndex>,
        seen: u32,
        map: &dyn Fn(&UserNamespace) -> &[IdRange],
    ) -> Option<u32> {
        let Some(at) = user else { return Some(seen) };
        let record = self.all.get(at.at())?;
        let parent = record.parent.filter(|parent| *parent < at);
        inside(map(record), self.through(parent, seen, map)?)
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
        let user = |parent, range| UserNamespace {
            parent,
            uid_map: vec![range],
            gid_map: Vec::new(),
        };
        let (one, two) = (range(0, 100_000, 1000), range(0, 10, 5));
        let all = [user(None, one), user(Some(UserNsIndex(0)), two)];
        let ids = |user| Ids { all: &all, user };
        assert_eq!(ids(None).uid(12), Some(12));
        assert_eq!(ids(Some(UserNsIndex(1))).uid(100_011), Some(1));
        assert_eq!(ids(Some(UserNsIndex(1))).gid(100_011), None);
    }
}

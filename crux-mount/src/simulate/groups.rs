//! Peer groups and their masters, as fs/pnode.c keeps them.
//!
//! Kind: pure. The kernel links mounts; but all peers have one master group,
//! and a master is always a member of a group, so groups are enough. When the
//! last member of a group goes, its slaves go to the group's own master.

use crux_image::mounts::OriginIndex;

/// A peer group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GroupId(usize);

#[derive(Debug)]
struct Group {
    members: usize,
    master: Option<GroupId>,
    outside: Option<OriginIndex>,
}

/// All groups that there were; one without members has ended.
#[derive(Debug, Default)]
pub(super) struct Groups(Vec<Group>);

impl Groups {
    /// A group of one member.
    pub(super) fn make(&mut self, master: Option<GroupId>) -> GroupId {
        self.push(Group {
            members: 1,
            master,
            outside: None,
        })
    }

    /// The group of a mount outside. It has members that the plan never sees.
    pub(super) fn make_outside(&mut self, origin: OriginIndex) -> GroupId {
        self.push(Group {
            members: 1,
            master: None,
            outside: Some(origin),
        })
    }

    fn push(&mut self, group: Group) -> GroupId {
        self.0.push(group);
        GroupId(self.0.len() - 1)
    }

    pub(super) fn join(&mut self, group: GroupId) {
        self.0[group.0].members += 1;
    }

    pub(super) fn leave(&mut self, group: GroupId) {
        self.0[group.0].members -= 1;
    }

    /// The group, or the nearest of its masters that has not ended.
    pub(super) fn living(&self, group: GroupId) -> Option<GroupId> {
        let mut nearest = Some(group);
        while let Some(group) = nearest {
            if self.0[group.0].members > 0 {
                break;
            }
            nearest = self.0[group.0].master;
        }
        nearest
    }

    /// The master of a group.
    pub(super) fn master(&self, group: GroupId) -> Option<GroupId> {
        self.0[group.0]
            .master
            .and_then(|master| self.living(master))
    }

    /// The origin that names a group outside.
    pub(super) fn outside(&self, group: GroupId) -> Option<OriginIndex> {
        self.0[group.0].outside
    }
}

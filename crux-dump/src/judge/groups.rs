//! Peer groups: which are the container's, which are outside, and what ties them.
//!
//! Kind: pure. Ids of peer groups are global to the kernel: the same number in
//! two tables is the same group.

use super::items::Item;
use super::obstacle::Cause;
use super::outside::Outside;
use crux_image::mounts::{GroupIndex, GroupLink, Master, OriginIndex, PeerGroup, Propagation};
use crux_mount::ids::PeerGroupId;
use std::collections::HashMap;

/// How a mount is tied to the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// It is not, or only through a group of the container.
    None,
    /// It is a peer of a mount outside.
    PeerOf(PeerGroupId),
    /// Its master is a group that is outside only.
    SlaveOf(PeerGroupId),
}

impl Relation {
    /// The group outside.
    pub(super) fn group(self) -> Option<PeerGroupId> {
        match self {
            Self::None => None,
            Self::PeerOf(group) | Self::SlaveOf(group) => Some(group),
        }
    }
}

/// The groups that have members in the container.
#[derive(Debug, Default)]
pub(super) struct Inside {
    index: HashMap<PeerGroupId, GroupIndex>,
    /// The first member of each, in the order of the index.
    first: Vec<usize>,
}

impl Inside {
    /// Numbers the groups in the order of their first members.
    pub(super) fn new(items: &[Item<'_>]) -> Self {
        let mut inside = Self::default();
        for (at, item) in items.iter().enumerate() {
            let Some(group) = item.entry.shared else {
                continue;
            };
            let next = GroupIndex::from(inside.first.len());
            if *inside.index.entry(group).or_insert(next) == next {
                inside.first.push(at);
            }
        }
        inside
    }

    /// The first member of a group, if it has one here.
    pub(super) fn first_member(&self, group: PeerGroupId) -> Option<usize> {
        self.index.get(&group).map(|index| self.first[index.at()])
    }

    /// How a mount is tied to the outside, or that nothing shows its master.
    pub(super) fn relation(
        &self,
        item: &Item<'_>,
        outside: &Outside<'_>,
    ) -> Result<Relation, Cause> {
        if let Some(group) = item.entry.shared.filter(|&g| outside.has_group(g)) {
            return Ok(Relation::PeerOf(group));
        }
        match item.entry.master {
            None => Ok(Relation::None),
            Some(master) if self.index.contains_key(&master) => Ok(Relation::None),
            Some(master) if outside.has_group(master) => Ok(Relation::SlaveOf(master)),
            Some(master) => Err(Cause::MasterNowhere(master)),
        }
    }

    /// The mount of the container that `item` has to share a source with: a peer, or a member of its master.
    pub(super) fn tied_to(
        &self,
        item: &Item<'_>,
        relation: Relation,
    ) -> impl Iterator<Item = usize> {
        let peer = item.entry.shared.and_then(|group| self.first_member(group));
        // A peer of the outside gets its master from there.
        let master = match relation {
            Relation::PeerOf(_) => None,
            Relation::None | Relation::SlaveOf(_) => {
                item.entry.master.and_then(|m| self.first_member(m))
            }
        };
        peer.into_iter().chain(master)
    }

    /// The records of all groups. `origin` is where each mount comes from.
    pub(super) fn records(
        &self,
        items: &[Item<'_>],
        relations: &[Relation],
        origin: &[OriginIndex],
    ) -> Vec<PeerGroup> {
        let link = |&at: &usize| match relations[at] {
            Relation::PeerOf(_) => GroupLink::PeerOfOutside(origin[at]),
            _ => self
                .master(&items[at], relations[at], origin[at])
                .map_or(GroupLink::None, GroupLink::SlaveOf),
        };
        self.first
            .iter()
            .map(|at| PeerGroup { link: link(at) })
            .collect()
    }

    /// The record of one mount.
    pub(super) fn propagation(
        &self,
        item: &Item<'_>,
        relation: Relation,
        origin: OriginIndex,
    ) -> Propagation {
        if let Some(index) = item.entry.shared.and_then(|group| self.index.get(&group)) {
            return Propagation::Shared(*index);
        }
        match self.master(item, relation, origin) {
            Some(master) => Propagation::Slave(master),
            None if item.entry.unbindable => Propagation::Unbindable,
            None => Propagation::Private,
        }
    }

    fn master(&self, item: &Item<'_>, relation: Relation, origin: OriginIndex) -> Option<Master> {
        let master = item.entry.master?;
        match (self.index.get(&master), relation) {
            (Some(index), _) => Some(Master::Group(*index)),
            (None, Relation::SlaveOf(_)) => Some(Master::Outside(origin)),
            (None, _) => None,
        }
    }
}

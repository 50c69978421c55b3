//! Random propagation: peer groups, slaves, chains of both, groups outside.
//!
//! Kind: pure; for tests only. Each origin has a few groups that its mounts may
//! join; one that no mount joins is left out, and its slaves go to its master,
//! as the kernel has it.

use super::trees::Tree;
use super::{GROUP, PROPAGATION};
use crux_image::mounts::{
    GroupIndex, GroupLink, Master, Origin, OriginIndex, PeerGroup, Propagation,
};
use crux_image::path::HostPath;

/// Groups of one origin that its mounts may join.
const GROUPS: usize = 4;

/// A group before it is known which have members.
type Candidate = (OriginIndex, usize);

pub(super) fn make(origins: &mut [Origin], trees: &mut [Tree]) -> Vec<PeerGroup> {
    let inhabited = inhabited(trees);
    let context = Context {
        origins,
        inhabited: &inhabited,
    };
    for tree in trees.iter_mut() {
        for (mount, numbers) in tree.namespace.mounts.iter_mut().zip(&tree.numbers) {
            let candidate = (mount.origin, numbers.choose(GROUP, GROUPS));
            mount.propagation = match numbers.choose(PROPAGATION, 6) {
                1 => Propagation::Unbindable,
                2 | 3 => Propagation::Shared(context.index(candidate).expect("it has this member")),
                4 | 5 => context
                    .master(candidate)
                    .map_or(Propagation::Private, Propagation::Slave),
                _ => Propagation::Private,
            };
        }
    }
    let groups = inhabited.iter().map(|candidate| PeerGroup {
        link: context.link(*candidate),
    });
    let groups = groups.collect();
    wish_for_groups(origins, trees, &groups);
    groups
}

fn inhabited(trees: &[Tree]) -> Vec<Candidate> {
    let mut inhabited: Vec<Candidate> = Vec::new();
    for tree in trees {
        for (mount, numbers) in tree.namespace.mounts.iter().zip(&tree.numbers) {
            let candidate = (mount.origin, numbers.choose(GROUP, GROUPS));
            let shared = matches!(numbers.choose(PROPAGATION, 6), 2 | 3);
            if shared && !inhabited.contains(&candidate) {
                inhabited.push(candidate);
            }
        }
    }
    inhabited
}

struct Context<'a> {
    origins: &'a [Origin],
    inhabited: &'a [Candidate],
}

impl Context<'_> {
    fn index(&self, candidate: Candidate) -> Option<GroupIndex> {
        self.inhabited
            .iter()
            .position(|known| *known == candidate)
            .map(GroupIndex::from)
    }

    /// Group 0 of an external origin is a group outside. 1 is a slave of it, or of
    /// nothing; 2 is a slave of 1, so that there are chains; 3 is by itself.
    fn link(&self, (origin, group): Candidate) -> GroupLink {
        let outside = matches!(self.origins[origin.at()], Origin::External(_));
        match group {
            0 if outside => GroupLink::PeerOfOutside(origin),
            1 | 2 => match self.master((origin, group - 1)) {
                Some(master) => GroupLink::SlaveOf(master),
                None => GroupLink::None,
            },
            _ => GroupLink::None,
        }
    }

    /// The group as a master, or its own master where it has no members.
    fn master(&self, candidate: Candidate) -> Option<Master> {
        if let Some(group) = self.index(candidate) {
            return Some(Master::Group(group));
        }
        match self.link(candidate) {
            GroupLink::PeerOfOutside(origin) => Some(Master::Outside(origin)),
            GroupLink::SlaveOf(master) => Some(master),
            GroupLink::None => None,
        }
    }
}

fn wish_for_groups(origins: &mut [Origin], trees: &[Tree], groups: &Vec<PeerGroup>) {
    let mut wish = |origin: OriginIndex| {
        if let Origin::External(external) = &mut origins[origin.at()] {
            external.group_wish = HostPath::new(b"/srv").ok();
        }
    };
    for mount in trees.iter().flat_map(|tree| &tree.namespace.mounts) {
        if let Propagation::Slave(Master::Outside(origin)) = mount.propagation {
            wish(origin);
        }
    }
    for group in groups {
        match group.link {
            GroupLink::PeerOfOutside(o) | GroupLink::SlaveOf(Master::Outside(o)) => wish(o),
            GroupLink::None | GroupLink::SlaveOf(Master::Group(_)) => {}
        }
    }
}

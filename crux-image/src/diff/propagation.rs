//! Compares peer groups and masters.
//!
//! Kind: pure. Groups have no names, so messages name a mount that is in them.

use super::compare::{Both, Comparison};
use super::pairing::Paired;
use crate::mounts::{GroupIndex, GroupLink, Master, MountIndex, Mounts, OriginIndex, Propagation};
use crate::render::{display_order, name_of, words};

/// The first mount, in the order of display, of each group.
pub(super) fn name_groups(mounts: &Mounts) -> Vec<Option<(usize, MountIndex)>> {
    let mut names = vec![None; mounts.groups.len()];
    for (at, namespace) in mounts.namespaces.iter().enumerate() {
        for placed in display_order(namespace) {
            if let Propagation::Shared(group) = namespace.mounts[placed.mount.at()].propagation {
                names[group.at()].get_or_insert((at, placed.mount));
            }
        }
    }
    names
}

#[derive(Clone, Copy)]
enum When {
    Was,
    Is,
}

impl Comparison<'_> {
    pub(super) fn propagation(&mut self, both: Both, was: Propagation, is: Propagation) {
        match (was, is) {
            (Propagation::Private, Propagation::Private) => {}
            (Propagation::Unbindable, Propagation::Unbindable) => {}
            (Propagation::Shared(before), Propagation::Shared(now)) => {
                self.peers(both, before, now);
            }
            (Propagation::Slave(before), Propagation::Slave(now)) => {
                if !self.masters_agree(both, before, now) {
                    self.differing_propagation(both, was, is);
                }
            }
            _ => self.differing_propagation(both, was, is),
        }
    }

    fn differing_propagation(&mut self, both: Both, was: Propagation, is: Propagation) {
        let (is, was) = (self.describe(When::Is, is), self.describe(When::Was, was));
        self.at(both, "", is, was);
    }

    fn peers(&mut self, both: Both, was: GroupIndex, is: GroupIndex) {
        match self.groups.pair(was, is, both) {
            Paired::Known => {}
            Paired::New => self.links(both, was, is),
            Paired::WasElsewhere(first) => {
                let name = self.name(first, both.namespace);
                self.at(both, "", format!("not a peer of {name}"), "one".into());
            }
            Paired::IsElsewhere(first) => {
                let name = self.name(first, both.namespace);
                self.at(both, "", format!("a peer of {name}"), "not".into());
            }
        }
    }

    fn links(&mut self, both: Both, was: GroupIndex, is: GroupIndex) {
        let links = (self.was.groups[was.at()].link, self.is.groups[is.at()].link);
        let agree = match links {
            (GroupLink::None, GroupLink::None) => true,
            (GroupLink::SlaveOf(before), GroupLink::SlaveOf(now)) => {
                self.masters_agree(both, before, now)
            }
            (GroupLink::PeerOfOutside(before), GroupLink::PeerOfOutside(now)) => {
                self.same_outside(before, now)
            }
            _ => false,
        };
        if !agree {
            self.differing_propagation(both, Propagation::Shared(was), Propagation::Shared(is));
        }
    }

    /// Whether two masters are surely different; groups are looked at again at the end.
    fn masters_agree(&mut self, both: Both, was: Master, is: Master) -> bool {
        match (was, is) {
            (Master::Group(before), Master::Group(now)) => {
                self.masters.push((both, before, now));
                true
            }
            (Master::Outside(before), Master::Outside(now)) => self.same_outside(before, now),
            // A group outside that has peers inside too can be named either way.
            (Master::Group(before), Master::Outside(now)) => {
                match self.was.groups[before.at()].link {
                    GroupLink::PeerOfOutside(before) => self.same_outside(before, now),
                    _ => false,
                }
            }
            (Master::Outside(before), Master::Group(now)) => match self.is.groups[now.at()].link {
                GroupLink::PeerOfOutside(now) => self.same_outside(before, now),
                _ => false,
            },
        }
    }

    fn same_outside(&self, was: OriginIndex, is: OriginIndex) -> bool {
        words::outside(self.was, was) == words::outside(self.is, is)
    }

    /// Where the names of two masters are the same but they are not paired, the
    /// mount they are named after differs already and was reported (unless two
    /// mounts have the same path, one hidden by the other).
    pub(super) fn compare_masters(&mut self) {
        for (both, was, is) in std::mem::take(&mut self.masters) {
            if self.groups.are_paired(was, is) {
                continue;
            }
            let (before, now) = (
                self.group_name(When::Was, was),
                self.group_name(When::Is, is),
            );
            if before != now || self.found.is_empty() {
                let words = |name: String| format!("a slave of the peers of {name}");
                self.at(both, "", words(now), words(before));
            }
        }
    }

    fn group_name(&self, when: When, group: GroupIndex) -> String {
        let (mounts, names) = match when {
            When::Was => (self.was, &self.named_after[0]),
            When::Is => (self.is, &self.named_after[1]),
        };
        let Some((namespace, mount)) = names[group.at()] else {
            return "nothing".into();
        };
        let name = name_of(&mounts.namespaces[namespace], mount);
        match self.was.namespaces.len().max(self.is.namespaces.len()) {
            1 => name,
            _ => format!("{name} of namespace {namespace}"),
        }
    }

    fn describe(&self, when: When, propagation: Propagation) -> String {
        let mounts = match when {
            When::Was => self.was,
            When::Is => self.is,
        };
        let slave_of = |master| match master {
            Master::Outside(origin) => format!("a slave of {}", words::outside(mounts, origin)),
            Master::Group(group) => {
                format!("a slave of the peers of {}", self.group_name(when, group))
            }
        };
        match propagation {
            Propagation::Private => "private".into(),
            Propagation::Unbindable => "unbindable".into(),
            Propagation::Slave(master) => slave_of(master),
            Propagation::Shared(group) => match mounts.groups[group.at()].link {
                GroupLink::None => "shared".into(),
                GroupLink::SlaveOf(master) => format!("shared and {}", slave_of(master)),
                GroupLink::PeerOfOutside(origin) => {
                    format!("shared with {}", words::outside(mounts, origin))
                }
            },
        }
    }
}

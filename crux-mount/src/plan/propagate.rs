//! The last phase: peer groups and masters.
//!
//! Kind: pure. A group spreads from its *carrier*: a member whose root contains
//! the roots of all that join from it, because `MOVE_MOUNT_SET_GROUP` demands it.
//! Where no member shows enough, a mount in the yard carries the group and leaves
//! it when the yard goes.

use super::batch::Batches;
use super::{PlanError, Slot, Step};
use crux_image::mounts::{
    GroupIndex, GroupLink, Lock, Master, MountIndex, Mounts, NamespaceIndex, OriginIndex,
    Propagation,
};
use crux_image::path::RelPath;
use std::collections::HashSet;

/// A mount that takes part, as a member or as a slave.
#[derive(Clone, Copy)]
struct Member {
    at: (NamespaceIndex, MountIndex),
    origin: OriginIndex,
    /// Whether something is locked onto it.
    holds: bool,
}

impl Member {
    fn slot(self) -> Slot {
        Slot::Mount(self.at.0, self.at.1)
    }
}

/// The groups of a container and what carries each.
pub(super) struct Groups {
    members: Vec<Vec<Member>>,
    carriers: Vec<Carrier>,
    /// Masters before slaves.
    order: Vec<GroupIndex>,
}

/// What a group spreads from.
struct Carrier {
    slot: Slot,
    origin: OriginIndex,
    /// What it shows.
    root: RelPath,
}

impl Groups {
    pub(super) fn of(mounts: &Mounts) -> Result<Self, PlanError> {
        let mut members = vec![Vec::new(); mounts.groups.len()];
        let mut slaves = vec![Vec::new(); mounts.groups.len()];
        let locked = mounts.every_mount().filter(|(.., m)| m.lock == Lock::Place);
        let holders: HashSet<_> = locked.map(|(ns, _, m)| (ns, m.parent)).collect();
        for (ns, index, mount) in mounts.every_mount() {
            let member = Member {
                at: (ns, index),
                origin: mount.origin,
                holds: holders.contains(&(ns, Some(index))),
            };
            match mount.propagation {
                Propagation::Shared(group) => members[group.at()].push(member),
                Propagation::Slave(Master::Group(master)) => slaves[master.at()].push(member),
                _ => {}
            }
        }
        let order = masters_first(mounts);
        let carriers = carriers(mounts, &order, &members, &slaves)?;
        Ok(Self {
            members,
            carriers,
            order,
        })
    }

    /// The carriers that are not members: group, origin, and what each has to show.
    pub(super) fn extra_carriers(&self) -> impl Iterator<Item = (Slot, OriginIndex, &RelPath)> {
        let extra = self
            .carriers
            .iter()
            .filter(|c| matches!(c.slot, Slot::Carrier(_)));
        extra.map(|carrier| (carrier.slot, carrier.origin, &carrier.root))
    }

    /// What a new slave of `master` joins before it becomes one.
    fn source(&self, master: Master) -> Slot {
        match master {
            Master::Group(group) => self.carriers[group.at()].slot,
            Master::Outside(origin) => Slot::Outside(origin),
        }
    }
}

fn inside_master(mounts: &Mounts, group: GroupIndex) -> Option<GroupIndex> {
    match mounts.groups[group.at()].link {
        GroupLink::SlaveOf(Master::Group(master)) => Some(master),
        _ => None,
    }
}

/// A carrier for each group, slaves first: a master's carrier has to show what its
/// slaves' carriers show.
fn carriers(
    mounts: &Mounts,
    order: &[GroupIndex],
    members: &[Vec<Member>],
    slaves: &[Vec<Member>],
) -> Result<Vec<Carrier>, PlanError> {
    let mut carriers: Vec<Option<Carrier>> = mounts.groups.iter().map(|_| None).collect();
    let mut demands: Vec<Vec<(Member, RelPath)>> = vec![Vec::new(); mounts.groups.len()];
    for &group in order.iter().rev() {
        let at = group.at();
        let own = members[at].iter().chain(&slaves[at]);
        let own = own.map(|member| (*member, root_of(mounts, *member).clone()));
        let joining: Vec<_> = own.chain(std::mem::take(&mut demands[at])).collect();
        let carrier = carrier(mounts, group, &members[at], &joining)?;
        if let Some(master) = inside_master(mounts, group) {
            demands[master.at()].push((members[at][0], carrier.root.clone()));
        }
        carriers[at] = Some(carrier);
    }
    Ok(carriers
        .into_iter()
        .map(|carrier| carrier.expect("the order has every group"))
        .collect())
}

fn root_of(mounts: &Mounts, member: Member) -> &RelPath {
    &mounts.namespaces[member.at.0.at()].mounts[member.at.1.at()].root
}

fn is_moved(mounts: &Mounts, member: Member) -> bool {
    let mount = &mounts.namespaces[member.at.0.at()].mounts[member.at.1.at()];
    mount.former.is_some()
}

/// The member that shows all that joins, or else a clone of the helper that does.
fn carrier(
    mounts: &Mounts,
    group: GroupIndex,
    members: &[Member],
    joining: &[(Member, RelPath)],
) -> Result<Carrier, PlanError> {
    let first = members[0];
    let mut widest = root_of(mounts, first).clone();
    for (member, root) in joining {
        if member.origin != first.origin {
            // Members of a group that reaches outside each join it outside, from the
            // mount that holds their own source: there, origins may differ.
            if joins_outside(mounts, first) && joins_outside(mounts, *member) {
                continue;
            }
            return Err(PlanError::GroupAcrossOrigins {
                mount: member.at,
                group: first.origin,
                own: member.origin,
            });
        }
        // By then a deleted root has been moved to where it was: only the whole contains it and others.
        widest = match *root == widest {
            true => widest,
            false if is_moved(mounts, *member) || is_moved(mounts, first) => RelPath::root(),
            false => widest.common_ancestor(root),
        };
    }
    // KERNEL: no group spreads from a mount that something is locked onto (`do_set_group`).
    let shows_all =
        |m: &&Member| m.origin == first.origin && *root_of(mounts, **m) == widest && !m.holds;
    let slot = members
        .iter()
        .find(shows_all)
        .map_or(Slot::Carrier(group), |m| m.slot());
    Ok(Carrier {
        slot,
        origin: first.origin,
        root: widest,
    })
}

fn joins_outside(mounts: &Mounts, member: Member) -> bool {
    match mounts.namespaces[member.at.0.at()].mounts[member.at.1.at()].propagation {
        Propagation::Shared(group) => {
            matches!(mounts.groups[group.at()].link, GroupLink::PeerOfOutside(_))
        }
        _ => false,
    }
}

/// Groups in an order in which a master comes before its slaves, and otherwise as numbered.
fn masters_first(mounts: &Mounts) -> Vec<GroupIndex> {
    let mut done = vec![false; mounts.groups.len()];
    let mut order = Vec::with_capacity(mounts.groups.len());
    for at in 0..mounts.groups.len() {
        let mut chain = Vec::new();
        let mut next = Some(GroupIndex::from(at));
        while let Some(group) = next.filter(|g| !done[g.at()]) {
            done[group.at()] = true;
            chain.push(group);
            next = inside_master(mounts, group);
        }
        order.extend(chain.into_iter().rev());
    }
    order
}

/// The steps of this phase.
pub(super) fn steps(mounts: &Mounts, groups: &Groups, steps: &mut Batches<'_>) {
    // The attach phase ended in the last namespace, the removal of names in the yard.
    let last = NamespaceIndex::from(mounts.namespaces.len() - 1);
    let place = match steps.last() {
        Some(Step::Unlink { .. }) => Place::Yard,
        _ => Place::Namespace(last),
    };
    let mut phase = Phase { steps, place };
    for &group in &groups.order {
        phase.group(mounts, groups, group);
    }
    for (ns, index, mount) in mounts.every_mount() {
        if let Propagation::Slave(master) = mount.propagation {
            phase.slave(groups.source(master), Slot::Mount(ns, index));
        }
    }
    for (ns, index, mount) in mounts.every_mount() {
        if mount.propagation == Propagation::Unbindable {
            phase.inside(Slot::Mount(ns, index), |mount| Step::MakeUnbindable {
                mount,
            });
        }
    }
}

/// Which namespace the steps so far have led into.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Yard,
    Namespace(NamespaceIndex),
}

struct Phase<'a, 'b> {
    steps: &'a mut Batches<'b>,
    place: Place,
}

impl Phase<'_, '_> {
    fn group(&mut self, mounts: &Mounts, groups: &Groups, group: GroupIndex) {
        let Carrier {
            slot: carrier,
            origin,
            ..
        } = groups.carriers[group.at()];
        let members = &groups.members[group.at()];
        match mounts.groups[group.at()].link {
            GroupLink::PeerOfOutside(_) => {
                if let Slot::Carrier(_) = carrier {
                    self.join(Slot::Outside(origin), carrier);
                }
                for member in members {
                    self.join(Slot::Outside(member.origin), member.slot());
                }
                return;
            }
            GroupLink::SlaveOf(master) => self.slave(groups.source(master), carrier),
            GroupLink::None => {}
        }
        self.inside(carrier, |mount| Step::MakeShared { mount });
        for member in members.iter().filter(|m| m.slot() != carrier) {
            self.join(carrier, member.slot());
        }
    }

    fn join(&mut self, from: Slot, to: Slot) {
        self.steps.push(Step::SetGroup { from, to });
    }

    fn slave(&mut self, source: Slot, slave: Slot) {
        self.join(source, slave);
        self.inside(slave, |mount| Step::MakeSlave { mount });
    }

    /// A change of one mount's own type is made from inside the namespace that holds it.
    fn inside(&mut self, mount: Slot, step: impl FnOnce(Slot) -> Step) {
        let place = match mount {
            Slot::Mount(namespace, _) => Place::Namespace(namespace),
            Slot::Helper(_) | Slot::Carrier(_) | Slot::Outside(_) => Place::Yard,
        };
        if place != self.place {
            self.steps.push(match place {
                Place::Yard => Step::ReturnToYard,
                Place::Namespace(namespace) => Step::EnterNamespace { namespace },
            });
            self.place = place;
        }
        self.steps.push(step(mount));
    }
}

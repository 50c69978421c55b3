//! Rules for peer groups and masters.
//!
//! Kind: pure.

use super::tree::place;
use super::{Place, Rule, in_range};
use crate::mounts::{
    GroupLink, Master, Mount, Mounts, MountsError, Origin, OriginIndex, OwnFsType, Propagation,
};

pub(super) fn check(mounts: &Mounts) -> Result<(), MountsError> {
    let mut members: Vec<Option<OriginIndex>> = vec![None; mounts.groups.len()];
    for (namespace, at, mount) in every_mount(mounts) {
        check_mount(mounts, mount, &mut members)
            .map_err(|rule| rule.at(place(namespace, at, mount)))?;
    }
    for (at, group) in mounts.groups.iter().enumerate() {
        check_group(mounts, at, &members).map_err(|rule| rule.at(Place::Group(at)))?;
        if let GroupLink::SlaveOf(master) = group.link {
            check_master(mounts, master).map_err(|rule| rule.at(Place::Group(at)))?;
        }
    }
    check_circles(mounts)?;
    check_file_systems(mounts, &members)
}

fn every_mount(mounts: &Mounts) -> impl Iterator<Item = (usize, usize, &Mount)> {
    mounts
        .namespaces
        .iter()
        .enumerate()
        .flat_map(|(namespace, n)| {
            n.mounts
                .iter()
                .enumerate()
                .map(move |(at, mount)| (namespace, at, mount))
        })
}

/// Indexes, and that all members of a group show one file system.
fn check_mount(
    mounts: &Mounts,
    mount: &Mount,
    members: &mut [Option<OriginIndex>],
) -> Result<(), Rule> {
    match mount.propagation {
        Propagation::Private | Propagation::Unbindable => Ok(()),
        Propagation::Slave(master) => check_master(mounts, master),
        Propagation::Shared(group) => {
            in_range("peer group", group.at(), members.len())?;
            let first = *members[group.at()].get_or_insert(mount.origin);
            same_file_system(mounts, first, mount.origin)
        }
    }
}

fn check_master(mounts: &Mounts, master: Master) -> Result<(), Rule> {
    match master {
        Master::Group(group) => in_range("peer group", group.at(), mounts.groups.len()),
        Master::Outside(origin) => check_outside(mounts, origin),
    }
}

fn check_outside(mounts: &Mounts, origin: OriginIndex) -> Result<(), Rule> {
    in_range("origin", origin.at(), mounts.origins.len())?;
    match mounts.origins[origin.at()] {
        Origin::External(_) => Ok(()),
        Origin::Own(_) => Err(Rule::OutsideNotExternal(origin.at())),
    }
}

fn check_group(mounts: &Mounts, at: usize, members: &[Option<OriginIndex>]) -> Result<(), Rule> {
    if members[at].is_none() {
        return Err(Rule::NoMember);
    }
    match mounts.groups[at].link {
        GroupLink::PeerOfOutside(origin) => check_outside(mounts, origin),
        GroupLink::None | GroupLink::SlaveOf(_) => Ok(()),
    }
}

/// Follows each chain of masters once; meeting the chain being followed is a circle.
fn check_circles(mounts: &Mounts) -> Result<(), MountsError> {
    let mut followed_from: Vec<Option<usize>> = vec![None; mounts.groups.len()];
    for start in 0..mounts.groups.len() {
        let mut at = start;
        loop {
            match followed_from[at] {
                Some(other) if other == start => {
                    return Err(Rule::MasterCircle.at(Place::Group(start)));
                }
                Some(_) => break,
                None => followed_from[at] = Some(start),
            }
            match mounts.groups[at].link {
                GroupLink::SlaveOf(Master::Group(master)) => at = master.at(),
                _ => break,
            }
        }
    }
    Ok(())
}

/// A slave and its master show one file system, and so do peers.
fn check_file_systems(mounts: &Mounts, members: &[Option<OriginIndex>]) -> Result<(), MountsError> {
    let origin_of = |master| match master {
        Master::Outside(origin) => Some(origin),
        Master::Group(group) => members[group.at()],
    };
    for (namespace, at, mount) in every_mount(mounts) {
        if let Propagation::Slave(master) = mount.propagation {
            tied(mounts, Some(mount.origin), origin_of(master))
                .map_err(|rule| rule.at(place(namespace, at, mount)))?;
        }
    }
    for (at, group) in mounts.groups.iter().enumerate() {
        let other = match group.link {
            GroupLink::None => continue,
            GroupLink::SlaveOf(master) => origin_of(master),
            GroupLink::PeerOfOutside(origin) => Some(origin),
        };
        tied(mounts, members[at], other).map_err(|rule| rule.at(Place::Group(at)))?;
    }
    Ok(())
}

fn tied(mounts: &Mounts, a: Option<OriginIndex>, b: Option<OriginIndex>) -> Result<(), Rule> {
    a.zip(b)
        .map_or(Ok(()), |(a, b)| same_file_system(mounts, a, b))
}

/// External origins may be parts of one file system of the host; a file system
/// of the container's own is no other. sysfs and mqueue exist once in each
/// namespace, so the container's may be the host's.
fn same_file_system(mounts: &Mounts, a: OriginIndex, b: OriginIndex) -> Result<(), Rule> {
    let once_each_namespace = |at: OriginIndex| match &mounts.origins[at.at()] {
        Origin::External(_) => true,
        Origin::Own(own) => matches!(own.fs_type, OwnFsType::Sysfs | OwnFsType::Mqueue),
    };
    match a == b || (once_each_namespace(a) && once_each_namespace(b)) {
        true => Ok(()),
        false => Err(Rule::GroupSpans),
    }
}

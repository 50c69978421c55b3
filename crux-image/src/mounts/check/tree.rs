//! Rules for the tree of mounts in each namespace.
//!
//! Kind: pure.

use super::{Place, Rule, check_map, in_range};
use crate::mounts::{FileKind, Lock, Mount, Mounts, MountsError, Namespace, Origin};
use crate::path::{Escaped, PATH_LIMIT};
use std::collections::HashSet;

/// No table that a kernel prints comes near it; it bounds what every viewer prints.
const ALL_PATHS_LIMIT: u64 = 1 << 30;

pub(super) fn check(mounts: &Mounts) -> Result<(), MountsError> {
    let mut all_paths = 0u64;
    for (at, namespace) in mounts.namespaces.iter().enumerate() {
        mounts
            .has_user(namespace.owner)
            .and_then(|()| check_root(namespace))
            .map_err(|rule| rule.at(Place::Namespace(at)))?;
        all_paths = check_namespace(mounts, at, namespace, all_paths)?;
    }
    Ok(())
}

pub(super) fn place(namespace: usize, at: usize, mount: &Mount) -> Place {
    let on = mount.mountpoint.to_absolute();
    Place::Mount(namespace, at, Escaped(&on[..on.len().min(256)]).to_string())
}

fn check_namespace(
    mounts: &Mounts,
    at: usize,
    namespace: &Namespace,
    mut all_paths: u64,
) -> Result<u64, MountsError> {
    let mut taken = HashSet::with_capacity(namespace.mounts.len());
    let mut lengths: Vec<usize> = Vec::with_capacity(namespace.mounts.len());
    for (index, mount) in namespace.mounts.iter().enumerate() {
        let here = |rule: Rule| rule.at(place(at, index, mount));
        check_position(namespace, index, mount).map_err(here)?;
        check_lock(namespace, mount).map_err(here)?;
        if !taken.insert((mount.parent, &mount.mountpoint)) {
            return Err(here(Rule::MountpointTaken));
        }
        let above = mount.parent.map_or(0, |parent| lengths[parent.at()]);
        let length = above + 1 + mount.mountpoint.as_bytes().len();
        if length > PATH_LIMIT {
            return Err(here(Rule::PathTooLong));
        }
        lengths.push(length);
        all_paths += length as u64;
        if all_paths > ALL_PATHS_LIMIT {
            return Err(Rule::PathsTooLong.at(Place::Image));
        }
        check_shown(mounts, mount).map_err(here)?;
    }
    Ok(all_paths)
}

/// Parents before children, and kinds that fit onto each other.
fn check_position(namespace: &Namespace, index: usize, mount: &Mount) -> Result<(), Rule> {
    let Some(parent) = mount.parent else {
        return if index == 0 && mount.mountpoint.is_root() {
            Ok(())
        } else if index == 0 {
            Err(Rule::FirstHasParent)
        } else {
            Err(Rule::NoParent)
        };
    };
    if index == 0 {
        return Err(Rule::FirstHasParent);
    }
    if parent.at() >= index {
        return Err(Rule::ParentAfterChild);
    }
    let parent = &namespace.mounts[parent.at()];
    match (mount.mountpoint.is_root(), parent.kind.is_directory()) {
        (true, directory) if directory != mount.kind.is_directory() => Err(Rule::KindOnKind),
        (false, false) => Err(Rule::BeneathFile),
        _ => Ok(()),
    }
}

/// Only a user namespace locks, and only what came from outside is locked.
fn check_lock(namespace: &Namespace, mount: &Mount) -> Result<(), Rule> {
    if mount.lock != Lock::Free && namespace.owner.is_none() {
        return Err(Rule::LockWithoutOwner);
    }
    let parent = mount.parent.map(|parent| &namespace.mounts[parent.at()]);
    match mount.lock {
        Lock::Place if parent.is_none_or(|parent| parent.lock == Lock::Free) => {
            Err(Rule::LockedToNothing)
        }
        _ => Ok(()),
    }
}

/// What the mount shows of its origin.
fn check_shown(mounts: &Mounts, mount: &Mount) -> Result<(), Rule> {
    in_range("origin", mount.origin.at(), mounts.origins.len())?;
    if let Some(map) = &mount.attributes.idmap {
        check_map(&map.uids)?;
        check_map(&map.gids)?;
    }
    let (whole, own) = match &mounts.origins[mount.origin.at()] {
        Origin::Own(_) => (FileKind::Directory, true),
        Origin::External(external) => (external.kind, false),
    };
    if let Some(former) = &mount.former
        && (former.is_root() || !own || !mount.deleted)
    {
        return Err(Rule::FormerName);
    }
    match mount.root.is_root() {
        true if own && mount.deleted => Err(Rule::DeletedRoot),
        true if whole.is_directory() != mount.kind.is_directory() => Err(Rule::KindOfRoot),
        false if !whole.is_directory() => Err(Rule::PartOfFile),
        _ => Ok(()),
    }
}

/// The root of the tasks is the first mount, or a mount in the stack on it.
fn check_root(namespace: &Namespace) -> Result<(), Rule> {
    if namespace.mounts.is_empty() {
        return Err(Rule::NoMounts);
    }
    in_range("mount", namespace.root.at(), namespace.mounts.len())?;
    let mut at = namespace.root.at();
    if !namespace.mounts[at].kind.is_directory() {
        return Err(Rule::RootNotDirectory);
    }
    while at != 0 {
        let mount = &namespace.mounts[at];
        match mount.parent {
            Some(parent) if parent.at() < at && mount.mountpoint.is_root() => at = parent.at(),
            _ => return Err(Rule::RootNotStacked),
        }
    }
    Ok(())
}

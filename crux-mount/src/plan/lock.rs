//! Locks: which can be made again, and the trees that are made to be locked.
//!
//! Kind: pure. The kernel locks the mounts that a user namespace gets with a copy of a
//! mount namespace: each to its parent, the tops of trees to nothing, and the flags of all. So
//! what is locked is put together in the yard, copied for the user namespace, and cloned
//! from the copy, a tree at a time. A mount in a copy is found by its path from its
//! parent: that is what limits the locks that can be made.

use super::{Slot, Step, attach_order};
use crux_image::mounts::{Lock, MountIndex, Namespace, NamespaceIndex};
use crux_image::path::RelPath;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

/// A mount that is going to be locked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Which.
    pub mount: Slot,
    /// The mount it is locked to, which stands before it, and where on that. None: the flags only.
    pub onto: Option<(Slot, RelPath)>,
}

/// Turns each [`Lock::Place`] that a restore cannot make into a [`Lock::Lost`].
pub fn settle_locks(namespace: &mut Namespace) {
    let lost: Vec<usize> = unlockable(namespace).map(MountIndex::at).collect();
    for at in lost {
        namespace.mounts[at].lock = Lock::Lost;
    }
}

/// The mounts whose lock to their place cannot be made.
pub(super) fn unlockable(namespace: &Namespace) -> impl Iterator<Item = MountIndex> {
    let mut taken: HashMap<MountIndex, BTreeSet<&[u8]>> = HashMap::new();
    for mount in &namespace.mounts {
        if let Some(parent) = mount.parent {
            let places = taken.entry(parent).or_default();
            places.insert(mount.mountpoint.as_bytes());
        }
    }
    let is_lost = move |mount: &crux_image::mounts::Mount| {
        let parent = mount.parent?;
        let free = namespace.mounts[parent.at()].lock == Lock::Free;
        // A stack is not found again by path, and what is covered not attached later.
        let covers = covers_any(&taken[&parent], mount.mountpoint.as_bytes());
        (free || mount.mountpoint.is_root() || covers).then_some(())
    };
    let places = namespace.mounts.iter().enumerate();
    let places = places.filter(|(_, mount)| mount.lock == Lock::Place);
    places
        .filter(move |(_, mount)| mount.parent.is_none() || is_lost(mount).is_some())
        .map(|(at, _)| at.into())
        .collect::<Vec<_>>()
        .into_iter()
}

/// Whether one of these mountpoints lies beneath `path`.
fn covers_any(mountpoints: &BTreeSet<&[u8]>, path: &[u8]) -> bool {
    let beneath = [path, b"/"].concat();
    let next = mountpoints.range(beneath.as_slice()..).next();
    next.is_some_and(|next| next.starts_with(&beneath))
}

/// A namespace's mounts in an order in which they can be attached, each with those that are locked
/// onto it, onto those, and so on: nothing that one of these covers comes after it.
pub(super) fn trees(namespace: &Namespace) -> Vec<Vec<MountIndex>> {
    let mut trees: Vec<Vec<MountIndex>> = Vec::new();
    let mut tree_of = vec![0; namespace.mounts.len()];
    for index in attach_order(namespace) {
        let mount = &namespace.mounts[index.at()];
        let parent = mount.parent.filter(|_| mount.lock == Lock::Place);
        tree_of[index.at()] = match parent {
            Some(parent) => tree_of[parent.at()],
            None => {
                trees.push(Vec::new());
                trees.len() - 1
            }
        };
        trees[tree_of[index.at()]].push(index);
    }
    trees
}

/// The step that locks what is to be locked of some mounts, parents first.
pub(super) fn step(
    at: NamespaceIndex,
    namespace: &Namespace,
    mounts: &[MountIndex],
) -> Option<Step> {
    let held = mounts
        .iter()
        .map(|index| (index, &namespace.mounts[index.at()]));
    let held = held.filter(|(_, mount)| mount.lock != Lock::Free);
    let held: Vec<Held> = held
        .map(|(&index, mount)| Held {
            mount: Slot::Mount(at, index),
            onto: mount
                .parent
                .filter(|_| mount.lock == Lock::Place)
                .map(|parent| (Slot::Mount(at, parent), mount.mountpoint.clone())),
        })
        .collect();
    (!held.is_empty()).then_some(Step::Lock {
        namespace: at,
        held,
    })
}

//! The order in which mounts are shown, and their names.
//!
//! Kind: pure, without recursion: a hostile tree may be very deep.

use crate::mounts::{GroupIndex, Mount, MountIndex, Mounts, Namespace, Propagation};
use crate::path::Escaped;

/// A mount at its place in the tree.
pub(crate) struct Placed {
    pub(crate) mount: MountIndex,
    pub(crate) depth: usize,
    pub(crate) last: bool,
}

/// Children of each mount, sorted by mountpoint.
pub(crate) fn children(namespace: &Namespace) -> Vec<Vec<MountIndex>> {
    let mounts = &namespace.mounts;
    let mut children = vec![Vec::new(); mounts.len()];
    for (at, mount) in mounts.iter().enumerate() {
        if let Some(parent) = mount.parent {
            children[parent.at()].push(MountIndex::from(at));
        }
    }
    for list in &mut children {
        list.sort_by(|a, b| mounts[a.at()].mountpoint.cmp(&mounts[b.at()].mountpoint));
    }
    children
}

/// Every mount, parents before children, siblings by mountpoint.
pub(crate) fn display_order(namespace: &Namespace) -> Vec<Placed> {
    let children = children(namespace);
    let mut order = Vec::with_capacity(namespace.mounts.len());
    let mut open = vec![Placed {
        mount: MountIndex(0),
        depth: 0,
        last: true,
    }];
    while let Some(placed) = open.pop() {
        let beneath = &children[placed.mount.at()];
        let depth = placed.depth + 1;
        for (at, &mount) in beneath.iter().enumerate().rev() {
            open.push(Placed {
                mount,
                depth,
                last: at + 1 == beneath.len(),
            });
        }
        order.push(placed);
    }
    order
}

/// The path, escaped, and which of a stack the mount is.
pub(crate) fn name_of(namespace: &Namespace, mount: MountIndex) -> String {
    let path = namespace.path_of(mount).to_absolute();
    let level = ancestors(namespace, mount)
        .take_while(|m| m.mountpoint.is_root() && m.parent.is_some())
        .count();
    match level {
        0 => Escaped(&path).to_string(),
        level => format!("{} ({})", Escaped(&path), ordinal(level + 1)),
    }
}

fn ordinal(number: usize) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// The mount, its parent, and so on.
fn ancestors(namespace: &Namespace, mount: MountIndex) -> impl Iterator<Item = &Mount> {
    let mut next = namespace.mounts.get(mount.at());
    std::iter::from_fn(move || {
        let here = next?;
        next = here
            .parent
            .and_then(|parent| namespace.mounts.get(parent.at()));
        Some(here)
    })
}

/// Numbers for peer groups, from 1 in the order in which they are shown.
pub(crate) struct GroupNumbers(Vec<usize>);

impl GroupNumbers {
    pub(crate) fn new(mounts: &Mounts) -> Self {
        let mut numbers = vec![0; mounts.groups.len()];
        let mut next = 1;
        for namespace in &mounts.namespaces {
            for placed in display_order(namespace) {
                let propagation = namespace.mounts[placed.mount.at()].propagation;
                if let Propagation::Shared(group) = propagation
                    && numbers[group.at()] == 0
                {
                    numbers[group.at()] = next;
                    next += 1;
                }
            }
        }
        Self(numbers)
    }

    pub(crate) fn of(&self, group: GroupIndex) -> usize {
        self.0[group.at()]
    }

    /// Groups in the order of their numbers.
    pub(crate) fn ordered(&self) -> Vec<GroupIndex> {
        let mut groups: Vec<GroupIndex> = (0..self.0.len()).map(GroupIndex::from).collect();
        groups.sort_by_key(|group| self.of(*group));
        groups
    }
}

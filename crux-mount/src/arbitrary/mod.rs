//! Random mount tables for property tests, and how to compare two of them.
//!
//! Kind: pure; for tests only. The tables are valid: a kernel can have them, and
//! a record says them in one way. A table is made from plain numbers of which
//! each chooses among a few possibilities, 0 the plainest, so that a failure
//! shrinks to a small one.

mod equal;
mod files;
mod origins;
mod propagation;
mod trees;

pub use equal::equal_up_to_ids;

use crux_image::mounts::{IdRange, Mounts, UserNamespace};
use proptest::collection::vec;
use proptest::prelude::*;

/// The numbers that one mount is made from.
#[derive(Debug, Clone, Copy)]
struct Numbers([u16; 10]);

impl Numbers {
    /// Chooses one of `count`.
    fn choose(&self, which: usize, count: usize) -> usize {
        usize::from(self.0[which]) % count.max(1)
    }
}

const PARENT: usize = 0;
const MOUNTPOINT: usize = 1;
const ORIGIN: usize = 2;
const ROOT: usize = 3;
const ATTRIBUTES: usize = 4;
const IDMAP: usize = 5;
const PROPAGATION: usize = 6;
const GROUP: usize = 7;
const DELETED: usize = 8;
const LOCK: usize = 9;

/// Valid mount tables of up to three namespaces of up to twelve mounts.
pub fn mounts() -> impl Strategy<Value = Mounts> {
    mounts_up_to(3, 12)
}

/// Valid mount tables of a chosen size.
pub fn mounts_up_to(namespaces: usize, mounts: usize) -> impl Strategy<Value = Mounts> {
    let small = || 0..360u16;
    let mount = [(); 10].map(|()| small());
    let namespace = (small(), vec(mount.prop_map(Numbers), 1..=mounts));
    (
        vec([small(), small()], 1..=6),
        vec(namespace, 1..=namespaces),
    )
        .prop_map(|(origins, namespaces)| build(&origins, &namespaces))
}

fn build(origins: &[[u16; 2]], namespaces: &[(u16, Vec<Numbers>)]) -> Mounts {
    let mut origins = origins::make(origins);
    let mut trees = trees::make(&origins, namespaces);
    let groups = propagation::make(&mut origins, &mut trees);
    let user = UserNamespace {
        parent: None,
        uid_map: vec![ids()],
        gid_map: vec![ids()],
    };
    let owned = trees.iter().any(|tree| tree.namespace.owner.is_some());
    let namespaces = trees.into_iter().map(|tree| tree.namespace).collect();
    let user_namespaces = if owned { vec![user] } else { vec![] };
    let mut mounts = Mounts {
        user_namespaces,
        namespaces,
        origins,
        groups,
    };
    origins::drop_unused(&mut mounts);
    mounts
}

fn ids() -> IdRange {
    IdRange {
        inside: 0,
        outside: 100_000,
        count: 65_536,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crux_image::mounts::{GroupLink, Master, Origin, Propagation};

    proptest! {
        #[test]
        fn parents_stand_before_children_and_mountpoints_are_unique(mounts in mounts()) {
            for namespace in &mounts.namespaces {
                let mut seen = std::collections::HashSet::new();
                for (at, mount) in namespace.mounts.iter().enumerate() {
                    prop_assert_eq!(mount.parent.is_none(), at == 0);
                    prop_assert!(mount.parent.is_none_or(|parent| parent.at() < at));
                    prop_assert!(seen.insert((mount.parent, mount.mountpoint.clone())));
                }
            }
        }

        #[test]
        fn groups_have_members_and_outside_groups_are_external(mounts in mounts()) {
            let all = || mounts.namespaces.iter().flat_map(|namespace| &namespace.mounts);
            for (at, group) in mounts.groups.iter().enumerate() {
                let member = Propagation::Shared(at.into());
                prop_assert!(all().any(|mount| mount.propagation == member));
                if let GroupLink::PeerOfOutside(o) | GroupLink::SlaveOf(Master::Outside(o)) = group.link {
                    prop_assert!(matches!(mounts.origins[o.at()], Origin::External(_)));
                }
            }
        }

        #[test]
        fn a_table_equals_itself(mounts in mounts()) {
            prop_assert_eq!(equal_up_to_ids(&mounts, &mounts), Ok(()));
        }
    }
}

//! Random records and random bytes. The fuzz targets in `fuzz/` do the same for
//! longer; this runs everywhere.

use super::groups;
use super::vivid::Table;
use crux_image::codec;
use crux_image::diff::diff;
use crux_image::inventory::Inventory;
use crux_image::member::{HEADER_LENGTH, Header, MemberKind};
use crux_image::mounts::{
    GroupIndex, GroupLink, Master, MountIndex, Mounts, OriginIndex, OwnFsType, PeerGroup,
    Propagation,
};
use crux_image::render;
use proptest::prelude::*;

/// Numbers from which one mount is chosen.
type Choice = (u16, u8, u8, u8);

fn choices() -> impl Strategy<Value = Vec<Choice>> {
    proptest::collection::vec(any::<Choice>(), 1..40)
}

/// A record that passes the check, whatever the choices are.
fn random(shape: &[Choice], sharing: &[Choice]) -> Mounts {
    let mut table = Table::default();
    let origins: Vec<OriginIndex> = (0..3)
        .map(|at| table.own(OwnFsType::Tmpfs, &format!("t{at}"), ""))
        .collect();
    let mut above = Vec::new();
    for (at, (parent, origin, stack, ro)) in shape.iter().enumerate() {
        let attributes = if ro % 2 == 0 { "rw" } else { "ro,nosuid" };
        let origin = origins[usize::from(*origin) % 3];
        let parent = (at > 0).then(|| MountIndex::from(usize::from(*parent) % at));
        let stacked = at == 0 || (stack % 4 == 0 && !above.contains(&parent));
        if stacked {
            above.push(parent);
        }
        let name = if stacked {
            String::new()
        } else {
            format!("m{at}")
        };
        table.mount(parent, &name, origin, "", attributes);
    }
    let mut mounts = table.finish();
    share(&mut mounts, sharing);
    mounts
}

/// Six possible groups, two of each file system; those without members go.
fn share(mounts: &mut Mounts, sharing: &[Choice]) {
    let mut used = [false; 6];
    let list = &mut mounts.namespaces[0].mounts;
    for (mount, (_, choice, which, _)) in list.iter().zip(sharing) {
        used[group(mount.origin, *which)] |= choice % 4 == 0;
    }
    let numbers: Vec<usize> = (0..6)
        .map(|at| used[..at].iter().filter(|u| **u).count())
        .collect();
    for (mount, (_, choice, which, _)) in list.iter_mut().zip(sharing) {
        let group = group(mount.origin, *which);
        let index = GroupIndex::from(numbers[group]);
        mount.propagation = match choice % 4 {
            0 => Propagation::Shared(index),
            1 if used[group] => Propagation::Slave(Master::Group(index)),
            2 => Propagation::Unbindable,
            _ => Propagation::Private,
        };
    }
    let chained = sharing.first().is_some_and(|choice| choice.3 % 2 == 0);
    for at in (0..6).filter(|at| used[*at]) {
        let link = match at % 2 == 1 && used[at - 1] && chained {
            true => GroupLink::SlaveOf(Master::Group(GroupIndex::from(numbers[at - 1]))),
            false => GroupLink::None,
        };
        mounts.groups.push(PeerGroup { link });
    }
}

fn group(origin: OriginIndex, which: u8) -> usize {
    origin.at() * 2 + usize::from(which % 2)
}

/// The same tree with other ids: origins and groups reversed, mounts in another order.
fn renumbered(mounts: &Mounts, keys: &[Choice]) -> Mounts {
    let mut other = mounts.clone();
    let (origins, groups) = (other.origins.len(), other.groups.len());
    other.origins.reverse();
    other.groups.reverse();
    let turned = |group: GroupIndex| GroupIndex::from(groups - 1 - group.at());
    for group in &mut other.groups {
        if let GroupLink::SlaveOf(Master::Group(master)) = &mut group.link {
            *master = turned(*master);
        }
    }
    let old = &mounts.namespaces[0].mounts;
    // A random order that keeps parents before children.
    let mut order = vec![0];
    let mut open: Vec<usize> = children(mounts, 0);
    while !open.is_empty() {
        let key = keys
            .get(order.len() % keys.len().max(1))
            .map_or(0, |key| usize::from(key.0));
        let at = open.swap_remove(key % open.len());
        open.extend(children(mounts, at));
        order.push(at);
    }
    let position = |at: usize| MountIndex::from(order.iter().position(|o| *o == at).unwrap());
    let moved = order.iter().map(|at| {
        let mut mount = old[*at].clone();
        mount.parent = mount.parent.map(|parent| position(parent.at()));
        mount.origin = OriginIndex::from(origins - 1 - mount.origin.at());
        mount.propagation = match mount.propagation {
            Propagation::Shared(group) => Propagation::Shared(turned(group)),
            Propagation::Slave(Master::Group(g)) => Propagation::Slave(Master::Group(turned(g))),
            other => other,
        };
        mount
    });
    other.namespaces[0].mounts = moved.collect();
    other
}

fn children(mounts: &Mounts, of: usize) -> Vec<usize> {
    let list = &mounts.namespaces[0].mounts;
    (0..list.len())
        .filter(|at| list[*at].parent.is_some_and(|p| p.at() == of))
        .collect()
}

/// Everything that is done with a record that passes.
fn use_it(bytes: &[u8]) {
    let Ok(mounts) = codec::decode::<Mounts>(bytes, 1 << 20) else {
        return;
    };
    if mounts.check().is_ok() {
        render::tree(&mounts);
        render::svg(&mounts);
        render::dot(&mounts);
        assert_eq!(diff(&mounts, &mounts), []);
        assert_eq!(codec::encode(&mounts), bytes, "one record has one encoding");
    }
}

proptest! {
    // Nothing is written into the source tree.
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equal_trees_have_no_differences(shape in choices(), sharing in choices()) {
        let mounts = random(&shape, &sharing);
        mounts.check().unwrap();
        let other = renumbered(&mounts, &sharing);
        other.check().unwrap();
        prop_assert_eq!(diff(&mounts, &other), []);
        prop_assert_eq!(render::tree(&mounts), render::tree(&other));
        prop_assert_eq!(render::svg(&mounts), render::svg(&other));
    }

    /// The text of a tree numbers its groups by their place, so two texts are
    /// equal exactly if the trees are.
    #[test]
    fn other_sharing_is_a_difference(shape in choices(), a in choices(), b in choices()) {
        let (was, is) = (random(&shape, &a), random(&shape, &b));
        prop_assert_eq!(diff(&was, &is).is_empty(), render::tree(&was) == render::tree(&is));
        prop_assert_eq!(diff(&was, &is).is_empty(), diff(&is, &was).is_empty());
    }

    /// One choice changed: the smallest differences, a group split or merged among them.
    #[test]
    fn nearly_the_same_sharing_is_a_difference(
        shape in choices(),
        a in choices(),
        at in any::<proptest::sample::Index>(),
        choice in any::<Choice>(),
    ) {
        let mut b = a.clone();
        b[at.index(a.len())] = choice;
        let (was, is) = (random(&shape, &a), random(&shape, &b));
        prop_assert_eq!(diff(&was, &is).is_empty(), render::tree(&was) == render::tree(&is));
        prop_assert_eq!(diff(&was, &is).is_empty(), diff(&is, &was).is_empty());
    }

    #[test]
    fn other_trees_are_a_difference(a in choices(), b in choices()) {
        let (was, is) = (random(&a, &[]), random(&b, &[]));
        prop_assert_eq!(diff(&was, &is).is_empty(), render::tree(&was) == render::tree(&is));
    }

    #[test]
    fn records_come_back_as_they_were(shape in choices(), sharing in choices()) {
        let mounts = random(&shape, &sharing);
        let bytes = codec::encode(&mounts);
        prop_assert_eq!(codec::decode::<Mounts>(&bytes, 1 << 20).unwrap(), mounts);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        use_it(&bytes);
        let _ = codec::decode::<Inventory>(&bytes, 1 << 20);
        if let Some(header) = bytes.first_chunk::<HEADER_LENGTH>() {
            let _ = Header::parse(header, MemberKind::Mounts);
        }
    }

    #[test]
    fn mutated_records_never_panic(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = codec::encode(&groups::mounts());
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value % 12;
        }
        use_it(&bytes);
    }
}

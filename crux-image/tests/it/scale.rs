//! Tables of ten thousand mounts and more.

use super::vivid::Table;
use crux_image::diff::diff;
use crux_image::mounts::{
    GroupIndex, GroupLink, Master, MountIndex, Mounts, OwnFsType, PeerGroup, Propagation,
};
use crux_image::render;
use std::time::{Duration, Instant};

/// A quarter each: tmpfs that are shared, peers of them, slaves of them, private binds.
pub(crate) fn wide(count: usize) -> Mounts {
    let mut table = Table::default();
    let first = table.own(OwnFsType::Tmpfs, "root", "");
    let top = table.mount(None, "", first, "", "rw");
    let mut propagation = vec![Propagation::Private];
    for at in 0..count.saturating_sub(1) {
        let group = GroupIndex::from(at / 4);
        if at % 4 == 0 {
            table.own(OwnFsType::Tmpfs, "none", "size=64k");
        }
        let origin = crux_image::mounts::OriginIndex::from(1 + at / 4);
        table.mount(Some(top), &format!("mnt/{at}"), origin, "", "rw");
        propagation.push(match at % 4 {
            0 | 1 => Propagation::Shared(group),
            2 => Propagation::Slave(Master::Group(group)),
            _ => Propagation::Private,
        });
    }
    let mut mounts = table.finish();
    mounts.groups = vec![
        PeerGroup {
            link: GroupLink::None
        };
        count.saturating_sub(1).div_ceil(4)
    ];
    for (mount, propagation) in mounts.namespaces[0].mounts.iter_mut().zip(propagation) {
        mount.propagation = propagation;
    }
    mounts
}

/// Each mount in a directory of the one above, or stacked on it.
fn deep(count: u32, at: &str) -> Mounts {
    let mut table = Table::default();
    let origin = table.own(OwnFsType::Tmpfs, "none", "");
    let mut above = table.mount(None, "", origin, "", "rw");
    for _ in 1..count {
        above = table.mount(Some(above), at, origin, "", "rw");
    }
    table.finish()
}

fn within(limit: Duration, what: &str, work: impl FnOnce()) {
    let start = Instant::now();
    work();
    assert!(start.elapsed() < limit, "{what} took {:?}", start.elapsed());
}

#[test]
fn ten_thousand_mounts_are_checked_compared_and_shown() {
    let mounts = wide(10_000);
    within(Duration::from_secs(5), "wide", || {
        mounts.check().unwrap();
        assert_eq!(diff(&mounts, &mounts.clone()), []);
        assert_eq!(render::tree(&mounts).lines().count(), 10_002);
        assert!(render::svg(&mounts).ends_with("</svg>\n"));
        assert!(render::dot(&mounts).ends_with("}\n"));
    });
}

#[test]
fn very_deep_trees_do_not_exhaust_the_stack() {
    let stack = deep(20_000, "");
    let nested = deep(5_000, "d");
    within(Duration::from_secs(60), "deep", || {
        for mounts in [&stack, &nested] {
            mounts.check().unwrap();
            assert_eq!(diff(mounts, &mounts.clone()), []);
        }
        assert!(render::tree(&nested).len() < 8 << 20);
    });
}

#[test]
fn chains_of_ten_thousand_masters_are_drawn() {
    let mut mounts = wide(2);
    let namespace = &mut mounts.namespaces[0];
    for at in 1..10_000u32 {
        let mut mount = namespace.mounts[1].clone();
        mount.mountpoint = crux_image::path::RelPath::new(format!("c/{at}")).unwrap();
        mount.parent = Some(MountIndex(0));
        mount.propagation = Propagation::Shared(GroupIndex(at));
        namespace.mounts.push(mount);
        let link = GroupLink::SlaveOf(Master::Group(GroupIndex(at - 1)));
        mounts.groups.push(PeerGroup { link });
    }
    mounts.check().unwrap();
    assert_eq!(diff(&mounts, &mounts.clone()), []);
    assert!(render::svg(&mounts).contains("shared(10000)"));
}

//! Each rule for a record of mounts, broken once.

use super::{groups, vivid};
use crux_image::mounts::{
    Contents, GroupIndex, GroupLink, IdRange, Master, MountIndex, Mounts, MountsError, Origin,
    OriginIndex, Propagation, Rule, UserNsIndex,
};
use crux_image::path::RelPath;

#[test]
fn good_records_pass() {
    vivid::mounts().check().unwrap();
    groups::mounts().check().unwrap();
}

fn broken(change: impl FnOnce(&mut Mounts)) -> MountsError {
    let mut mounts = groups::mounts();
    change(&mut mounts);
    mounts.check().unwrap_err()
}

type Change = fn(&mut Mounts);

fn external(mounts: &mut Mounts, at: usize) -> &mut crux_image::mounts::External {
    match &mut mounts.origins[at] {
        Origin::External(external) => external,
        Origin::Own(_) => panic!("origin {at} is the container's own"),
    }
}

fn own(mounts: &mut Mounts, at: usize) -> &mut crux_image::mounts::OwnFileSystem {
    match &mut mounts.origins[at] {
        Origin::Own(own) => own,
        Origin::External(_) => panic!("origin {at} is external"),
    }
}

#[test]
fn broken_trees_are_refused() {
    let cases: &[(Change, Rule)] = &[
        (|m| m.namespaces.clear(), Rule::NoNamespace),
        (|m| m.namespaces[1].mounts.clear(), Rule::NoMounts),
        (
            |m| m.namespaces[0].mounts[0].parent = Some(MountIndex(0)),
            Rule::FirstHasParent,
        ),
        (|m| m.namespaces[0].mounts[2].parent = None, Rule::NoParent),
        (
            |m| m.namespaces[0].mounts[2].parent = Some(MountIndex(2)),
            Rule::ParentAfterChild,
        ),
        (
            |m| m.namespaces[0].mounts[2].parent = Some(MountIndex(99)),
            Rule::ParentAfterChild,
        ),
        (
            |m| m.namespaces[0].mounts[2].mountpoint = RelPath::new("tmp").unwrap(),
            Rule::MountpointTaken,
        ),
        (
            |m| m.namespaces[0].root = MountIndex(1),
            Rule::RootNotStacked,
        ),
        (
            |m| m.namespaces[0].root = MountIndex(99),
            Rule::Index {
                what: "mount",
                index: 99,
                count: 11,
            },
        ),
        (
            |m| m.namespaces[0].mounts[2].origin = OriginIndex(77),
            Rule::Index {
                what: "origin",
                index: 77,
                count: 4,
            },
        ),
        (
            |m| m.namespaces[1].mounts[1].kind = crux_image::mounts::FileKind::Regular,
            Rule::RootNotDirectory,
        ),
        (
            |m| m.namespaces[0].mounts[10].kind = crux_image::mounts::FileKind::Regular,
            Rule::KindOnKind,
        ),
        (
            |m| m.namespaces[0].mounts[4].kind = crux_image::mounts::FileKind::Fifo,
            Rule::KindOfRoot,
        ),
        (
            |m| m.namespaces[0].mounts[4].deleted = true,
            Rule::DeletedRoot,
        ),
        (
            |m| m.namespaces[1].owner = Some(UserNsIndex(2)),
            Rule::Index {
                what: "user namespace",
                index: 2,
                count: 2,
            },
        ),
    ];
    for (change, rule) in cases {
        assert_eq!(broken(change).rule, *rule);
    }
}

#[test]
fn broken_groups_are_refused() {
    let cases: &[(Change, Rule)] = &[
        (
            |m| m.namespaces[0].mounts[1].propagation = Propagation::Shared(GroupIndex(9)),
            Rule::Index {
                what: "peer group",
                index: 9,
                count: 4,
            },
        ),
        (
            |m| m.namespaces[0].mounts[4].propagation = Propagation::Private,
            Rule::NoMember,
        ),
        (
            |m| m.groups[0].link = GroupLink::SlaveOf(Master::Group(GroupIndex(1))),
            Rule::MasterCircle,
        ),
        (
            |m| m.groups[0].link = GroupLink::SlaveOf(Master::Group(GroupIndex(0))),
            Rule::MasterCircle,
        ),
        (
            |m| m.groups[2].link = GroupLink::PeerOfOutside(OriginIndex(1)),
            Rule::OutsideNotExternal(1),
        ),
        (
            |m| m.groups[3].link = GroupLink::SlaveOf(Master::Outside(OriginIndex(2))),
            Rule::OutsideNotExternal(2),
        ),
        (
            |m| m.groups[0].link = GroupLink::SlaveOf(Master::Outside(OriginIndex(3))),
            Rule::GroupSpans,
        ),
        (
            |m| m.namespaces[0].mounts[8].propagation = Propagation::Shared(GroupIndex(0)),
            Rule::GroupSpans,
        ),
        (
            |m| {
                m.namespaces[0].mounts[8].propagation =
                    Propagation::Slave(Master::Group(GroupIndex(0)));
            },
            Rule::GroupSpans,
        ),
    ];
    for (change, rule) in cases {
        assert_eq!(broken(change).rule, *rule);
    }
}

#[test]
fn broken_origins_are_refused() {
    let cases: &[(Change, Rule)] = &[
        (|m| external(m, 3).name.clear(), Rule::Name),
        (|m| external(m, 3).name = "a=b".into(), Rule::Name),
        (|m| external(m, 3).name = "a\nb".into(), Rule::Name),
        (|m| external(m, 3).name = "a\u{202e}b".into(), Rule::Name),
        (|m| external(m, 3).name = "auto".into(), Rule::Name),
        (
            |m| external(m, 3).name = "root".into(),
            Rule::NameTaken("root".into()),
        ),
        (
            |m| external(m, 3).role = crux_image::mounts::ExternalRole::Root,
            Rule::TwoRoots,
        ),
        (
            |m| external(m, 0).kind = crux_image::mounts::FileKind::Regular,
            Rule::ExternalRootKind,
        ),
        (|m| external(m, 3).fs_type = "\x1b".into(), Rule::FsTypeName),
        (|m| own(m, 1).options[0].key = "a b".into(), Rule::OptionKey),
        (
            |m| own(m, 1).options[0].key = String::new(),
            Rule::OptionKey,
        ),
        (|m| own(m, 1).source = b"a\0b".to_vec(), Rule::OptionValue),
        (
            |m| own(m, 1).contents = Contents::Terminals(vec![]),
            Rule::ContentsKind("tmpfs"),
        ),
        (
            |m| {
                if let Contents::Terminals(list) = &mut own(m, 2).contents {
                    list.push(list[0]);
                }
            },
            Rule::Terminal,
        ),
        (
            |m| m.user_namespaces[0].parent = Some(UserNsIndex(0)),
            Rule::ParentAfterChild,
        ),
        (|m| m.user_namespaces[0].uid_map[0].count = 0, Rule::IdRange),
        (
            |m| m.user_namespaces[0].uid_map[0].inside = u32::MAX,
            Rule::IdRange,
        ),
        (
            |m| {
                m.user_namespaces[0].gid_map.push(IdRange {
                    inside: 65_535,
                    outside: 7,
                    count: 1,
                })
            },
            Rule::IdOverlap,
        ),
        (
            |m| {
                let range = IdRange {
                    inside: 70_000,
                    outside: 100_001,
                    count: 1,
                };
                m.user_namespaces[0].gid_map.push(range);
            },
            Rule::IdOverlap,
        ),
    ];
    for (change, rule) in cases {
        assert_eq!(broken(change).rule, *rule);
    }
}

#[test]
fn a_message_names_namespace_mount_and_rule() {
    let error = broken(|m| m.namespaces[1].mounts[2].parent = Some(MountIndex(3)));
    assert_eq!(
        error.to_string(),
        "namespace 1, mount 2 (at \"/tmp\" of its parent): its parent does not stand before it"
    );
}

#[test]
fn paths_that_grow_without_bound_are_refused() {
    let long = vec!["x".repeat(255); 200].join("/");
    let error = broken(|m| {
        let mut mount = m.namespaces[1].mounts[0].clone();
        mount.mountpoint = RelPath::new(long).unwrap();
        for _ in 0..30 {
            mount.parent = Some(MountIndex::from(m.namespaces[1].mounts.len() - 1));
            m.namespaces[1].mounts.push(mount.clone());
        }
    });
    assert_eq!(error.rule, Rule::PathTooLong);
}

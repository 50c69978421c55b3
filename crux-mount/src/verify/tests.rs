//! Each kind of difference is seen, and nothing else is.

use super::*;
use crate::mountinfo;
use crux_image::mounts::{Contents, FileKind, MountAttributes, PeerGroup};

const TABLE: &str = "\
10 1 0:40 / / rw,relatime shared:7 master:3 - tmpfs none rw,size=4k
11 10 0:41 / /a\\040b ro,nosuid,relatime shared:8 - tmpfs x rw
12 10 0:41 /s /c rw,relatime master:8 - tmpfs x rw
13 12 8:1 /srv/d /c rw,noatime master:5 - ext4 /dev/sda1 rw
";

fn own(source: &str, options: &[(&str, &str)]) -> Origin {
    Origin::Own(OwnFileSystem {
        fs_type: OwnFsType::Tmpfs,
        source: source.into(),
        flags: SuperblockFlags::default(),
        options: options
            .iter()
            .map(|(key, value)| FsOption {
                key: (*key).into(),
                value: Some((*value).into()),
            })
            .collect(),
        user: None,
        context: NamespaceContext::Caller,
        contents: Contents::Kernel,
    })
}

fn mount(
    parent: Option<u32>,
    at: &str,
    origin: u32,
    root: &str,
    propagation: Propagation,
) -> Mount {
    Mount {
        parent: parent.map(MountIndex),
        mountpoint: RelPath::new(at).unwrap(),
        origin: OriginIndex(origin),
        root: RelPath::new(root).unwrap(),
        deleted: false,
        former: None,
        lock: crux_image::mounts::Lock::Free,
        kind: FileKind::Directory,
        attributes: MountAttributes::default(),
        propagation,
    }
}

fn record() -> (Mounts, Vec<Option<External>>) {
    let outside = |origin| Master::Outside(OriginIndex(origin));
    let mut mounts = vec![
        mount(None, "", 0, "", Propagation::Shared(GroupIndex(0))),
        mount(Some(0), "a b", 1, "", Propagation::Shared(GroupIndex(1))),
        mount(
            Some(0),
            "c",
            1,
            "s",
            Propagation::Slave(Master::Group(GroupIndex(1))),
        ),
        mount(Some(2), "", 2, "d", Propagation::Slave(outside(2))),
    ];
    mounts[1].attributes.readonly = true;
    mounts[1].attributes.nosuid = true;
    mounts[3].attributes.atime = crux_image::mounts::Atime::Noatime;
    let external = crux_image::mounts::External {
        name: "d".into(),
        role: crux_image::mounts::ExternalRole::Bind,
        kind: FileKind::Directory,
        wish: None,
        group_wish: None,
        fs_type: "xfs".into(),
    };
    let groups = [GroupLink::SlaveOf(outside(3)), GroupLink::None];
    let record = Mounts {
        user_namespaces: Vec::new(),
        namespaces: vec![Namespace {
            owner: None,
            mounts,
            root: MountIndex(0),
        }],
        origins: vec![
            own("none", &[("size", "4k")]),
            own("x", &[]),
            Origin::External(external.clone()),
            Origin::External(external),
        ],
        groups: groups.map(|link| PeerGroup { link }).to_vec(),
    };
    let facts = |root: &str, group| {
        let device = Some(Device { major: 8, minor: 1 });
        Some(External {
            device,
            root: RelPath::new(root).unwrap().to_absolute(),
            group: Some(PeerGroupId(group)),
        })
    };
    (record, vec![None, None, facts("srv", 5), facts("", 3)])
}

fn differences(table: &str) -> Vec<String> {
    let (record, externals) = record();
    let table = mountinfo::parse(table.as_bytes()).unwrap();
    match verify(&record, &externals, &[table]) {
        Ok(()) => Vec::new(),
        Err(differences) => differences.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_faithful_table_has_no_difference() {
    assert_eq!(differences(TABLE), Vec::<String>::new());
}

#[test]
fn other_ids_and_another_order_are_no_difference() {
    let renamed = "\
13 92 8:1 /srv/d /c rw,noatime master:5 - ext4 /dev/sda1 rw
92 90 0:81 /s /c rw,relatime master:61 - tmpfs x rw
91 90 0:81 / /a\\040b ro,nosuid,relatime shared:61 - tmpfs x rw
90 2 0:80 / / rw,relatime shared:60 master:3 - tmpfs none rw,size=4k
";
    assert_eq!(differences(renamed), Vec::<String>::new());
}

#[test]
fn every_kind_of_difference_is_named() {
    for (from, to, wanted) in [
        (
            "ro,nosuid",
            "rw,nosuid",
            "/a b: attributes: rw,nosuid,relatime, was ro,nosuid,relatime",
        ),
        (
            "rw,noatime",
            "rw,noatime,idmapped",
            "/c: id-mapped: true, was false",
        ),
        ("/s /c", "/t /c", "/c: root: \"/t\", was \"/s\""),
        (
            "/s /c",
            "/s//deleted /c",
            "/c: deleted root: true, was false",
        ),
        (
            "tmpfs none",
            "ramfs none",
            "/: type: \"ramfs\", was \"tmpfs\"",
        ),
        (
            "tmpfs none",
            "tmpfs other",
            "/: source: \"other\", was \"none\"",
        ),
        (
            "rw,size=4k",
            "ro,size=4k",
            "/: superblock flags: ro, was rw",
        ),
        (
            "rw,size=4k",
            "rw,size=8k",
            "/: options: size=8k, was size=4k",
        ),
        (
            "12 10 0:41",
            "12 10 0:49",
            "/c: the file system: 0:49, was the same as of other mounts (0:41)",
        ),
        (
            "10 1 0:40",
            "10 1 0:41",
            "/a b: the file system: the same (0:41), was another than that of other mounts",
        ),
        ("8:1 /srv", "8:2 /srv", "/c: device: 8:2, was 8:1"),
        (
            "8:1 /srv",
            "8:1 /etc",
            "/c: root: \"/etc/d\", was \"/srv/d\"",
        ),
        ("shared:8 -", "-", "/a b: the mount: not shared, was shared"),
        (
            "rw,relatime master:8",
            "rw,relatime",
            "/c: the master: none, was peer group 8",
        ),
        (
            "rw,relatime master:8",
            "rw,relatime shared:9 master:8",
            "/c: the mount: shared, was not shared",
        ),
        (
            "master:5",
            "master:6",
            "/c: the master: peer group 6, was peer group 5",
        ),
        (
            "master:3",
            "master:4",
            "/: the master: peer group 4, was peer group 3",
        ),
        (
            "relatime master:8",
            "relatime unbindable master:8",
            "/c: unbindable: true, was false",
        ),
        (
            "shared:8 -",
            "shared:7 -",
            "/a b: the peer group: the same (7), was another than that of other mounts",
        ),
    ] {
        let changed = TABLE.replacen(from, to, 1);
        assert_ne!(changed, TABLE, "{from}");
        let found = differences(&changed);
        assert!(
            found.iter().any(|line| line == wanted),
            "{from} -> {to}: {found:#?}"
        );
    }
}

#[test]
fn mounts_that_are_missing_or_too_many_are_named() {
    let without: String = TABLE
        .lines()
        .filter(|l| !l.starts_with("12"))
        .map(|l| format!("{l}\n"))
        .collect();
    assert!(differences(&without).contains(&"/c: the mount: missing, was there".to_owned()));
    let more = format!("{TABLE}14 13 0:50 / /c/x rw,relatime - proc proc rw\n");
    assert_eq!(
        differences(&more),
        ["/c/x: a mount: there (proc), was not there"]
    );
}

#[test]
fn options_that_the_kernel_shows_of_its_own_accord_are_no_difference() {
    let options = |recorded: &[(&str, &str)], shown: &str| {
        let Origin::Own(mut own) = own("none", recorded) else {
            unreachable!()
        };
        for option in &mut own.options {
            option.value = option.value.take().filter(|value| !value.is_empty());
        }
        let line = format!("10 1 0:40 / / rw - tmpfs none rw,{shown}\n");
        let entry = mountinfo::parse(line.as_bytes()).unwrap().remove(0);
        Options::recorded(&own.options) == Options::live(&own, &entry.options)
    };
    assert!(options(&[], "inode64"));
    assert!(options(&[], "seclabel,inode64"));
    assert!(options(&[("inode64", "")], "inode64"));
    assert!(!options(&[("inode64", "")], "inode32"));
    assert!(!options(&[("inode32", "")], "inode64"));
    assert!(!options(&[], "noswap"));
}

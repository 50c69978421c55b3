//! Lines as the kernel writes them, and lines that it never would.
//!
//! Kind: tests of pure code.

use super::*;
use crate::ids::{Device, MountId, PeerGroupId};
use crux_image::mounts::{Atime, MountAttributes, SuperblockFlags};
use proptest::prelude::*;

const TABLES: [(&str, &[u8]); 5] = [
    (
        "vivid",
        include_bytes!("../../testdata/vivid-mountinfo.txt"),
    ),
    (
        "lxc5",
        include_bytes!("../../testdata/debian12-lxc5-mountinfo.txt"),
    ),
    (
        "systemd",
        include_bytes!("../../testdata/debian12-systemd-mountinfo.txt"),
    ),
    (
        "lxc5 on a host whose mounts are shared",
        include_bytes!("../../testdata/debian12-lxc5-shared-host-mountinfo.txt"),
    ),
    (
        "a service of systemd",
        include_bytes!("../../testdata/debian12-systemd-logind-mountinfo.txt"),
    ),
];

fn one(line: &[u8]) -> Entry {
    parse(&[line, b"\n"].concat()).unwrap().remove(0)
}

#[test]
fn real_tables_are_understood_whole() {
    for (name, table) in TABLES {
        let entries = parse(table).unwrap();
        let lines = table.iter().filter(|&&b| b == b'\n').count();
        assert_eq!(entries.len(), lines, "{name}");
        assert!(entries.iter().all(|e| e.unknown.is_empty()), "{name}");
        assert_eq!(format(&entries), table, "{name}");
    }
}

#[test]
fn vivid_has_five_slaves_of_outside_groups() {
    let entries = parse(TABLES[0].1).unwrap();
    let masters: Vec<u32> = entries.iter().filter_map(|e| Some(e.master?.0)).collect();
    assert_eq!(masters, [1, 23, 25, 8, 11]);
    let cgmanager = &entries[15];
    assert_eq!(
        cgmanager.root,
        Root {
            path: b"/cgmanager".to_vec(),
            deleted: false
        }
    );
    assert_eq!(cgmanager.attributes.atime, Atime::Strict);
}

#[test]
fn every_part_of_a_line_is_read() {
    let entry = one(b"36 35 98:0 /mnt1 /mnt\\0402 ro,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow,idmapped \
          shared:7 master:1 propagate_from:2 - fuse.x /dev/\\043root ro,sync,dirsync,lazytime,errors=continue,a");
    assert_eq!((entry.id, entry.parent), (MountId(36), MountId(35)));
    assert_eq!(
        entry.device,
        Device {
            major: 98,
            minor: 0
        }
    );
    assert_eq!(entry.mountpoint, b"/mnt 2");
    let attributes = MountAttributes {
        readonly: true,
        nosuid: true,
        nodev: true,
        noexec: true,
        nosymfollow: true,
        nodiratime: true,
        atime: Atime::Noatime,
        idmap: None,
    };
    assert_eq!((entry.attributes, entry.idmapped), (attributes, true));
    let groups = [entry.shared, entry.master, entry.propagate_from];
    assert_eq!(groups, [7, 1, 2].map(|id| Some(PeerGroupId(id))));
    assert_eq!(
        (&entry.fs_type[..], &entry.source[..]),
        (&b"fuse.x"[..], &b"/dev/#root"[..])
    );
    let flags = SuperblockFlags {
        readonly: true,
        sync: true,
        dirsync: true,
        lazytime: true,
    };
    assert_eq!(entry.flags, flags);
    assert_eq!(
        entry.options,
        [option("errors", Some("continue")), option("a", None)]
    );
}

fn option(key: &str, value: Option<&str>) -> SuperOption {
    SuperOption {
        key: key.into(),
        value: value.map(Into::into),
    }
}

#[test]
fn an_empty_source_is_two_spaces() {
    let entry = one(b"1 0 0:5 / / rw - tmpfs  rw,size=1k");
    assert_eq!((&entry.source[..], entry.options.len()), (&b""[..], 1));
}

#[test]
fn overlay_options_keep_their_escaped_commas() {
    // As Linux 6.18 shows the layers "lo,w", "lo:x" and "lo w".
    let entry = one(b"79 63 0:44 / /m rw - overlay over\\040\\043,lay \
          ro,lowerdir=/mnt/lo\\054w:/mnt/lo\\134:x:/mnt/lo\\040w,redirect_dir=on");
    assert_eq!(entry.source, b"over #,lay");
    assert_eq!(
        entry.options[0],
        option("lowerdir", Some("/mnt/lo,w:/mnt/lo\\:x:/mnt/lo w"))
    );
    assert_eq!(entry.options[1], option("redirect_dir", Some("on")));
}

#[test]
fn deleted_roots_are_told_from_names() {
    let deleted = one(b"1 0 0:5 /a/b//deleted / rw - tmpfs x rw");
    assert_eq!(
        deleted.root,
        Root {
            path: b"/a/b".to_vec(),
            deleted: true
        }
    );
    let name = one(b"1 0 0:5 /a/deleted / rw - tmpfs x rw");
    assert_eq!(
        name.root,
        Root {
            path: b"/a/deleted".to_vec(),
            deleted: false
        }
    );
    assert_eq!(
        one(b"1 0 0:4 net:[4026531840] /x rw - nsfs nsfs rw")
            .root
            .path,
        b"net:[4026531840]"
    );
}

#[test]
fn what_is_unknown_is_kept_by_name() {
    let entry = one(
        b"1 0 0:5 / / rw,noatime,relatime,nofuture shared:1 shared:2 future:3 unbindable - t x rw",
    );
    let expected = [
        Unknown::Attribute(b"relatime".to_vec()),
        Unknown::Attribute(b"nofuture".to_vec()),
        Unknown::Field(b"shared:2".to_vec()),
        Unknown::Field(b"future:3".to_vec()),
    ];
    assert_eq!(entry.unknown, expected);
    assert!(entry.unbindable);
}

#[test]
fn superblock_flags_are_read_at_the_head_only() {
    let entry = one(b"1 0 0:5 / / rw - t x rw,sync,mand,lazytime,a,dirsync");
    assert!(entry.flags.sync && entry.flags.lazytime && !entry.flags.dirsync);
    assert_eq!(
        entry.options,
        [
            option("mand", None),
            option("a", None),
            option("dirsync", None)
        ]
    );
}

#[test]
fn errors_name_the_line_and_what_is_wrong() {
    let good = "1 0 0:5 / / rw - t x rw\n";
    let table = [
        (
            "1 0 0:5 / / rw - t x rw",
            "line 2: it does not end with a newline",
        ),
        (
            "\n",
            "line 2: the mount id is \"\", not a number below 2^32",
        ),
        (
            "1 +2 0:5 / / rw - t x rw\n",
            "line 2: the parent id is \"+2\", not a number below 2^32",
        ),
        (
            "1 2 05 / / rw - t x rw\n",
            "line 2: the device's minor number is \"\", not a number below 2^32",
        ),
        (
            "1 2 0:5 / / rw shared:1\n",
            "line 2: it ends before the separator \"-\"",
        ),
        ("1 2 0:5 / / rw - t\n", "line 2: it ends before the source"),
        ("1 2 0:5  / rw - t x rw\n", "line 2: the root is empty"),
        (
            "1 2 0:5 / / \x1b - t x rw\n",
            "line 2: the per-mount options begin with \"\\033\", neither \"rw\" nor \"ro\"",
        ),
        (
            "1 2 0:5 / / rw shared:x - t x rw\n",
            "line 2: the peer group of shared: is \"x\", not a number below 2^32",
        ),
    ];
    for (bad, message) in table {
        let error = parse(format!("{good}{bad}").as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn lines_over_four_kibibytes_are_read() {
    let path = "/x".repeat(5000);
    let entry = one(format!("1 0 0:5 {path} {path} rw - t x rw,o={path}").as_bytes());
    assert_eq!(entry.mountpoint.len(), 10_000);
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(
        prop_oneof![
            Just(b' '),
            Just(b'\\'),
            Just(b','),
            Just(b'='),
            Just(b'\n'),
            Just(b'0'),
            1..=255u8
        ],
        1..12,
    )
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(name(), 0..4).prop_map(|names| {
        let clean = names.into_iter().map(|mut name| {
            name.retain(|&b| b != b'/');
            name.push(b'x');
            name
        });
        clean.fold(b"/".to_vec(), |path, name| {
            let slash: &[u8] = if path.len() > 1 { b"/" } else { b"" };
            [&path[..], slash, &name[..]].concat()
        })
    })
}

prop_compose! {
    fn attributes()(bits in any::<[bool; 6]>(), atime in 0..3) -> MountAttributes {
        let [readonly, nosuid, nodev, noexec, nosymfollow, nodiratime] = bits;
        let atime = [Atime::Relatime, Atime::Noatime, Atime::Strict][atime as usize];
        MountAttributes { readonly, nosuid, nodev, noexec, nosymfollow, nodiratime, atime, idmap: None }
    }
}

prop_compose! {
    fn entry()(
        ids in any::<[u32; 4]>(),
        root in path(), mountpoint in path(), deleted in any::<bool>(),
        attributes in attributes(),
        groups in any::<[Option<u32>; 3]>(),
        bits in any::<[bool; 6]>(),
        fs_type in name(), source in prop::collection::vec(any::<u8>(), 0..8),
        options in prop::collection::vec((name(), prop::option::of(name())), 0..4),
    ) -> Entry {
        let [shared, master, propagate_from] = groups.map(|id| id.map(PeerGroupId));
        let [idmapped, unbindable, readonly, sync, dirsync, lazytime] = bits;
        let options = options.into_iter().map(|(key, value)| SuperOption { key, value }).collect();
        Entry {
            id: MountId(ids[0]), parent: MountId(ids[1]),
            device: Device { major: ids[2], minor: ids[3] },
            root: Root { path: root, deleted }, mountpoint, attributes, idmapped,
            shared, master, propagate_from, unbindable, unknown: Vec::new(),
            fs_type, source,
            flags: SuperblockFlags { readonly, sync, dirsync, lazytime }, options,
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn damaged_tables_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut table = TABLES[2].1.to_vec();
        let position = at.index(table.len());
        table[position] = byte;
        let _ = parse(&table);
        table.truncate(cut.index(table.len()));
        let _ = parse(&table);
    }

    #[test]
    fn parsing_what_was_formatted_gives_the_same(entries in prop::collection::vec(entry(), 0..6)) {
        let printed = format(&entries);
        prop_assert_eq!(parse(&printed).unwrap(), entries);
    }
}

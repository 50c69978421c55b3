//! The rules of the judge, on tables as text.

mod propagation;
mod tables;

use super::*;
use crux_image::mounts::{
    Contents, External, ExternalRole, FileKind, KernelFs, Master, NamespaceContext, Origin,
    OriginIndex, OwnFsType, Propagation, Queue, Wish,
};
use crux_mount::ids::MountId;
use crux_mount::mountinfo::{Entry, parse};

const HOST: &str = "1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/sda rw\n\
    2 1 0:2 / /proc rw shared:2 - proc proc rw\n\
    3 1 0:3 / /sys rw shared:3 - sysfs sysfs rw\n\
    4 1 0:4 / /dev rw shared:4 - devtmpfs udev rw\n\
    5 4 0:5 / /dev/pts rw - devpts devpts rw\n\
    6 1 8:2 / /srv rw shared:6 - xfs /dev/sdb rw\n";

/// A host without peer groups: the ids in the recorded tables are those of other kernels.
const PRIVATE_HOST: &str = "1 0 254:0 / / rw - ext4 /dev/vda rw\n";

fn table(text: &str) -> Vec<Entry> {
    parse(text.as_bytes()).unwrap()
}

fn file(name: &str) -> Vec<Entry> {
    let (own, recorded) = ("testdata", "../crux-mount/testdata");
    let folder = if name.ends_with("host") {
        own
    } else {
        recorded
    };
    let path = format!(
        "{}/{folder}/{name}-mountinfo.txt",
        env!("CARGO_MANIFEST_DIR")
    );
    parse(&std::fs::read(path).unwrap()).unwrap()
}

/// One container namespace for each table; the first line of each that has no parent is its root.
fn seen(tables: Vec<Vec<Entry>>, host: Vec<Entry>) -> Seen {
    let mut seen = Seen {
        host,
        ..Seen::default()
    };
    for (at, table) in tables.into_iter().enumerate() {
        for entry in &table {
            seen.roots.insert(entry.id, fact(entry));
        }
        let is_top = |entry: &&Entry| !table.iter().any(|other| other.id == entry.parent);
        let root = table
            .iter()
            .find(is_top)
            .map_or(MountId(0), |entry| entry.id);
        let (net, ipc) = (NamespaceId(7), NamespaceId(8));
        let pid = 100 + u32::try_from(at).unwrap();
        seen.container.push(SeenNamespace {
            pid,
            table,
            root,
            unreached: 0,
            owner: None,
            net,
            ipc,
        });
    }
    seen
}

fn fact(entry: &Entry) -> RootFact {
    let name = entry.root.path.rsplit(|&b| b == b'/').next().unwrap();
    let kind = match (&entry.fs_type[..], name) {
        (b"devpts", b"0" | b"1" | b"2" | b"3" | b"4" | b"ptmx") => FileKind::CharDevice {
            major: 136,
            minor: 0,
        },
        _ if entry.mountpoint.ends_with(b"file") => FileKind::Regular,
        _ => FileKind::Directory,
    };
    let inode = 1000 + u64::from(entry.id.0);
    RootFact {
        kind,
        inode,
        uid: 0,
        gid: 5,
        mode: 0o620,
        fill: Fill::Empty,
    }
}

fn auto() -> Policy {
    Policy {
        undeclared: Undeclared::NameAfterMountpoint,
        ..Policy::default()
    }
}

fn one(text: &str) -> Seen {
    seen(vec![table(text)], table(HOST))
}

fn judged(text: &str) -> Judged {
    judge(&one(text), &auto()).unwrap()
}

fn causes(seen: &Seen, policy: &Policy) -> Vec<Cause> {
    judge(seen, policy)
        .unwrap_err()
        .into_iter()
        .map(|obstacle| obstacle.cause)
        .collect()
}

fn external(origin: &Origin) -> &External {
    match origin {
        Origin::External(external) => external,
        Origin::Own(own) => panic!("{own:?} is no external origin"),
    }
}

fn wish(origin: &Origin) -> Option<String> {
    match external(origin).wish.as_ref()? {
        Wish::Path(path) => Some(path.to_string()),
        Wish::Kernel { fs, .. } => Some(format!("kernel {}", fs.name())),
    }
}

fn own_types(judged: &Judged) -> Vec<OwnFsType> {
    let own = judged
        .mounts
        .origins
        .iter()
        .filter_map(|origin| match origin {
            Origin::Own(own) => Some(own.fs_type),
            Origin::External(_) => None,
        });
    own.collect()
}

const ROOT: &str = "10 9 8:1 /ct / rw,relatime - ext4 /dev/sda rw\n";

#[test]
fn sysfs_is_that_of_its_net_namespace() {
    let judged = judge(
        &seen(vec![file("debian12-systemd")], table(PRIVATE_HOST)),
        &auto(),
    )
    .unwrap();
    let contexts: Vec<_> = judged
        .mounts
        .origins
        .iter()
        .filter_map(|origin| match origin {
            Origin::Own(own) if own.fs_type == OwnFsType::Sysfs => Some(own.context),
            _ => None,
        })
        .collect();
    assert_eq!(contexts.len(), 2);
    assert!(
        contexts
            .iter()
            .all(|context| matches!(context, NamespaceContext::Own(_)))
    );

    let text = format!("{ROOT}11 10 0:3 /net /sys rw - sysfs sysfs rw\n");
    let Origin::Own(own) = &judged_origin(&text, 1) else {
        panic!("the host's sysfs is found by the kernel")
    };
    assert_eq!(own.context, NamespaceContext::Caller);
}

#[test]
fn the_first_namespace_of_each_kind_has_number_0() {
    let text = format!(
        "{ROOT}11 10 0:70 / /mq rw - mqueue mqueue rw\n12 10 0:71 / /sys rw - sysfs sysfs rw\n"
    );
    for at in [1, 2] {
        let Origin::Own(own) = judged_origin(&text, at) else {
            panic!("external")
        };
        assert_eq!(own.context, NamespaceContext::Own(0), "{:?}", own.fs_type);
    }
}

fn judged_origin(text: &str, at: usize) -> Origin {
    judged(text).mounts.origins.swap_remove(at)
}

#[test]
fn stacks_are_chains_and_parents_come_first() {
    let text = "12 11 0:12 / / rw - tmpfs b rw\n11 10 0:11 / / rw - tmpfs a rw\n\
        13 12 0:13 / /x rw - tmpfs c rw\n10 9 8:1 /ct / rw - ext4 /dev/sda rw\n";
    let judged = judged(text);
    let placed: Vec<_> = judged.mounts.namespaces[0]
        .mounts
        .iter()
        .map(|m| (m.parent.map(|p| p.0), m.mountpoint.to_string()))
        .collect();
    let expected = [(None, "/"), (Some(0), "/"), (Some(1), "/"), (Some(2), "/x")];
    assert_eq!(placed, expected.map(|(parent, at)| (parent, at.to_owned())));
}

#[test]
fn the_root_is_the_mount_that_the_task_is_in() {
    let text = "10 9 8:1 /ct / rw - ext4 /dev/sda rw\n11 10 0:11 / / rw - tmpfs a rw\n";
    let mut seen = one(text);
    seen.container[0].root = MountId(11);
    assert_eq!(
        judge(&seen, &auto()).unwrap().mounts.namespaces[0].root.0,
        1
    );
    seen.container[0].root = MountId(12);
    assert_eq!(causes(&seen, &auto()), [Cause::Chrooted(100)]);
}

#[test]
fn tables_that_are_no_trees_are_refused() {
    for text in [
        "",
        "10 9 8:1 / / rw - ext4 x rw\n11 9 8:1 / /a rw - ext4 x rw\n",
        "10 9 8:1 / / rw - ext4 x rw\n10 9 8:1 / / rw - ext4 x rw\n",
        "10 9 8:1 / / rw - ext4 x rw\n11 12 8:1 / /a rw - ext4 x rw\n12 11 8:1 / /a rw - ext4 x rw\n",
        "10 9 8:1 / /a rw - ext4 x rw\n11 10 8:1 / /b rw - ext4 x rw\n",
        "10 9 8:1 / / rw - ext4 x rw\n11 10 8:1 / /../b rw - ext4 x rw\n",
        "10 9 8:1 / / rw - ext4 x rw\n11 10 8:1 / /b rw - ext4 x rw\n12 10 8:1 / /b rw - ext4 x rw\n",
    ] {
        assert!(
            matches!(causes(&one(text), &auto())[..], [Cause::NoTree { .. }]),
            "{text}"
        );
    }
}

#[test]
fn an_own_superblock_is_one_origin_wherever_it_is_mounted() {
    let first = format!("{ROOT}11 10 0:11 /a /x rw - tmpfs t rw,size=4k\n");
    let second = "20 19 8:1 /ct / rw - ext4 /dev/sda rw\n21 20 0:11 / /y rw - tmpfs t rw,size=4k\n";
    let judged = judge(
        &seen(vec![table(&first), table(second)], table(HOST)),
        &auto(),
    )
    .unwrap();
    assert_eq!(own_types(&judged), [OwnFsType::Tmpfs]);
    assert_eq!(judged.mounts.namespaces[0].mounts[1].root.to_string(), "/a");
    assert_eq!(judged.contents.len(), 1);
    let views = &judged.contents[0].views;
    assert_eq!(
        views.len(),
        1,
        "the wider mount shows the narrower one's files too"
    );
    assert_eq!(
        views[0].mounts,
        [SeenMount {
            namespace: 1,
            id: MountId(21)
        }]
    );
    // The second namespace's root shows what the first one's does.
    assert_eq!(judged.mounts.namespaces[1].mounts[0].origin, OriginIndex(0));
}

#[test]
fn disjoint_parts_of_a_tmpfs_are_collected_each() {
    let judged = judged(&format!(
        "{ROOT}11 10 0:11 /a /x rw - tmpfs t rw\n12 10 0:11 /b/c /y rw - tmpfs t rw\n\
         13 10 0:11 /b/c/d /z rw - tmpfs t rw\n"
    ));
    let roots: Vec<_> = judged.contents[0]
        .views
        .iter()
        .map(|view| view.root.to_string())
        .collect();
    assert_eq!(roots, ["/a", "/b/c"]);
}

#[test]
fn a_tmpfs_that_is_seen_outside_is_external() {
    let host = format!("{HOST}7 1 0:7 / /run rw - tmpfs run rw\n");
    let container = format!("{ROOT}11 10 0:7 /lock /run rw - tmpfs run rw\n");
    let judged = judge(&seen(vec![table(&container)], table(&host)), &auto()).unwrap();
    assert_eq!(wish(&judged.mounts.origins[1]).unwrap(), "/run/lock");

    let mut foreign = one(&container);
    foreign.foreign.push(ForeignTable {
        pid: 5,
        table: table("30 29 0:7 / / rw - tmpfs run rw\n"),
    });
    let judged = judge(&foreign, &auto()).unwrap();
    assert_eq!(wish(&judged.mounts.origins[1]), None);
}

#[test]
fn narrower_external_mounts_are_taken_from_the_widest() {
    let judged = judged(&format!(
        "{ROOT}11 10 8:1 /ct/usr/lib /lib rw - ext4 /dev/sda rw\n\
         12 10 8:2 /data/deep /a rw - xfs /dev/sdb rw\n13 10 8:2 /data /b rw - xfs /dev/sdb rw\n\
         14 10 8:2 /database /c rw - xfs /dev/sdb rw\n"
    ));
    let mounts = &judged.mounts.namespaces[0].mounts;
    let taken: Vec<_> = mounts
        .iter()
        .map(|m| (m.origin.0, m.root.to_string()))
        .collect();
    let expected = [(0, "/"), (0, "/usr/lib"), (1, "/deep"), (1, "/"), (2, "/")];
    assert_eq!(
        taken,
        expected.map(|(origin, root)| (origin, root.to_owned()))
    );
    assert_eq!(wish(&judged.mounts.origins[1]).unwrap(), "/srv/data");
    assert_eq!(external(&judged.mounts.origins[1]).name, "/b");
}

#[test]
fn a_declared_mount_has_a_source_of_its_own() {
    let text = format!(
        "{ROOT}11 10 8:1 /ct/usr/lib /lib rw - ext4 /dev/sda rw\n12 10 0:11 / /t rw - tmpfs t rw\n"
    );
    let mut policy = Policy::default();
    policy.external(b"lib=/lib").unwrap();
    policy.external(b"scratch=/t").unwrap();
    let judged = judge(&one(&text), &policy).unwrap();
    let names: Vec<_> = judged
        .mounts
        .origins
        .iter()
        .map(|o| external(o).name.as_str())
        .collect();
    assert_eq!(names, ["root", "lib", "scratch"]);
    assert!(judged.contents.is_empty());

    policy.external(b"nothing=/nowhere").unwrap();
    assert!(matches!(
        causes(&one(&text), &policy)[..],
        [Cause::NothingToDeclare { .. }]
    ));
}

#[test]
fn kernel_file_systems_without_a_path_are_mounted() {
    let judged = judged(&format!(
        "{ROOT}11 10 0:50 / /sys/fs/pstore rw - pstore pstore rw\n\
         12 10 0:51 / /cg rw - cgroup cgroup rw,name=systemd,release_agent=/x\n\
         13 10 0:52 /part /cg2 rw - cgroup2 cgroup2 rw\n"
    ));
    let wishes: Vec<_> = judged.mounts.origins[1..].iter().map(wish).collect();
    assert_eq!(
        wishes,
        [
            Some("kernel pstore".into()),
            Some("kernel cgroup".into()),
            None
        ]
    );
    let Some(Wish::Kernel {
        fs: KernelFs::Cgroup,
        options,
    }) = &external(&judged.mounts.origins[2]).wish
    else {
        panic!("a hierarchy of cgroup v1 is found by its options");
    };
    assert_eq!(options.len(), 1);
}

#[test]
fn what_is_unknown_is_refused_by_name() {
    let text = format!(
        "{ROOT}11 10 0:11 / /a rw,future - tmpfs t rw,odd=1,usrquota,seclabel\n12 10 0:12 / /b rw new:7 - weird w rw\n\
         13 10 0:13 / /c rw,idmapped - tmpfs t rw\n14 10 0:14 /12/ns /d rw - proc p rw\n\
         15 10 0:15 / /e rw - autofs a rw\n16 10 0:16 /x /f rw - devpts d rw\n"
    );
    let found: Vec<String> = judge(&one(&text), &auto())
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect();
    for part in [
        "/a (tmpfs, process 100): nothing is known of its attribute \"future\"",
        "/a (tmpfs, process 100): nothing is known of its option \"odd\"",
        "its option \"usrquota\" cannot be restored",
        "/b (weird, process 100): nothing is known of its field \"new:7\" in mountinfo",
        "/b (weird, process 100): nothing is known of this type",
        "/c (tmpfs, process 100): it is id-mapped",
        "/d (proc, process 100): it shows a task's directory",
        "/e (autofs, process 100): this type of file system cannot be restored",
        "/f (devpts, process 100): it shows \"/x\" of a devpts",
    ] {
        assert!(
            found.iter().any(|line| line.contains(part)),
            "{part} is not in {found:#?}"
        );
    }
    assert_eq!(found.len(), 9, "{found:#?}");
}

#[test]
fn deleted_roots_are_made_up_inside_and_refused_from_outside() {
    let text = format!(
        "{ROOT}11 10 0:11 / /a rw - tmpfs t rw\n12 10 0:11 /f//deleted /file rw - tmpfs t rw\n\
         13 10 0:11 /f//deleted /other/file rw - tmpfs t rw\n"
    );
    let mut seen = one(&text);
    seen.roots.get_mut(&MountId(13)).unwrap().inode = 1012;
    let judged = judge(&seen, &auto()).unwrap();
    let mounts = &judged.mounts.namespaces[0].mounts;
    assert!(mounts[2].deleted && mounts[2].root == mounts[3].root);
    assert_eq!(judged.contents[0].orphans.len(), 1);
    assert_eq!(judged.contents[0].orphans[0].mounts.len(), 2);

    let text = format!("{ROOT}11 10 8:1 /ct/f//deleted /file rw - ext4 /dev/sda rw\n");
    assert!(matches!(
        causes(&one(&text), &auto())[..],
        [Cause::DeletedSource { .. }]
    ));
    let mut policy = Policy::default();
    policy.external(b"f=/file").unwrap();
    assert!(judge(&one(&text), &policy).is_ok());
}

#[test]
fn file_systems_that_must_be_empty_are_looked_into() {
    let text =
        format!("{ROOT}11 10 0:11 / /a rw - mqueue m rw\n12 10 0:12 / /b rw - bpf b rw,mode=700\n");
    let mut seen = one(&text);
    assert_eq!(
        own_types(&judge(&seen, &auto()).unwrap()),
        [OwnFsType::Mqueue, OwnFsType::Bpf]
    );
    seen.roots.get_mut(&MountId(12)).unwrap().fill = Fill::Filled;
    assert_eq!(causes(&seen, &auto()).len(), 1);
    let mut queue = SeenQueue {
        queue: Queue {
            name: b"q".to_vec(),
            uid: 0,
            gid: 0,
            mode: 0o600,
            messages: 10,
            length: 8192,
        },
        waiting: 0,
    };
    let device = seen.container[0].table[1].device;
    seen.queues.insert(device, vec![queue.clone()]);
    assert_eq!(causes(&seen, &auto()).len(), 1);
    queue.waiting = 3;
    seen.queues.insert(device, vec![queue]);
    assert_eq!(causes(&seen, &auto()).len(), 2);
    // Queues of an ipc namespace that is the dumper's own stay where they are.
    seen.host_ipc = NamespaceId(8);
    assert_eq!(causes(&seen, &auto()).len(), 1);
}

#[test]
fn roots_that_are_no_paths_are_sources_of_their_own() {
    let host = format!("{HOST}7 1 0:4 net:[4026531840] /run/netns/a rw - nsfs nsfs rw\n");
    let container = format!(
        "{ROOT}11 10 0:4 net:[4026531840] /a/file rw - nsfs nsfs rw\n12 10 0:4 net:[4026531841] /b/file rw - nsfs nsfs rw\n\
         13 10 0:60 /../other /cg rw - cgroup2 cgroup2 rw\n"
    );
    let judged = judge(&seen(vec![table(&container)], table(&host)), &auto()).unwrap();
    let wishes: Vec<_> = judged.mounts.origins[1..].iter().map(wish).collect();
    assert_eq!(wishes, [Some("/run/netns/a".to_owned()), None, None]);
}

#[test]
fn wishes_are_checked_against_the_inode_that_the_container_sees() {
    let judged = judged(ROOT);
    let expected = ("/ct".to_owned(), Some(1010));
    assert_eq!(
        (judged.wishes[0].path.to_string(), judged.wishes[0].inode),
        expected
    );
}

/// Time is not asserted; the test ends at once or, if anything is quadratic, does not.
#[test]
fn fifty_thousand_mounts_are_judged_at_once() {
    use std::fmt::Write as _;
    let mut text = ROOT.to_owned();
    for n in 0..50_000u32 {
        let id = 100 + n;
        let (device, fs, fields) = match n % 4 {
            0 => (1000 + n, "tmpfs", format!("shared:{}", 1000 + n)),
            1 => (999 + n, "tmpfs", format!("shared:{}", 999 + n)),
            2 => (998 + n, "tmpfs", format!("master:{}", 998 + n)),
            _ => (2, "xfs", String::new()),
        };
        let major = if fs == "xfs" { 8 } else { 0 };
        let root = if fs == "xfs" {
            format!("/d{n}")
        } else {
            "/".to_owned()
        };
        let space = if fields.is_empty() { "" } else { " " };
        let _ = writeln!(
            text,
            "{id} 10 {major}:{device} {root} /m{n} rw{space}{fields} - {fs} x rw"
        );
    }
    let judged = judged(&text);
    assert_eq!(judged.mounts.namespaces[0].mounts.len(), 50_001);
}

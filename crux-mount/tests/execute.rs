//! Plans on the real kernel. Each test makes mount namespaces of its own.

use crux_image::mounts::{
    Contents, FileKind, GroupIndex, GroupLink, Master, Mount, MountAttributes, MountIndex, Mounts,
    Namespace, NamespaceContext, Origin, OriginIndex, OwnFileSystem, OwnFsType, PeerGroup,
    Propagation, SuperblockFlags,
};
use crux_image::path::RelPath;
use crux_mount::exec::{Pinning, Setup, execute};
use crux_mount::mountinfo;
use crux_mount::plan::plan;
use crux_mount::verify::verify;
use rustix::fs::{Mode, mkdirat};
use std::io::Read;
use std::os::fd::BorrowedFd;

fn own(fs_type: OwnFsType, source: &str) -> Origin {
    Origin::Own(OwnFileSystem {
        fs_type,
        source: source.into(),
        flags: SuperblockFlags::default(),
        options: Vec::new(),
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

fn rebuild(mounts: &Mounts) {
    let plan = plan(mounts).unwrap();
    println!("{plan}");
    let mut fill = |own: &OwnFileSystem, root: BorrowedFd<'_>| {
        if own.fs_type == OwnFsType::Tmpfs {
            for name in ["a", "b", "c", "proc", "a/b"] {
                mkdirat(root, name, Mode::RWXU).map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    };
    let setup = Setup {
        mounts,
        sources: Vec::new(),
        outside: Vec::new(),
        pinning: Pinning::NotWanted,
        descriptors: 1024,
        born: Default::default(),
        without_setgroups: Vec::new(),
        fill: &mut fill,
    };
    let built = execute(&plan, setup).unwrap_or_else(|error| panic!("{error}"));
    let tables: Vec<_> = built
        .namespaces
        .into_iter()
        .map(|namespace| {
            let mut text = Vec::new();
            std::fs::File::from(namespace.table)
                .read_to_end(&mut text)
                .unwrap();
            println!("{}", String::from_utf8_lossy(&text));
            mountinfo::parse(&text).unwrap()
        })
        .collect();
    if let Err(differences) = verify(mounts, &[], &tables) {
        panic!("{differences:#?}");
    }
}

#[test]
fn root_groups_stacks_and_subtrees_are_rebuilt() {
    let (g0, g1, g2) = (GroupIndex(0), GroupIndex(1), GroupIndex(2));
    let mounts = Mounts {
        user_namespaces: Vec::new(),
        namespaces: vec![
            Namespace {
                owner: None,
                root: MountIndex(0),
                mounts: vec![
                    mount(None, "", 0, "", Propagation::Shared(g0)),
                    mount(Some(0), "proc", 1, "", Propagation::Private),
                    mount(Some(1), "sys", 1, "sys", Propagation::Unbindable),
                    mount(Some(0), "a", 2, "a", Propagation::Shared(g1)),
                    mount(Some(0), "a/b", 2, "b", Propagation::Shared(g1)),
                    mount(Some(0), "b", 2, "c", Propagation::Slave(Master::Group(g1))),
                    mount(Some(5), "", 2, "", Propagation::Private),
                    mount(Some(6), "c", 0, "c", Propagation::Shared(g2)),
                ],
            },
            Namespace {
                owner: None,
                root: MountIndex(0),
                mounts: vec![
                    mount(None, "", 0, "", Propagation::Shared(g0)),
                    mount(Some(0), "a", 0, "b", Propagation::Shared(g2)),
                ],
            },
        ],
        origins: vec![
            own(OwnFsType::Tmpfs, "none"),
            own(OwnFsType::Proc, "proc"),
            own(OwnFsType::Tmpfs, ""),
        ],
        groups: vec![
            PeerGroup {
                link: GroupLink::None,
            },
            PeerGroup {
                link: GroupLink::None,
            },
            PeerGroup {
                link: GroupLink::SlaveOf(Master::Group(g0)),
            },
        ],
    };
    rebuild(&mounts);
}

//! A container of two namespaces with peers, slaves and a user namespace: a
//! value of nearly every recorded type.
//!
//! Kind: pure. Shared by the tests and by the example that makes golden images.

use super::vivid::Table;
use crux_image::mounts::{
    Atime, Contents, ExternalRole, FileKind, GroupIndex, GroupLink, IdMap, IdRange, Lock, Master,
    Mount, MountIndex, Mounts, Namespace, NamespaceContext, Origin, OriginIndex, OwnFsType,
    PeerGroup, Propagation, Queue, Terminal, UserNamespace, UserNsIndex,
};
use crux_image::path::{HostPath, RelPath};

/// Two namespaces, five groups, chains of three, hostile names.
pub(crate) fn mounts() -> Mounts {
    let mut table = Table::default();
    let root = table.external("root", ExternalRole::Root, "ext4", Some("/srv/c1"));
    let tmp = table.own(
        OwnFsType::Tmpfs,
        "a \x1b[31mred\n name",
        "size=1g,huge=never",
    );
    let pts = table.own(OwnFsType::Devpts, "", "mode=620");
    let media = table.external("/media", ExternalRole::Bind, "ext4", Some("/media"));
    let top = table.mount(None, "", root, "", "rw");
    let tmp_a = table.mount(Some(top), "tmp", tmp, "", "rw,nosuid");
    table.mount(Some(top), "mnt/peer <&> \"one\"", tmp, "", "rw");
    table.mount(Some(top), "mnt/peer\\two\u{e9}", tmp, "sub", "ro");
    table.mount(Some(top), "mnt/slave", tmp, "", "rw");
    table.mount(Some(top), "mnt/slave of slave", tmp, "", "rw");
    table.mount(Some(top), "media", media, "", "rw");
    table.mount(Some(top), "host", media, "x", "rw");
    table.mount(Some(top), "dev/pts", pts, "", "rw,noexec");
    table.mount(Some(top), "bound", tmp, "gone", "rw");
    let over = table.mount(Some(tmp_a), "", pts, "", "rw");
    let mut mounts = table.finish();
    mounts.user_namespaces = vec![user_namespace(None), user_namespace(Some(UserNsIndex(0)))];
    mounts.groups = [
        GroupLink::None,
        GroupLink::SlaveOf(Master::Group(GroupIndex(0))),
        GroupLink::PeerOfOutside(media),
        GroupLink::SlaveOf(Master::Outside(media)),
    ]
    .map(|link| PeerGroup { link })
    .to_vec();
    let of = |mounts: &mut Mounts, at: u32, propagation| {
        mounts.namespaces[0].mounts[at as usize].propagation = propagation;
    };
    let (tmp_group, slaves) = (GroupIndex(0), GroupIndex(1));
    for at in [1, 2, 3] {
        of(&mut mounts, at, Propagation::Shared(tmp_group));
    }
    of(&mut mounts, 4, Propagation::Shared(slaves));
    of(&mut mounts, 5, Propagation::Slave(Master::Group(slaves)));
    of(&mut mounts, 6, Propagation::Shared(GroupIndex(2)));
    of(&mut mounts, 7, Propagation::Shared(GroupIndex(3)));
    of(&mut mounts, over.0, Propagation::Unbindable);
    decorate(&mut mounts, tmp, pts);
    mounts.namespaces.push(private_tmp(tmp));
    mounts
}

fn user_namespace(parent: Option<UserNsIndex>) -> UserNamespace {
    let map = |outside| {
        vec![IdRange {
            inside: 0,
            outside,
            count: 65_536,
        }]
    };
    let outside = if parent.is_some() { 0 } else { 100_000 };
    UserNamespace {
        parent,
        uid_map: map(outside),
        gid_map: map(outside),
    }
}

fn decorate(mounts: &mut Mounts, tmp: OriginIndex, pts: OriginIndex) {
    if let Origin::Own(own) = &mut mounts.origins[tmp.at()] {
        own.user = Some(UserNsIndex(0));
        own.flags.lazytime = true;
    }
    if let Origin::Own(own) = &mut mounts.origins[pts.at()] {
        own.contents = Contents::Terminals(vec![Terminal {
            number: 0,
            uid: 0,
            gid: 5,
            mode: 0o620,
        }]);
        own.context = NamespaceContext::Own(7);
    }
    if let Origin::External(external) = &mut mounts.origins[3] {
        external.group_wish = Some(HostPath::new(b"/media").unwrap());
    }
    let bound = &mut mounts.namespaces[0].mounts[9];
    bound.deleted = true;
    bound.kind = FileKind::Regular;
    bound.attributes.atime = Atime::Noatime;
    bound.attributes.nosymfollow = true;
    let map = vec![IdRange {
        inside: 0,
        outside: 1000,
        count: 1,
    }];
    mounts.namespaces[0].mounts[4].attributes.idmap = Some(IdMap {
        uids: map.clone(),
        gids: map,
    });
}

/// The same with what version 1 of the format had no words for.
pub(crate) fn locked() -> Mounts {
    let mut mounts = mounts();
    let locks = [Lock::Flags, Lock::Lost, Lock::Place, Lock::Free];
    for (mount, lock) in mounts.namespaces[1].mounts.iter_mut().zip(locks) {
        mount.lock = lock;
    }
    mounts.namespaces[0].mounts[9].former = Some(RelPath::new("was/here").unwrap());
    let mut queues = mounts.origins[2].clone();
    if let Origin::Own(own) = &mut queues {
        own.fs_type = OwnFsType::Mqueue;
        own.options.clear();
        own.contents = Contents::Queues(vec![Queue {
            name: b"a queue".to_vec(),
            uid: 1,
            gid: 2,
            mode: 0o640,
            messages: 10,
            length: 8192,
        }]);
    }
    let mqueue = OriginIndex::from(mounts.origins.len());
    mounts.origins.push(queues);
    let mut mount = mounts.namespaces[0].mounts[8].clone();
    mount.mountpoint = RelPath::new("dev/mqueue").unwrap();
    mount.origin = mqueue;
    mounts.namespaces[0].mounts.push(mount);
    mounts
}

/// Like systemd's PrivateTmp: a copy of the tree, its /tmp a slave.
fn private_tmp(tmp: OriginIndex) -> Namespace {
    let mount = |parent: Option<u32>, at: &str, origin, propagation| Mount {
        parent: parent.map(MountIndex),
        mountpoint: RelPath::new(at).unwrap(),
        origin,
        root: RelPath::root(),
        deleted: false,
        former: None,
        lock: Lock::Free,
        kind: FileKind::Directory,
        attributes: Default::default(),
        propagation,
    };
    let mounts = vec![
        mount(None, "", OriginIndex(0), Propagation::Private),
        mount(Some(0), "", OriginIndex(0), Propagation::Private),
        mount(
            Some(1),
            "tmp",
            tmp,
            Propagation::Slave(Master::Group(GroupIndex(0))),
        ),
        mount(Some(1), "mnt", tmp, Propagation::Shared(GroupIndex(0))),
    ];
    Namespace {
        owner: Some(UserNsIndex(1)),
        mounts,
        root: MountIndex(1),
    }
}

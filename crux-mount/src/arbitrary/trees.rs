//! Random trees of mounts, without propagation.
//!
//! Kind: pure; for tests only.

use super::{
    ATTRIBUTES, DELETED, IDMAP, LOCK, MOUNTPOINT, Numbers, ORIGIN, PARENT, ROOT, files, ids,
    origins,
};
use crate::plan::settle_locks;
use crux_image::mounts::{
    Atime, FileKind, IdMap, Lock, Mount, MountAttributes, MountIndex, Namespace, Origin,
    OriginIndex, Propagation, UserNsIndex,
};
use crux_image::path::RelPath;

/// A namespace, and the numbers that each of its mounts was made from.
pub(super) struct Tree {
    pub(super) namespace: Namespace,
    pub(super) numbers: Vec<Numbers>,
}

pub(super) fn make(origins: &[Origin], namespaces: &[(u16, Vec<Numbers>)]) -> Vec<Tree> {
    namespaces
        .iter()
        .map(|(how, numbers)| tree(origins, usize::from(*how), numbers))
        .collect()
}

fn tree(origins: &[Origin], how: usize, numbers: &[Numbers]) -> Tree {
    let mut mounts: Vec<Mount> = Vec::new();
    let mut kept = Vec::new();
    for numbers in numbers {
        let mut mount = unattached(
            origins,
            numbers,
            if mounts.is_empty() {
                Only::Directory
            } else {
                Only::Any
            },
        );
        if !mounts.is_empty() {
            let Some((parent, at)) = place(origins, &mounts, &mount, numbers) else {
                continue;
            };
            (mount.parent, mount.mountpoint) = (Some(parent), at);
        }
        mounts.push(mount);
        kept.push(*numbers);
    }
    let root = match how % 2 {
        0 => MountIndex(0),
        _ => top_of_root(&mounts),
    };
    let owner = (how % 3 == 2).then_some(UserNsIndex(0));
    let mut namespace = Namespace {
        owner,
        mounts,
        root,
    };
    if owner.is_some() {
        lock(&mut namespace, &kept);
    }
    Tree {
        namespace,
        numbers: kept,
    }
}

fn lock(namespace: &mut Namespace, numbers: &[Numbers]) {
    for (mount, numbers) in namespace.mounts.iter_mut().zip(numbers) {
        mount.lock = match numbers.choose(LOCK, 4) {
            0 => Lock::Free,
            1 => Lock::Flags,
            _ if mount.parent.is_none() => Lock::Flags,
            _ => Lock::Place,
        };
    }
    settle_locks(namespace);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Only {
    Any,
    Directory,
}

fn unattached(origins: &[Origin], numbers: &Numbers, only: Only) -> Mount {
    let mut origin = OriginIndex::from(numbers.choose(ORIGIN, origins.len()));
    if only == Only::Directory && !files::of(&origins[origin.at()])[0].1.is_directory() {
        origin = OriginIndex(0);
    }
    let source = &origins[origin.at()];
    // The first mount shows no removed directory: nothing could be mounted in one.
    let deleted =
        only == Only::Any && numbers.choose(DELETED, 6) == 5 && origins::can_lose_files(source);
    let mut files = if deleted {
        files::gone()
    } else {
        files::of(source)
    };
    files.retain(|(_, kind)| only == Only::Any || kind.is_directory());
    let (root, kind) = files.swap_remove(numbers.choose(ROOT, files.len()));
    let former = files::former(&root).filter(|_| deleted);
    Mount {
        parent: None,
        mountpoint: RelPath::root(),
        origin,
        root,
        deleted,
        former,
        lock: Lock::Free,
        kind,
        attributes: attributes(source, numbers),
        propagation: Propagation::Private,
    }
}

fn attributes(origin: &Origin, numbers: &Numbers) -> MountAttributes {
    let bits = numbers.choose(ATTRIBUTES, 192);
    let mapped = numbers.choose(IDMAP, 8) == 7 && origins::can_be_mapped(origin);
    MountAttributes {
        readonly: bits & 1 != 0,
        nosuid: bits & 2 != 0,
        nodev: bits & 4 != 0,
        noexec: bits & 8 != 0,
        nosymfollow: bits & 16 != 0,
        nodiratime: bits & 32 != 0,
        atime: [Atime::Relatime, Atime::Noatime, Atime::Strict][bits / 64],
        idmap: mapped.then(|| IdMap {
            uids: vec![ids()],
            gids: vec![ids()],
        }),
    }
}

/// A free mountpoint of the right kind: on the chosen parent, or the next that has one.
fn place(
    origins: &[Origin],
    mounts: &[Mount],
    mount: &Mount,
    numbers: &Numbers,
) -> Option<(MountIndex, RelPath)> {
    let first = numbers.choose(PARENT, mounts.len());
    (first..mounts.len()).chain(0..first).find_map(|parent| {
        let mut free = mountpoints(origins, &mounts[parent]);
        free.retain(|(at, kind)| {
            let taken = |m: &Mount| m.parent == Some(parent.into()) && m.mountpoint == *at;
            kind.is_directory() == mount.kind.is_directory() && !mounts.iter().any(taken)
        });
        let chosen = numbers.choose(MOUNTPOINT, free.len());
        (!free.is_empty()).then(|| (parent.into(), free.swap_remove(chosen).0))
    })
}

/// What can be mounted on in a mount; nothing where its root was removed.
fn mountpoints(origins: &[Origin], parent: &Mount) -> Vec<(RelPath, FileKind)> {
    if parent.deleted {
        return vec![];
    }
    let files = files::of(&origins[parent.origin.at()]).into_iter();
    files
        .filter_map(|(path, kind)| Some((path.strip_prefix(&parent.root)?, kind)))
        .collect()
}

fn top_of_root(mounts: &[Mount]) -> MountIndex {
    let mut top = MountIndex(0);
    for (at, mount) in mounts.iter().enumerate() {
        if mount.parent == Some(top) && mount.mountpoint.is_root() {
            top = at.into();
        }
    }
    top
}

//! What an image says of a container's mount namespaces.
//!
//! Kind: pure. These are the *recorded* types: plain data, decoded from a file
//! that may be hostile. Indexes may point nowhere and trees may have cycles
//! until [`Mounts::check`] has passed, which `ImageReader::mounts` runs on
//! everything it hands out; nothing may act on a record before.

mod attributes;
mod check;
mod filesystem;
mod lock;
mod version_1;

pub use attributes::{Atime, FileKind, IdMap, IdRange, MountAttributes, SuperblockFlags};
pub use check::{MountsError, Place, Rule};
pub use filesystem::{
    Contents, External, ExternalRole, FsOption, KernelFs, NamespaceContext, Origin, OwnFileSystem,
    OwnFsType, Queue, Terminal, Wish,
};
pub use lock::Lock;
pub(crate) use version_1::MountsVersion1;

use crate::path::RelPath;
use serde::{Deserialize, Serialize};

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u32);

        impl $name {
            /// The position in its table.
            pub fn at(self) -> usize {
                self.0 as usize
            }
        }

        impl From<usize> for $name {
            /// Tables are bounded far below `u32::MAX` when they are made and when they are read.
            fn from(at: usize) -> Self {
                Self(u32::try_from(at).expect("a table of fewer than 2^32 entries"))
            }
        }
    };
}
pub(crate) use index;

index!(
    /// A position in [`Mounts::user_namespaces`].
    UserNsIndex
);
index!(
    /// A position in [`Mounts::namespaces`].
    NamespaceIndex
);
index!(
    /// A position in [`Namespace::mounts`] of one namespace.
    MountIndex
);
index!(
    /// A position in [`Mounts::origins`].
    OriginIndex
);
index!(
    /// A position in [`Mounts::groups`].
    GroupIndex
);

/// Everything about the mount namespaces of one container. The first namespace
/// is that of the process that was named to `crux-dump`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mounts {
    /// User namespaces that own something below, parents before children.
    pub user_namespaces: Vec<UserNamespace>,
    /// The mount namespaces, the container's own first.
    pub namespaces: Vec<Namespace>,
    /// Where the file systems come from.
    pub origins: Vec<Origin>,
    /// Peer groups with a member in this container.
    pub groups: Vec<PeerGroup>,
}

impl Mounts {
    /// Every mount of every namespace, with where it stands.
    pub fn every_mount(&self) -> impl Iterator<Item = (NamespaceIndex, MountIndex, &Mount)> {
        let namespaces = self.namespaces.iter().enumerate();
        namespaces.flat_map(|(ns, namespace)| {
            let mounts = namespace.mounts.iter().enumerate();
            mounts.map(move |(at, mount)| (ns.into(), at.into(), mount))
        })
    }
}

impl Namespace {
    /// Where a mount is, as seen from the first mount's root. For a record that was checked.
    pub fn path_of(&self, mount: MountIndex) -> RelPath {
        let mut parts = Vec::new();
        let mut at = Some(mount);
        while let Some(mount) = at {
            parts.push(&self.mounts[mount.at()].mountpoint);
            at = self.mounts[mount.at()].parent;
        }
        let parts = parts.into_iter().rev();
        parts.fold(RelPath::root(), |path, part| path.join(part))
    }
}

/// A user namespace (user_namespaces(7)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserNamespace {
    /// The parent; `None` if that is the namespace of whoever restores.
    pub parent: Option<UserNsIndex>,
    /// `/proc/PID/uid_map`, as seen from the parent.
    pub uid_map: Vec<IdRange>,
    /// `/proc/PID/gid_map`, as seen from the parent.
    pub gid_map: Vec<IdRange>,
}

/// A mount namespace (mount_namespaces(7)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// The user namespace that owns it; `None` if that is the one of whoever restores.
    pub owner: Option<UserNsIndex>,
    /// The mounts. A parent stands before its children; the first has none.
    pub mounts: Vec<Mount>,
    /// The mount whose root is the root directory of the namespace's tasks.
    /// It is the first mount, or one stacked on it.
    pub root: MountIndex,
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The mount it is attached to; `None` for the first of a namespace.
    pub parent: Option<MountIndex>,
    /// Where on the parent, relative to the *root of the parent mount*: the empty
    /// path is that root itself (a stack). (parent, mountpoint) is unique.
    pub mountpoint: RelPath,
    /// The file system it shows.
    pub origin: OriginIndex,
    /// Which part of it, relative to the root of the *origin*: of the file system
    /// where the origin is the container's own, of the granted source where it is external.
    pub root: RelPath,
    /// The root was unlinked after it was mounted (mountinfo: `//deleted`). Then
    /// `root` is a name that the restore makes and unlinks again.
    pub deleted: bool,
    /// The name that a deleted root had, relative to the root of the file system: mountinfo goes
    /// on showing it. Without one the name is left as the restore makes it.
    pub former: Option<RelPath>,
    /// What the root is. A directory goes onto a directory, everything else onto a non-directory.
    pub kind: FileKind,
    /// Per-mount attributes.
    pub attributes: MountAttributes,
    /// How mount events reach it and leave it.
    pub propagation: Propagation,
    /// What the owner of the namespace may not change of it.
    pub lock: Lock,
}

/// The propagation type of one mount (mount_namespaces(7), "SHARED SUBTREES").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Propagation {
    /// Neither sends nor receives.
    Private,
    /// Private, and cannot be bound.
    Unbindable,
    /// A member of a peer group (which may be a slave of another).
    Shared(GroupIndex),
    /// A slave that is in no peer group.
    Slave(Master),
}

/// What a slave receives from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Master {
    /// A peer group of this container.
    Group(GroupIndex),
    /// The peer group of a mount outside, which the grant for this origin
    /// (always an [`Origin::External`]) names.
    Outside(OriginIndex),
}

/// A peer group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerGroup {
    /// What ties the whole group to another.
    pub link: GroupLink,
}

/// How a peer group is tied to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GroupLink {
    /// To none.
    None,
    /// Every member is also a slave.
    SlaveOf(Master),
    /// The group has members outside the container: mounts made here appear there.
    /// The grant for this origin (always an [`Origin::External`]) names one of them.
    PeerOfOutside(OriginIndex),
}

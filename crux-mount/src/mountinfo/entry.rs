//! One line of mountinfo, understood.
//!
//! Kind: pure.

use crate::ids::{Device, MountId, PeerGroupId};
use crux_image::mounts::{MountAttributes, SuperblockFlags};
use serde::{Deserialize, Serialize};

/// A mount as mountinfo shows it. Names are bytes, unescaped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its id.
    pub id: MountId,
    /// The id of the mount it is attached to; for the topmost, one that the table does not have (or its own).
    pub parent: MountId,
    /// The file system's device. Mounts of one superblock have the same (btrfs aside).
    pub device: Device,
    /// Which part of the file system it shows.
    pub root: Root,
    /// Where it is, as the observed task's root directory sees it.
    pub mountpoint: Vec<u8>,
    /// Per-mount attributes. `idmap` is always `None`: the map is not in mountinfo.
    pub attributes: MountAttributes,
    /// Whether the mount is id-mapped.
    pub idmapped: bool,
    /// The peer group it is a member of.
    pub shared: Option<PeerGroupId>,
    /// The peer group it is a slave of.
    pub master: Option<PeerGroupId>,
    /// The nearest group upwards of `master` that the observed task can see, where that is not `master`.
    pub propagate_from: Option<PeerGroupId>,
    /// Whether it is unbindable.
    pub unbindable: bool,
    /// What this parser does not know, in the order of the line.
    pub unknown: Vec<Unknown>,
    /// The file system's type, with a subtype after a dot (`fuse.sshfs`).
    pub fs_type: Vec<u8>,
    /// The source; may be empty.
    pub source: Vec<u8>,
    /// Superblock flags.
    pub flags: SuperblockFlags,
    /// The file system's own options, in the order of the line. `mand` (without effect since
    /// Linux 5.15) is among them.
    pub options: Vec<SuperOption>,
}

/// The root of a mount.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Root {
    /// A path from the root of the file system (`/`, `/a/b`), or what the file system shows in its place: nsfs
    /// has `net:[4026531840]`, cgroup has `/..` for what is outside of the reader's cgroup namespace.
    pub path: Vec<u8>,
    /// It was unlinked (`//deleted`, which no path ends in by itself: it has an empty name).
    pub deleted: bool,
}

/// An option of a superblock: `key` or `key=value`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SuperOption {
    /// The name.
    pub key: Vec<u8>,
    /// What follows the first `=`.
    pub value: Option<Vec<u8>>,
}

/// Something in a line that has no meaning here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Unknown {
    /// A per-mount option, or one that contradicts another.
    Attribute(Vec<u8>),
    /// An optional field, or one that is there twice.
    Field(Vec<u8>),
}

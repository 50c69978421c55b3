//! What the judge is given: tables and facts as plain data.
//!
//! Kind: pure. Nothing here is checked; the judge does that.

use crux_image::mounts::{FileKind, Lock, Queue, UserNamespace, UserNsIndex};
use crux_mount::ids::{Device, MountId};
use crux_mount::mountinfo::Entry;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Everything that was read, of the container and of what is outside.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The container's mount namespaces; the first is that of the pid given.
    pub container: Vec<SeenNamespace>,
    /// User namespaces that own some of them, parents before children.
    pub user_namespaces: Vec<UserNamespace>,
    /// The dumper's own table.
    pub host: Vec<Entry>,
    /// Tables of other mount namespaces, only to find peers in.
    pub foreign: Vec<ForeignTable>,
    /// What is known of the root of each mount of the container.
    pub roots: HashMap<MountId, RootFact>,
    /// Why nothing is known of the roots of others.
    pub unlooked: HashMap<MountId, String>,
    /// What is locked in namespaces that user namespaces own.
    pub locks: HashMap<MountId, Lock>,
    /// The queues that mqueues show, by device.
    pub queues: HashMap<Device, Vec<SeenQueue>>,
    /// The dumper's own net namespace.
    pub host_net: NamespaceId,
    /// The dumper's own ipc namespace.
    pub host_ipc: NamespaceId,
}

/// The identity of a namespace: the inode number of its nsfs file.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct NamespaceId(pub u64);

/// A mount namespace of the container.
#[derive(Debug, Clone)]
pub struct SeenNamespace {
    /// A task in it, as the dumper numbers it.
    pub pid: u32,
    /// Its table.
    pub table: Vec<Entry>,
    /// The mount that the root directory of that task is on.
    pub root: MountId,
    /// How many mounts the namespace has that the table does not show (chroot), those beneath the
    /// root directory itself aside.
    pub unreached: usize,
    /// Its owner, where that is not the dumper's own user namespace.
    pub owner: Option<UserNsIndex>,
    /// The net namespace of its task.
    pub net: NamespaceId,
    /// The ipc namespace of its task.
    pub ipc: NamespaceId,
}

/// The table of a mount namespace that is neither the container's nor the dumper's.
#[derive(Debug, Clone)]
pub struct ForeignTable {
    /// A task in it.
    pub pid: u32,
    /// Its table.
    pub table: Vec<Entry>,
}

/// A POSIX message queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenQueue {
    /// What it is like.
    pub queue: Queue,
    /// How many messages wait in it.
    pub waiting: u32,
}

/// What statx(2) says of the root of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFact {
    /// What it is.
    pub kind: FileKind,
    /// Its inode number.
    pub inode: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u16,
    /// Whether anything is in it; looked at only where that decides.
    pub fill: Fill,
}

/// Whether a directory has entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fill {
    /// Nobody looked.
    NotAsked,
    /// It has none.
    Empty,
    /// It has some.
    Filled,
}

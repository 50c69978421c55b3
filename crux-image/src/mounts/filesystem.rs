//! Origins: where the file system behind a mount comes from at restore.
//!
//! Kind: pure.

use super::{FileKind, SuperblockFlags, UserNsIndex};
use crate::contents::Section;
use crate::path::HostPath;
use serde::{Deserialize, Serialize};

/// Where a file system comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// The container's own superblock: made at restore.
    Own(OwnFileSystem),
    /// Something of the host's: the operator grants it.
    External(External),
}

/// A file system that the restore makes with fsopen(2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnFileSystem {
    /// Its type.
    pub fs_type: OwnFsType,
    /// The source that mountinfo shows; may be empty.
    pub source: Vec<u8>,
    /// Superblock flags.
    pub flags: SuperblockFlags,
    /// Options as fsconfig(2) takes them, in the order of mountinfo.
    pub options: Vec<FsOption>,
    /// The user namespace that it was mounted in; `None`: that of whoever restores.
    pub user: Option<UserNsIndex>,
    /// The net (sysfs) or ipc (mqueue) namespace that it shows.
    pub context: NamespaceContext,
    /// What is in it.
    pub contents: Contents,
}

/// The file systems that can be made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OwnFsType {
    /// tmpfs(5)
    Tmpfs,
    /// A tmpfs without limits.
    Ramfs,
    /// proc(5): an instance each mount, for the pid namespace of the mounter.
    Proc,
    /// sysfs(5): one each net namespace.
    Sysfs,
    /// An instance each mount, with its own pty numbers.
    Devpts,
    /// mq_overview(7): one each ipc namespace.
    Mqueue,
    /// An instance each mount.
    Hugetlbfs,
    /// An instance each mount.
    Bpf,
}

impl OwnFsType {
    /// Every type, for tables.
    pub const ALL: [Self; 8] = [
        Self::Tmpfs,
        Self::Ramfs,
        Self::Proc,
        Self::Sysfs,
        Self::Devpts,
        Self::Mqueue,
        Self::Hugetlbfs,
        Self::Bpf,
    ];

    /// The kernel's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tmpfs => "tmpfs",
            Self::Ramfs => "ramfs",
            Self::Proc => "proc",
            Self::Sysfs => "sysfs",
            Self::Devpts => "devpts",
            Self::Mqueue => "mqueue",
            Self::Hugetlbfs => "hugetlbfs",
            Self::Bpf => "bpf",
        }
    }
}

/// An option of a file system: `key` or `key=value`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FsOption {
    /// The name; one of those that the table of file systems allows.
    pub key: String,
    /// The value, if it takes one.
    pub value: Option<Vec<u8>>,
}

/// Which net or ipc namespace a superblock is tied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NamespaceContext {
    /// That of whoever restores: the dumper's was the same as the container's.
    Caller,
    /// One that the container had of its own. Equal numbers mean the same namespace.
    Own(u32),
}

/// What was in a file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Contents {
    /// Nothing to record: the kernel fills it.
    Kernel,
    /// A tree of files, in the contents members of the image.
    Tree(Section),
    /// The ptys of a devpts that mounts show.
    Terminals(Vec<Terminal>),
    /// The queues of an mqueue, all of them empty.
    Queues(Vec<Queue>),
}

/// A POSIX message queue without messages (mq_overview(7)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Its name, without the slash that mq_open(3) wants before it.
    pub name: Vec<u8>,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u16,
    /// How many messages it has room for.
    pub messages: u32,
    /// How long each may be.
    pub length: u32,
}

/// A pty slave of a devpts instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// Its number, the name in devpts.
    pub number: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u16,
}

/// A source of the host's that the container needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct External {
    /// The name that a grant uses. Unique in the image, printable, without `=`.
    pub name: String,
    /// Whether this is the container's root.
    pub role: ExternalRole,
    /// What the source has to be.
    pub kind: FileKind,
    /// Where the dumper found it, if it did. A wish, never followed without a grant.
    pub wish: Option<Wish>,
    /// A path at which a member of the outside peer group was seen, where a mount
    /// of this origin is a peer or a slave of one.
    pub group_wish: Option<HostPath>,
    /// File system type at dump. For people; a source on another file system is fine.
    pub fs_type: String,
}

/// What an external source is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExternalRole {
    /// The container's root: `--root DIR`.
    Root,
    /// Anything else: `--external NAME=SOURCE`.
    Bind,
}

/// What the image would like as a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// A path on the host.
    Path(HostPath),
    /// A file system of which the kernel has one for the whole machine, mounted anew.
    Kernel {
        /// Which.
        fs: KernelFs,
        /// Options as fsconfig(2) takes them (cgroup v1: the controllers).
        options: Vec<FsOption>,
    },
}

/// File systems of which the kernel has a single instance. They show the whole
/// machine, so they are granted like any other source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum KernelFs {
    /// /sys/kernel/debug
    Debugfs,
    /// /sys/kernel/tracing
    Tracefs,
    /// /sys/kernel/security
    Securityfs,
    /// /sys/fs/pstore
    Pstore,
    /// /sys/fs/fuse/connections
    Fusectl,
    /// /sys/kernel/config
    Configfs,
    /// /sys/firmware/efi/efivars
    Efivarfs,
    /// /proc/sys/fs/binfmt_misc
    BinfmtMisc,
    /// A cgroup v1 hierarchy.
    Cgroup,
    /// The cgroup v2 hierarchy.
    Cgroup2,
    /// /dev of the host.
    Devtmpfs,
}

impl KernelFs {
    /// Every one, for tables.
    pub const ALL: [Self; 11] = [
        Self::Debugfs,
        Self::Tracefs,
        Self::Securityfs,
        Self::Pstore,
        Self::Fusectl,
        Self::Configfs,
        Self::Efivarfs,
        Self::BinfmtMisc,
        Self::Cgroup,
        Self::Cgroup2,
        Self::Devtmpfs,
    ];

    /// The kernel's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debugfs => "debugfs",
            Self::Tracefs => "tracefs",
            Self::Securityfs => "securityfs",
            Self::Pstore => "pstore",
            Self::Fusectl => "fusectl",
            Self::Configfs => "configfs",
            Self::Efivarfs => "efivarfs",
            Self::BinfmtMisc => "binfmt_misc",
            Self::Cgroup => "cgroup",
            Self::Cgroup2 => "cgroup2",
            Self::Devtmpfs => "devtmpfs",
        }
    }
}

//! Open files: descriptors, open file descriptions, and what they lead to.
//!
//! Kind: pure. A descriptor is a number in a table; an open file description has the
//! flags and the offset, and may have many descriptors (open(2)).

use super::{
    BpfIndex, CgroupNsIndex, EpollTarget, EventCounter, FileIndex, IpcNsIndex, NetNsIndex,
    PidNsIndex, PipeIndex, Process, ProcessIndex, SharedMemoryIndex, SocketIndex, TerminalFile,
    TerminalIndex, TimeNsIndex, TimerFile, UnlinkedIndex, UtsNsIndex, Watch,
};
use crate::mounts::{FileKind, MountIndex, NamespaceIndex, UserNsIndex};
use crate::path::RelPath;
use serde::{Deserialize, Serialize};

/// A place in the container's mounts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Location {
    /// In which mount namespace.
    pub namespace: NamespaceIndex,
    /// In which mount.
    pub mount: MountIndex,
    /// Where, relative to the root of the mount.
    pub path: RelPath,
}

/// The descriptors of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescriptorTable {
    /// By number.
    pub descriptors: Vec<Descriptor>,
}

/// A descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Its number.
    pub number: u32,
    /// `FD_CLOEXEC`.
    pub close_on_exec: bool,
    /// What it leads to.
    pub file: FileIndex,
}

/// An open file description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFile {
    /// What is open.
    pub target: OpenTarget,
    /// For reading or writing.
    pub access: FileAccess,
    /// The other flags.
    pub flags: FileFlags,
    /// The offset, in bytes.
    pub position: u64,
    /// Who gets SIGIO (`F_SETOWN_EX`), and which signal that is instead (`F_SETSIG`; 0: SIGIO).
    pub owner: Option<FileOwner>,
}

/// `F_SETOWN_EX`, `F_SETSIG`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOwner {
    /// What the id is.
    pub kind: OwnerKind,
    /// A pid in the first pid namespace.
    pub id: u32,
    /// The signal; 0: SIGIO.
    pub signal: u8,
}

/// `F_OWNER_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names of fcntl(2)")]
pub enum OwnerKind {
    Thread,
    Process,
    Group,
}

/// `O_ACCMODE`, and `O_PATH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names of open(2)")]
pub enum FileAccess {
    Read,
    Write,
    ReadWrite,
    /// Neither: `O_PATH`.
    Path,
}

/// The flags that stay with a description (open(2), `F_SETFL`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names of open(2)")]
pub struct FileFlags {
    pub append: bool,
    pub nonblock: bool,
    pub async_io: bool,
    pub direct: bool,
    pub dsync: bool,
    pub sync: bool,
    pub noatime: bool,
    pub directory: bool,
    pub nofollow: bool,
    pub large_file: bool,
}

/// What is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpenTarget {
    /// A file, directory, fifo or device with a path.
    Path {
        /// Where.
        location: Location,
        /// What it is; a restored path has to lead to the same kind.
        kind: FileKind,
        /// Its size when it was dumped, of a regular file.
        size: u64,
    },
    /// A file that has no name any more.
    Unlinked(UnlinkedIndex),
    /// An end of a pipe.
    Pipe(PipeIndex, PipeEnd),
    /// memfd_create(2).
    Memory(SharedMemoryIndex),
    /// Something that is outside the container, which `crux-restore` is granted by this name.
    External {
        /// The name of the grant.
        name: String,
        /// What it is.
        kind: FileKind,
        /// What it was, in words for the operator (`/var/log/x`, `pipe:[4711]`).
        described: Vec<u8>,
    },
    /// eventfd(2).
    Event(EventCounter),
    /// signalfd(2).
    Signals {
        /// The signals that can be read from it; bit 0 is signal 1.
        mask: u64,
    },
    /// timerfd_create(2).
    Timer(TimerFile),
    /// epoll_create(2).
    Epoll(Vec<EpollTarget>),
    /// A socket.
    Socket(SocketIndex),
    /// A side of a terminal.
    Terminal(TerminalIndex, TerminalFile),
    /// pidfd_open(2).
    Process(ProcessIndex),
    /// inotify(7): its watches, by number.
    Inotify(Vec<Watch>),
    /// An eBPF program (bpf(2)).
    Program(BpfIndex),
    /// A namespace (`/proc/PID/ns/*`).
    Namespace(OpenNamespace),
}

/// A namespace that some process is in; where none is named, the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the kinds of namespaces(7)")]
pub enum OpenNamespace {
    Mount(NamespaceIndex),
    User(Option<UserNsIndex>),
    Pid(PidNsIndex),
    Uts(Option<UtsNsIndex>),
    Ipc(Option<IpcNsIndex>),
    Net(Option<NetNsIndex>),
    Cgroup(Option<CgroupNsIndex>),
    Time(Option<TimeNsIndex>),
}

impl OpenNamespace {
    /// The names of the kinds, as in `/proc/PID/ns`.
    pub const KINDS: [&str; 8] = ["mnt", "user", "pid", "uts", "ipc", "net", "cgroup", "time"];

    /// That of a kind that a process is in; none of a zombie, and of a kind that there is not.
    #[must_use]
    pub fn of(process: &Process, kind: &str) -> Option<Self> {
        Some(match kind {
            "mnt" => Self::Mount(process.mount_namespace?),
            "user" => Self::User(process.user_namespace),
            "pid" => Self::Pid(process.pid_namespace),
            "uts" => Self::Uts(process.uts_namespace),
            "ipc" => Self::Ipc(process.ipc_namespace),
            "net" => Self::Net(process.net_namespace),
            "cgroup" => Self::Cgroup(process.cgroup_namespace),
            "time" => Self::Time(process.time_namespace),
            _ => return None,
        })
    }

    /// The name of its kind.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Mount(_) => "mnt",
            Self::User(_) => "user",
            Self::Pid(_) => "pid",
            Self::Uts(_) => "uts",
            Self::Ipc(_) => "ipc",
            Self::Net(_) => "net",
            Self::Cgroup(_) => "cgroup",
            Self::Time(_) => "time",
        }
    }

    /// Its position among those of its kind; none: the caller's.
    #[must_use]
    pub fn position(self) -> Option<usize> {
        match self {
            Self::Mount(at) => Some(at.at()),
            Self::User(at) => at.map(|at| at.at()),
            Self::Pid(at) => Some(at.at()),
            Self::Uts(at) => at.map(|at| at.at()),
            Self::Ipc(at) => at.map(|at| at.at()),
            Self::Net(at) => at.map(|at| at.at()),
            Self::Cgroup(at) => at.map(|at| at.at()),
            Self::Time(at) => at.map(|at| at.at()),
        }
    }
}

/// Which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names of pipe(2)")]
pub enum PipeEnd {
    Read,
    Write,
}

/// A pipe (pipe(7)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipe {
    /// `F_GETPIPE_SZ`.
    pub capacity: u32,
    /// `O_DIRECT`: it keeps the boundaries of packets.
    pub packets: bool,
    /// Bytes that nobody has read yet: packets in their order, or one of them all.
    pub data: Vec<Vec<u8>>,
}

/// What `CLONE_FS` shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsContext {
    /// The root directory (chroot(2)).
    pub root: Location,
    /// The working directory.
    pub working: Location,
    /// umask(2).
    pub umask: u32,
    /// The process that has it first: where it is made.
    pub first: ProcessIndex,
}

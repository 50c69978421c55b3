//! What an image says of a container's processes.
//!
//! Kind: pure. The *recorded* types: plain data, decoded from a file that may be
//! hostile. Nothing may act on a record before [`Tasks::check`] has passed, which
//! `ImageReader::tasks` runs on everything that it hands out. Numbers of the kernel
//! (signals, clocks, registers) are kept as the kernel has them, where they are an
//! interface of Linux on x86-64 and not flags of a call of ours.
//!
//! One file a noun: `process` and `thread` are what is created, `memory` is what
//! they see, `files` and `terminals` what they have open, `namespaces` where they live, `time` what
//! they wait for.

mod bpf;
mod cgroups;
mod check;
mod counters;
mod epoll;
mod files;
mod inet_socket;
mod inotify;
mod ipc;
mod locks;
mod membership;
mod memory;
mod namespaces;
mod netlink;
mod network;
mod packet;
mod process;
mod seccomp;
mod socket;
mod socket_options;
mod tcp_connection;
mod terminals;
mod thread;
mod time;
mod unix_socket;
mod unlinked;
mod version_1;
mod version_3;

pub use bpf::{BpfAttachment, BpfKind, BpfProgram, PERMIT, leads_elsewhere, tag_text};
pub use cgroups::{CgroupFile, CgroupSettings, CgroupWriting};
pub use check::{TasksError, TasksPlace, TasksRule};
pub use counters::{EventCounter, TimerFile};
pub use epoll::EpollTarget;
pub use files::{
    Descriptor, DescriptorTable, FileAccess, FileFlags, FileOwner, FsContext, Location, OpenFile,
    OpenNamespace, OpenTarget, OwnerKind, Pipe, PipeEnd,
};
pub use inet_socket::InetSocket;
pub use inotify::Watch;
pub use ipc::{
    Adjustment, IpcContents, IpcLimits, IpcObject, Message, MessageQueue, Segment, Semaphore,
    SemaphoreSet,
};
pub use locks::{FileLock, LockOwner};
pub use membership::Membership;
pub use memory::{
    AddressSpace, Area, AreaFlags, Backing, MemoryLayout, PAGE_SIZE, PageRun, PageSource,
    Protection, SharedMemory, SharedMemoryKind, Sharing, VdsoImage,
};
pub use namespaces::{
    CgroupMembership, CgroupNamespace, IpcNamespace, NetNamespace, PidForChildren, PidNamespace,
    TimeNamespace, UtsNamespace,
};
pub use netlink::NetlinkSocket;
pub use network::{
    NetAttribute, NetDevice, NetDeviceKind, NetEntry, NetSysctl, Network, OutsideEnd, VethPeer,
};
pub use packet::PacketSocket;
pub use process::{Limit, Process, ProcessState, SignalAction, SignalInfo};
pub use seccomp::{FilterInstruction, FilteredCall, SeccompChain, SeccompFilter};
pub use socket::{Socket, SocketFamily, SocketKind, SocketOption, SocketState};
pub use socket_options::{
    FILTER_LIMIT, KnownOption, SO_ATTACH_FILTER, SO_BINDTODEVICE, SO_PASSCRED, SO_PEEK_OFF,
    SO_RCVBUF, SO_REUSEADDR, SO_SNDBUF, SOCKET_OPTIONS, SOL_SOCKET,
};
pub use tcp_connection::{Endpoint, TcpConnection};
pub use terminals::{ControllingTerminal, Terminal, TerminalFile};
pub use thread::{
    AlternateStack, Capabilities, Credentials, Interrupted, Registers, RobustList, Rseq,
    Scheduling, SeccompState, Thread,
};
pub use time::{Clocks, IntervalTimer, Notify, PosixTimer};
pub use unix_socket::{
    SocketCredentials, UnixConnection, UnixFile, UnixMessage, UnixName, UnixSocket,
};
pub use unlinked::{FileTime, RemovedWorking, UnlinkedFile, UnlinkedKind};
pub(crate) use version_1::TasksVersion1;
pub(crate) use version_3::as_version_4;

use crate::mounts::{UserNsIndex, index};
use serde::{Deserialize, Serialize};

index!(
    /// A position in [`Tasks::processes`].
    ProcessIndex
);
index!(
    /// A position in [`Tasks::spaces`].
    SpaceIndex
);
index!(
    /// A position in [`Tasks::shared_memory`].
    SharedMemoryIndex
);
index!(
    /// A position in [`Tasks::descriptor_tables`].
    DescriptorTableIndex
);
index!(
    /// A position in [`Tasks::files`].
    FileIndex
);
index!(
    /// A position in [`Tasks::unlinked`].
    UnlinkedIndex
);
index!(
    /// A position in [`Tasks::pipes`].
    PipeIndex
);
index!(
    /// A position in [`Tasks::sockets`].
    SocketIndex
);
index!(
    /// A position in [`Tasks::fs`].
    FsIndex
);
index!(
    /// A position in [`Tasks::pid_namespaces`].
    PidNsIndex
);
index!(
    /// A position in [`Tasks::uts_namespaces`].
    UtsNsIndex
);
index!(
    /// A position in [`Tasks::ipc_namespaces`].
    IpcNsIndex
);
index!(
    /// A position in [`Tasks::net_namespaces`].
    NetNsIndex
);
index!(
    /// A position in [`Tasks::cgroup_namespaces`].
    CgroupNsIndex
);
index!(
    /// A position in [`Tasks::time_namespaces`].
    TimeNsIndex
);

index!(
    /// A position in [`Tasks::seccomp_chains`].
    SeccompIndex
);
index!(
    /// A position in [`Tasks::terminals`].
    TerminalIndex
);
index!(
    /// A position in [`Tasks::programs`].
    BpfIndex
);

/// The processes of one container, and all that they share.
///
/// User and mount namespaces are those of the record of mounts
/// ([`crate::mounts::Mounts`]), which an image with tasks always has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tasks {
    /// What the clocks of the machine said while the tasks were frozen.
    pub clocks: Clocks,
    /// The processes. The first is the one that was named to `crux-dump`; a parent
    /// stands before its children.
    pub processes: Vec<Process>,
    /// Memory. Several processes may share one (`CLONE_VM`).
    pub spaces: Vec<AddressSpace>,
    /// Memory that is mapped shared, or open, and has no path: each object once.
    pub shared_memory: Vec<SharedMemory>,
    /// Tables of descriptors. Several processes may share one (`CLONE_FILES`).
    pub descriptor_tables: Vec<DescriptorTable>,
    /// Open file descriptions (open(2)): each once, however many descriptors lead to it.
    pub files: Vec<OpenFile>,
    /// Files without a name that are open or mapped.
    pub unlinked: Vec<UnlinkedFile>,
    /// Pipes without a name.
    pub pipes: Vec<Pipe>,
    /// Root and working directories. Several processes may share one (`CLONE_FS`).
    pub fs: Vec<FsContext>,
    /// Pid namespaces, parents before children. The first is that of the first process.
    pub pid_namespaces: Vec<PidNamespace>,
    /// UTS namespaces.
    pub uts_namespaces: Vec<UtsNamespace>,
    /// IPC namespaces.
    pub ipc_namespaces: Vec<IpcNamespace>,
    /// Network namespaces.
    pub net_namespaces: Vec<NetNamespace>,
    /// Cgroup namespaces.
    pub cgroup_namespaces: Vec<CgroupNamespace>,
    /// Time namespaces.
    pub time_namespaces: Vec<TimeNamespace>,
    /// What ipc namespaces hold; none of one that is not in the list is known.
    pub ipc_contents: Vec<IpcContents>,
    /// Sockets.
    pub sockets: Vec<Socket>,
    /// User namespaces in which setgroups(2) is denied (`/proc/PID/setgroups`).
    pub without_setgroups: Vec<UserNsIndex>,
    /// Filters of system calls: each chain once.
    pub seccomp_chains: Vec<SeccompChain>,
    /// Terminals.
    pub terminals: Vec<Terminal>,
    /// Sessions that have one.
    pub controlling: Vec<ControllingTerminal>,
    /// What is in network namespaces of the container's own.
    pub networks: Vec<Network>,
    /// Working directories that have no name.
    pub removed_working: Vec<RemovedWorking>,
    /// What is beneath the roots of cgroup namespaces, parents before children; nobody need be in it.
    pub cgroups: Vec<CgroupMembership>,
    /// eBPF programs of cgroups.
    pub programs: Vec<BpfProgram>,
    /// What cgroups at and beneath the roots of cgroup namespaces are set to, parents before children.
    pub cgroup_settings: Vec<CgroupSettings>,
    /// Processes whose children begin in another pid namespace.
    pub pid_for_children: Vec<PidForChildren>,
    /// Locks on files.
    pub locks: Vec<FileLock>,
    /// Memberships of sockets in multicast groups, in the order of the sockets.
    pub memberships: Vec<Membership>,
}

impl Tasks {
    /// How long `pages.raw` has to be.
    pub fn pages_end(&self) -> u64 {
        let areas = self.spaces.iter().flat_map(|space| &space.areas);
        let areas = areas.flat_map(|area| &area.pages);
        let shared = self.shared_memory.iter().flat_map(|memory| &memory.pages);
        let files = self.unlinked.iter().flat_map(|file| &file.pages);
        let ends = areas
            .chain(shared)
            .chain(files)
            .map(|run| match run.source {
                PageSource::Data(offset) => {
                    offset.saturating_add(run.count.saturating_mul(PAGE_SIZE))
                }
                PageSource::Parent => 0,
            });
        ends.max().unwrap_or(0)
    }

    /// The children of a process, in the order of their numbers.
    pub fn children(&self, parent: ProcessIndex) -> impl Iterator<Item = ProcessIndex> {
        let processes = self.processes.iter().enumerate();
        processes
            .filter(move |(_, process)| process.parent == Some(parent))
            .map(|(at, _)| at.into())
    }
}

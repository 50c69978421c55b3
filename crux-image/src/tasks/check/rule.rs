//! The rules for a record of tasks, in words, and where one was broken.
//!
//! Kind: pure.

use std::fmt;

/// A rule that a record breaks, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {rule}")]
pub struct TasksError {
    /// Where.
    pub at: TasksPlace,
    /// Which rule.
    pub rule: TasksRule,
}

/// A part of a record, by its position in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the tables")]
pub enum TasksPlace {
    Record,
    Process(usize),
    Thread(usize, usize),
    Space(usize),
    Area(usize, usize),
    SharedMemory(usize),
    Table(usize),
    File(usize),
    Unlinked(usize),
    Pipe(usize),
    Socket(usize),
    RemovedWorking(usize),
    Fs(usize),
    Terminal(usize),
    Session(usize),
    Namespace(&'static str, usize),
    Ipc(usize),
    Seccomp(usize),
    Network(usize),
    Program(usize),
    Lock(usize),
}

impl fmt::Display for TasksPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record => write!(f, "the record of tasks"),
            Self::Process(at) => write!(f, "process {at}"),
            Self::Thread(process, at) => write!(f, "process {process}, thread {at}"),
            Self::Space(at) => write!(f, "address space {at}"),
            Self::Area(space, at) => write!(f, "address space {space}, area {at}"),
            Self::SharedMemory(at) => write!(f, "shared memory {at}"),
            Self::Table(at) => write!(f, "descriptor table {at}"),
            Self::File(at) => write!(f, "open file {at}"),
            Self::Unlinked(at) => write!(f, "unlinked file {at}"),
            Self::Pipe(at) => write!(f, "pipe {at}"),
            Self::Socket(at) => write!(f, "socket {at}"),
            Self::RemovedWorking(at) => write!(f, "removed working directory {at}"),
            Self::Fs(at) => write!(f, "root and working directory {at}"),
            Self::Terminal(at) => write!(f, "terminal {at}"),
            Self::Session(at) => write!(f, "controlling terminal {at}"),
            Self::Namespace(kind, at) => write!(f, "{kind} namespace {at}"),
            Self::Seccomp(at) => write!(f, "seccomp filters {at}"),
            Self::Ipc(at) => write!(f, "contents of IPC namespaces {at}"),
            Self::Network(at) => write!(f, "network {at}"),
            Self::Program(at) => write!(f, "eBPF program {at}"),
            Self::Lock(at) => write!(f, "lock {at}"),
        }
    }
}

/// What a record has to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say it")]
pub enum TasksRule {
    #[error("{count} {what}, where {limit} are the limit")]
    TooMany {
        what: &'static str,
        count: usize,
        limit: usize,
    },
    #[error("names {what} {index}, but there are only {count}")]
    Index {
        what: &'static str,
        index: usize,
        count: usize,
    },
    #[error("a lock is of a range or a kind, or of somebody, that cannot have one of this file")]
    Lock,
    #[error(
        "an eBPF program is of a type, has an instruction or a name, or is attached where none that is restored is"
    )]
    Program,
    #[error("there is no process")]
    NoProcess,
    #[error("its parent does not stand before it")]
    ParentAfterChild,
    #[error("only the first has no parent, and the first has none")]
    Parent,
    #[error("it has no thread")]
    NoThread,
    #[error("a process that has ended has memory, descriptors, directories or several threads")]
    ZombieHas,
    #[error(
        "a process that has not ended lacks memory, descriptors, directories or a mount namespace"
    )]
    Lacks,
    #[error("a thread has {found} numbers, and its pid namespace is {expected} deep")]
    Numbers { found: usize, expected: usize },
    #[error("the number {0} is none of a process")]
    Pid(u32),
    #[error("two threads have the number {0} in one pid namespace")]
    PidTaken(u32),
    #[error("the number {0} is none of a signal")]
    Signal(u32),
    #[error("the {what} is {found}, and {limit} is the limit")]
    Value {
        what: &'static str,
        found: u64,
        limit: u64,
    },
    #[error("{0} does not have the length that it has in the kernel")]
    Length(&'static str),
    #[error("an area is empty, not of whole pages, or beyond the end of user memory")]
    AreaRange,
    #[error("areas are not in order, or overlap")]
    AreaOrder,
    #[error("pages are not in order, overlap, or lie outside of their area")]
    Pages,
    #[error(
        "an offset into pages.raw is not a multiple of the page size, or beyond the end of any file"
    )]
    PageOffset,
    #[error("pages are said to be those of the parent process, which has none there to give")]
    NoParentPages,
    #[error("shared memory has pages of its own")]
    SharedPages,
    #[error("descriptors are not in order, or there are two of one number")]
    DescriptorOrder,
    #[error("watches are not in order, or there are two of one number")]
    WatchOrder,
    #[error("a working directory is none")]
    NoDirectory,
    #[error("a pipe has more data than fits")]
    PipeData,
    #[error("a socket is not of a family, type and protocol that go together")]
    SocketKind,
    #[error(
        "option {name} of level {level} is none that such a socket can be given, or has another length"
    )]
    SocketOption { level: u16, name: u16 },
    #[error("the other end of a socket is none, or does not say the same")]
    SocketPeer,
    #[error("groups of a netlink socket are not in order, from 1")]
    SocketGroups,
    #[error(
        "a membership is in no multicast group that such a socket can be in, or not in the order of sockets"
    )]
    Membership,
    #[error("two open files are the same socket")]
    SocketTwice,
    #[error("nothing leads to it")]
    Unused,
    #[error(
        "the name of a grant is empty, too long, \"auto\", or has a \"=\" or an unprintable character"
    )]
    GrantName,
    #[error("a name is empty, too long, or has a NUL byte or a slash")]
    Name,
    #[error("two things from outside have the name \"{0}\"")]
    NameTwice(String),
    #[error("two terminals are one, two sessions have one terminal, or one session has two")]
    TerminalTwice,
    #[error("a terminal is at a place that is none of a terminal")]
    TerminalPlace,
    #[error("a session has a terminal, but its leader is none")]
    TerminalLeader,
    #[error("only the first pid namespace may be the caller's, and it alone has no parent")]
    PidNamespace,
    #[error("{0} is there twice")]
    Twice(&'static str),
    #[error("the type of a message is not positive")]
    Message,
    #[error("a program is not one that the kernel takes as a seccomp filter")]
    Filter,
    #[error("a segment is no shared memory of System V")]
    Segment,
    #[error("two networks are of one namespace")]
    NetworkTwice,
    #[error("network devices are not in the order of their indexes, or there are two of one index")]
    DeviceOrder,
    #[error("the first network device is not the loopback device, or another one is")]
    Loopback,
    #[error("the name of a network device is none")]
    DeviceName,
    #[error("{what} has an attribute of type {kind}, which is not known")]
    Attribute { what: &'static str, kind: u16 },
    #[error("a sysctl has a name that is none, or a value with a NUL byte")]
    Sysctl,
}

impl TasksRule {
    pub(super) fn at(self, at: TasksPlace) -> TasksError {
        TasksError { at, rule: self }
    }
}

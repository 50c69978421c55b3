//! What is to be done to bring the tasks of an image back: scripts, and what surrounds them.
//!
//! Kind: pure. A plan goes from the planner to the forker and the tracer as a record. They trust nothing of
//! it: the tracer has the arena checked again, and both look up what they are asked for in
//! what the builder made and the operator granted.
//!
//! How a task begins: the forker puts the [`Inherited`] descriptors at their numbers, maps the arena
//! at [`TaskPlan::base`], and makes the first task by clone3(2) with what [`Birth`] says; the child enters the
//! stub at the first line of its script. That reads a byte from the gate, which the tracer writes when
//! it has seized the task. All other tasks are made by scripts. Each script ends in a stop with
//! [`FINISHED`]; what remains is in [`Finish`], and is done from outside when all have come there.

use crux_image::mounts::{IdRange, NamespaceIndex, UserNsIndex};
use crux_image::tasks::{
    BpfIndex, FilterInstruction, Interrupted, ProcessIndex, ProcessState, Registers, TerminalIndex,
};
use crux_script::{Arena, ScriptId, Tag};
use serde::{Deserialize, Serialize};

/// The last line of every script of a thread that is to live.
pub const FINISHED: Tag = Tag(0);

/// A barrier: no script goes on from a stop with this tag before all scripts that have one have come to it.
pub const TOGETHER: Tag = Tag(1);

/// A thread in a timed wait: the next line is the call that waits for the time that remained. It never
/// returns by itself in time: the tracer goes on with the line, interrupts it, and takes that stop for the end.
pub const WAITS: Tag = Tag(2);

/// Everything about the tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskPlan {
    /// The scripts and their data.
    pub arena: Arena,
    /// Where the arena is mapped in every task: no task maps anything there.
    pub base: u64,
    /// How the first task is made.
    pub birth: Birth,
    /// Descriptors of the first task, in the order of their numbers. All are above those that any task
    /// of the image has, and every task closes them.
    pub inherited: Vec<Inherited>,
    /// Every thread that is to live, in the order of the record.
    pub threads: Vec<PlannedThread>,
    /// Every process of the record: what is set from outside before it runs.
    pub processes: Vec<PlannedProcess>,
}

/// How the first task is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Birth {
    /// Where it begins.
    pub script: ScriptId,
    /// The number that it gets (clone3(2), `set_tid`): in a new pid namespace one, and otherwise in the caller's.
    pub pid: u32,
    /// Namespaces that are made with it.
    pub new: NewNamespaces,
    /// The user namespace that is made with it, and owns all of those.
    pub user: Option<BirthUser>,
    /// Namespaces that the caller's user namespace owns where there is another one: made before.
    pub before: NewNamespaces,
}

/// The user namespace that the first task is born in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BirthUser {
    /// Which of the record.
    pub namespace: UserNsIndex,
    /// `/proc/PID/uid_map`.
    pub uids: Vec<IdRange>,
    /// `/proc/PID/gid_map`.
    pub gids: Vec<IdRange>,
    /// setgroups(2) is denied in it.
    pub denied: bool,
    /// Where it is, and was not before: the groups of all its tasks, as the caller has them.
    pub groups: Option<Vec<u32>>,
}

/// Namespaces that are made (`CLONE_NEW*`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names of namespaces(7)")]
pub struct NewNamespaces {
    pub pid: bool,
    pub uts: bool,
    pub ipc: bool,
    pub net: bool,
    pub cgroup: bool,
}

/// A descriptor that the first task is born with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inherited {
    /// Its number.
    pub number: u32,
    /// What it leads to.
    pub source: Source,
}

/// What an inherited descriptor leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// The end of a pipe that is read: one byte, when the tracer is there.
    Gate,
    /// `pages.raw`, for reading.
    Pages,
    /// A mount namespace that the builder made.
    MountNamespace(NamespaceIndex),
    /// The root directory of its tasks (`O_PATH`).
    Root(NamespaceIndex),
    /// A user namespace that the builder made.
    UserNamespace(UserNsIndex),
    /// The network namespace that the builder made for the container's sysfs, if it made one.
    BuiltNet,
    /// The ipc namespace that the builder made for the container's mqueue, if it made one.
    BuiltIpc,
    /// /proc, as the caller sees it.
    Proc,
    /// A socket of rtnetlink(7) in the caller's network namespace.
    CallerRoute,
    /// What the operator granted under this name.
    External(String),
    /// The master of a pty that the builder made.
    Terminal(TerminalIndex),
    /// A program that the role for cgroups has loaded.
    Program(BpfIndex),
}

/// A thread that is to live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedThread {
    /// Its process in the record.
    pub process: ProcessIndex,
    /// Which of its threads.
    pub thread: u32,
    /// The script that ends in [`FINISHED`] when everything is done that it can do itself.
    pub script: ScriptId,
    /// Its numbers, as the caller's pid namespace counts or, where the container has its own, as that does:
    /// the first of the record's.
    pub tid: u32,
    /// What is done from outside.
    pub finish: Finish,
}

/// What the tracer does to a thread that has come to its end, from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    /// General registers, as they are to be when it runs.
    pub registers: Registers,
    /// The other registers (`NT_X86_XSTATE`).
    pub xstate: Vec<u8>,
    /// Blocked signals.
    pub mask: u64,
    /// Its filters of system calls.
    pub seccomp: Option<PlannedSeccomp>,
    /// The call that it was in, where that does not go on by its registers alone.
    pub interrupted: Interrupted,
}

/// The filters of a thread, and how they are installed when it has nothing else to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedSeccomp {
    /// The oldest first.
    pub filters: Vec<PlannedFilter>,
    /// Where an instruction `syscall` is that stays.
    pub instruction: u64,
    /// Memory of its own that is lent for a moment.
    pub scratch: u64,
    /// How much.
    pub length: u64,
    /// Its effective, permitted and inheritable capabilities, where it has more until then.
    pub sets: Option<[u64; 3]>,
}

/// A filter, and the call that installs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFilter {
    /// seccomp(2) or prctl(2).
    pub number: u32,
    /// Its arguments.
    pub arguments: [u64; 6],
    /// The program.
    pub program: Vec<FilterInstruction>,
}

/// A process of the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedProcess {
    /// Which.
    pub process: ProcessIndex,
    /// Its number, counted as [`PlannedThread::tid`] is.
    pub pid: u32,
    /// Whether it runs when it is released.
    pub state: ProcessState,
    /// `/proc/PID/oom_score_adj`.
    pub oom_score_adj: i16,
    /// `/proc/PID/coredump_filter`.
    pub coredump_filter: u32,
    /// Where it is in each hierarchy of cgroups: controllers, path.
    pub cgroups: Vec<(Vec<u8>, Vec<u8>)>,
}

//! A process: what its threads have in common.
//!
//! Kind: pure.

use super::{
    CgroupMembership, CgroupNsIndex, DescriptorTableIndex, FsIndex, IntervalTimer, IpcNsIndex,
    NetNsIndex, PidNsIndex, PosixTimer, ProcessIndex, SpaceIndex, Thread, TimeNsIndex, UtsNsIndex,
};
use crate::mounts::{NamespaceIndex, UserNsIndex};
use serde::{Deserialize, Serialize};

/// A process (a thread group).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The parent, which may have adopted it; none for the first.
    pub parent: Option<ProcessIndex>,
    /// The pid namespace that it is in, which says how many numbers it has.
    pub pid_namespace: PidNsIndex,
    /// The process group, as a pid in the *first* pid namespace; 0 if the group is
    /// that of a process outside the container.
    pub group: u32,
    /// The session, likewise.
    pub session: u32,
    /// What its parent gets when it ends (clone3(2), `exit_signal`); 0 for nothing.
    pub exit_signal: u8,
    /// Whether it runs.
    pub state: ProcessState,
    /// Orphans among its descendants become its children (`PR_SET_CHILD_SUBREAPER`).
    pub subreaper: bool,
    /// `PR_GET_DUMPABLE`: 0, 1 or 2.
    pub dumpable: u8,
    /// personality(2), as `/proc/PID/personality` has it.
    pub personality: u32,
    /// Transparent huge pages are off (`PR_GET_THP_DISABLE`).
    pub thp_disabled: bool,
    /// The lowest a process may have without privilege (`/proc/PID/oom_score_adj`).
    pub oom_score_adj: i16,
    /// `/proc/PID/coredump_filter`.
    pub coredump_filter: u32,
    /// Resource limits, by their number (getrlimit(2)): 16 of them.
    pub limits: Vec<Limit>,
    /// Actions that are not the default one with no flags (sigaction(2)).
    pub actions: Vec<SignalAction>,
    /// Signals that wait for any thread, in their order.
    pub pending: Vec<SignalInfo>,
    /// setitimer(2): real, virtual, prof.
    pub interval_timers: [IntervalTimer; 3],
    /// timer_create(2).
    pub posix_timers: Vec<PosixTimer>,
    /// Memory; none for a zombie.
    pub space: Option<SpaceIndex>,
    /// Descriptors; none for a zombie.
    pub descriptors: Option<DescriptorTableIndex>,
    /// Root, working directory and umask; none for a zombie.
    pub fs: Option<FsIndex>,
    /// The mount namespace; none for a zombie.
    pub mount_namespace: Option<NamespaceIndex>,
    /// The user namespace that its credentials belong to; none: the caller's.
    pub user_namespace: Option<UserNsIndex>,
    /// The UTS namespace; none: the caller's.
    pub uts_namespace: Option<UtsNsIndex>,
    /// The IPC namespace; none: the caller's.
    pub ipc_namespace: Option<IpcNsIndex>,
    /// The network namespace; none: the caller's.
    pub net_namespace: Option<NetNsIndex>,
    /// The cgroup namespace; none: the caller's.
    pub cgroup_namespace: Option<CgroupNsIndex>,
    /// The time namespace; none: the caller's.
    pub time_namespace: Option<TimeNsIndex>,
    /// Where it is in each hierarchy of cgroups.
    pub cgroups: Vec<CgroupMembership>,
    /// The threads. The first is the leader; a zombie has that one alone.
    pub threads: Vec<Thread>,
}

impl Process {
    /// Its number in the first pid namespace of the image; 0 for a record without one, which no check passes.
    pub fn first_pid(&self) -> u32 {
        self.threads.first().map_or(0, Thread::first_pid)
    }

    /// Its number in its own pid namespace; 0 likewise.
    pub fn own_pid(&self) -> u32 {
        let leader = self.threads.first();
        leader
            .and_then(|leader| leader.pids.last())
            .copied()
            .unwrap_or(0)
    }
}

/// Whether a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcessState {
    /// It does, or waits for something.
    Running,
    /// Stopped by this signal (signal(7)), until SIGCONT.
    Stopped(u8),
    /// It has ended, and its parent has not asked how: the status that wait(2) gives.
    Zombie(u32),
}

/// A soft and a hard limit; `u64::MAX` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// What is in force.
    pub soft: u64,
    /// What the soft one may be raised to.
    pub hard: u64,
}

/// What a process does with a signal: the kernel's `struct sigaction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalAction {
    /// Its number.
    pub signal: u8,
    /// 0 (`SIG_DFL`), 1 (`SIG_IGN`) or an address.
    pub handler: u64,
    /// `SA_*`.
    pub flags: u64,
    /// Where a handler returns to.
    pub restorer: u64,
    /// What is blocked while it runs.
    pub mask: u64,
}

/// A signal that waits: the kernel's `siginfo_t`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalInfo {
    /// 128 bytes.
    pub bytes: Vec<u8>,
}

impl SignalInfo {
    /// Its number, which is what the bytes begin with.
    pub fn signal(&self) -> Option<u32> {
        let number = self.bytes.first_chunk::<4>()?;
        Some(u32::from_le_bytes(*number))
    }
}

//! A thread: registers, signals, credentials, scheduling.
//!
//! Kind: pure.

use super::{SeccompIndex, SignalInfo};
use serde::{Deserialize, Serialize};

/// A thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// Its number in each pid namespace, from the first of the image to its own.
    pub pids: Vec<u32>,
    /// `/proc/PID/comm`: up to 15 bytes.
    pub name: Vec<u8>,
    /// General registers.
    pub registers: Registers,
    /// x87, SSE, AVX and whatever else this processor saves: the xsave area in its standard
    /// (not compacted) form, as `PTRACE_GETREGSET` with `NT_X86_XSTATE` gives it.
    pub xstate: Vec<u8>,
    /// The system call that it was in, where that does not just go on.
    pub interrupted: Interrupted,
    /// Blocked signals; bit 0 is signal 1.
    pub mask: u64,
    /// Signals that wait for this thread, in their order.
    pub pending: Vec<SignalInfo>,
    /// sigaltstack(2).
    pub alternate_stack: AlternateStack,
    /// Cleared, and woken at, when it ends (set_tid_address(2)).
    pub tid_address: u64,
    /// get_robust_list(2).
    pub robust_list: RobustList,
    /// Restartable sequences (rseq(2)).
    pub rseq: Option<Rseq>,
    /// Who it is.
    pub credentials: Credentials,
    /// How it gets the processor.
    pub scheduling: Scheduling,
    /// The processors that it may run on: bit 0 of byte 0 is processor 0 (sched_setaffinity(2)).
    pub affinity: Vec<u8>,
    /// ioprio_get(2).
    pub io_priority: u16,
    /// `PR_GET_TIMERSLACK`, in nanoseconds.
    pub timer_slack: u64,
    /// Sent to it when its parent ends (`PR_GET_PDEATHSIG`); 0 for none.
    pub parent_death_signal: u8,
    /// System calls that it may make.
    pub seccomp: SeccompState,
}

impl Thread {
    /// Its number in the first pid namespace of the image; 0 for a record without one, which no check passes.
    pub fn first_pid(&self) -> u32 {
        self.pids.first().copied().unwrap_or(0)
    }
}

/// The kernel's `struct user_regs_struct` of x86-64, in its order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the processor's own names")]
pub struct Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub eflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub fs_base: u64,
    pub gs_base: u64,
    pub ds: u64,
    pub es: u64,
    pub fs: u64,
    pub gs: u64,
}

/// A system call that was interrupted when the thread was frozen. `registers` are those
/// of the moment: rax is what the kernel was about to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Interrupted {
    /// None, or one that ends or begins anew by its registers alone.
    No,
    /// One that goes on where it was (`-ERESTART_RESTARTBLOCK`, rax = -516): a timed
    /// wait, with the nanoseconds that remained.
    Timed {
        /// Until it ends.
        remaining: u64,
    },
}

/// sigaltstack(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlternateStack {
    /// `ss_sp`.
    pub address: u64,
    /// `ss_size`.
    pub size: u64,
    /// `ss_flags`: `SS_DISABLE` (2), `SS_ONSTACK` (1), `SS_AUTODISARM` (1 << 31).
    pub flags: u32,
}

/// get_robust_list(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RobustList {
    /// The head; 0 for none.
    pub head: u64,
    /// Its length.
    pub length: u64,
}

/// rseq(2): what `PTRACE_GET_RSEQ_CONFIGURATION` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rseq {
    /// Where the structure is.
    pub address: u64,
    /// Its size.
    pub size: u32,
    /// The signature.
    pub signature: u32,
}

/// credentials(7), capabilities(7). Ids are those of its user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// Real, effective, saved, file system.
    pub uids: [u32; 4],
    /// Real, effective, saved, file system.
    pub gids: [u32; 4],
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// All five sets.
    pub capabilities: Capabilities,
    /// `PR_GET_SECUREBITS`.
    pub securebits: u32,
    /// `PR_GET_NO_NEW_PRIVS`.
    pub no_new_privs: bool,
}

/// Sets of capabilities; bit 0 is `CAP_CHOWN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names of capabilities(7)")]
pub struct Capabilities {
    pub inheritable: u64,
    pub permitted: u64,
    pub effective: u64,
    pub bounding: u64,
    pub ambient: u64,
}

/// sched_getattr(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduling {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// -20 to 19.
    pub nice: i32,
    /// Of the real-time policies.
    pub priority: u32,
    /// Of `SCHED_DEADLINE`, in nanoseconds.
    pub runtime: u64,
    /// Likewise.
    pub deadline: u64,
    /// Likewise.
    pub period: u64,
}

/// seccomp(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompState {
    /// No filter.
    Off,
    /// These.
    Filters(SeccompIndex),
}

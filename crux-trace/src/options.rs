//! What a tracer hears of, and what becomes of its tasks when it ends.
//!
//! Kind: pure.

use std::ops::BitOr;

/// `PTRACE_O_*`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options(pub(crate) u32);

impl Options {
    /// None: when the tracer ends, its tasks go on as if there had been none.
    pub const NONE: Self = Self(0);
    /// The tasks end with the tracer.
    pub const EXIT_KILL: Self = Self(libc::PTRACE_O_EXITKILL as u32);
    /// New threads are traced from their beginning.
    pub const TRACE_CLONE: Self = Self(libc::PTRACE_O_TRACECLONE as u32);
    /// New processes are traced from their beginning.
    pub const TRACE_FORK: Self = Self(libc::PTRACE_O_TRACEFORK as u32);
    /// Likewise with vfork(2), and clone(2) with `CLONE_VFORK`.
    pub const TRACE_VFORK: Self = Self(libc::PTRACE_O_TRACEVFORK as u32);
    /// A stop before a task is gone.
    pub const TRACE_EXIT: Self = Self(libc::PTRACE_O_TRACEEXIT as u32);
    /// A stop where a task has become another program.
    pub const TRACE_EXEC: Self = Self(libc::PTRACE_O_TRACEEXEC as u32);
    /// Stops at system calls can be told from those for `SIGTRAP`.
    pub const SYSCALL_GOOD: Self = Self(libc::PTRACE_O_TRACESYSGOOD as u32);
    /// All descendants are traced from their beginning.
    pub const DESCENDANTS: Self =
        Self(Self::TRACE_CLONE.0 | Self::TRACE_FORK.0 | Self::TRACE_VFORK.0);
}

impl BitOr for Options {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

//! What a stopped thread has: registers, signals, restartable sequences.
//!
//! Kind: pure. All of it is as the kernel has it.

/// General registers. With `orig_rax` = -1 the kernel restarts no system call.
pub type Registers = libc::user_regs_struct;

/// `sizeof(siginfo_t)`.
pub const SIGINFO_BYTES: usize = 128;

/// A `siginfo_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct SigInfo(pub [u8; SIGINFO_BYTES]);

impl SigInfo {
    /// `si_signo`.
    #[must_use]
    pub fn signal(&self) -> i32 {
        let [a, b, c, d, ..] = self.0;
        i32::from_le_bytes([a, b, c, d])
    }
}

/// Which signals that wait are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Those for this thread.
    Thread,
    /// Those for any thread of its process.
    Process,
}

/// rseq(2): what was registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RseqConfiguration {
    /// Where the structure is.
    pub address: u64,
    /// Its size.
    pub size: u32,
    /// The signature.
    pub signature: u32,
}

/// A seccomp filter of a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledFilter {
    /// `SECCOMP_FILTER_FLAG_LOG`.
    pub log: bool,
    /// `struct sock_filter` each.
    pub program: Vec<[u8; 8]>,
}

//! A thread that is traced and has stopped: all that can be asked of it, and letting it go on.
//!
//! Kind: effect. SIGKILL ends a stopped thread as well: each request may find it gone
//! ([`TraceError::is_gone`]).

use crate::error::named;
use crate::running::Running;
use crate::state::{InstalledFilter, Queue, Registers, RseqConfiguration, SIGINFO_BYTES, SigInfo};
use crate::stop::{Stop, Tid};
use crate::sys;
use crate::{Options, TraceError};
use rustix::io::Errno;

/// A traced thread that is stopped.
#[derive(Debug, PartialEq, Eq)]
pub struct Stopped {
    tid: Tid,
    stop: Stop,
}

/// How far a thread goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// Until something happens (`PTRACE_CONT`).
    Continue,
    /// Until it enters or leaves a system call (`PTRACE_SYSCALL`).
    ToSyscall,
    /// Not at all, but it hears of SIGCONT: for a group stop (`PTRACE_LISTEN`).
    Listen,
    /// One instruction (`PTRACE_SINGLESTEP`).
    Step,
}

impl Resume {
    fn request(self) -> (u32, &'static str) {
        match self {
            Self::Continue => (libc::PTRACE_CONT, "PTRACE_CONT"),
            Self::ToSyscall => (libc::PTRACE_SYSCALL, "PTRACE_SYSCALL"),
            Self::Listen => (libc::PTRACE_LISTEN, "PTRACE_LISTEN"),
            Self::Step => (libc::PTRACE_SINGLESTEP, "PTRACE_SINGLESTEP"),
        }
    }
}

impl Stopped {
    pub(crate) fn new(tid: Tid, stop: Stop) -> Self {
        Self { tid, stop }
    }

    /// Its number.
    #[must_use]
    pub fn tid(&self) -> Tid {
        self.tid
    }

    /// Why it stopped.
    #[must_use]
    pub fn stop(&self) -> Stop {
        self.stop
    }

    /// Lets it go on, with this signal delivered if it is at a signal-delivery stop (0: none).
    pub fn resume(self, how: Resume, signal: i32) -> Result<Running, TraceError> {
        let (request, name) = how.request();
        named(sys::resume(self.tid.0, request, signal), || {
            self.call(name, signal)
        })?;
        Ok(Running::attached(self.tid))
    }

    /// Ends the tracing. A group stop goes on without the tracer.
    pub fn detach(self, signal: i32) -> Result<(), TraceError> {
        named(sys::resume(self.tid.0, libc::PTRACE_DETACH, signal), || {
            self.call("PTRACE_DETACH", signal)
        })
    }

    /// Replaces the options it was seized with.
    pub fn set_options(&self, options: Options) -> Result<(), TraceError> {
        named(sys::set_options(self.tid.0, options.0), || {
            self.call("PTRACE_SETOPTIONS", options.0)
        })
    }

    /// What goes with an event: the number of what was created, the exit status.
    pub fn event_message(&self) -> Result<u64, TraceError> {
        self.ask("PTRACE_GETEVENTMSG", sys::event_message(self.tid.0))
    }

    /// General registers.
    pub fn registers(&self) -> Result<Registers, TraceError> {
        self.ask("PTRACE_GETREGSET, NT_PRSTATUS", sys::registers(self.tid.0))
    }

    /// Sets all of them.
    pub fn set_registers(&self, registers: &Registers) -> Result<(), TraceError> {
        let done = sys::set_registers(self.tid.0, registers);
        self.ask("PTRACE_SETREGSET, NT_PRSTATUS", done)
    }

    /// The xsave area in its standard form: x87, SSE, AVX and what else the processor saves.
    pub fn xstate(&self) -> Result<Vec<u8>, TraceError> {
        self.ask("PTRACE_GETREGSET, NT_X86_XSTATE", sys::xstate(self.tid.0))
    }

    /// Sets it; the size has to be the kernel's.
    pub fn set_xstate(&self, area: &[u8]) -> Result<(), TraceError> {
        let done = sys::set_xstate(self.tid.0, area);
        self.ask("PTRACE_SETREGSET, NT_X86_XSTATE", done)
    }

    /// Blocked signals; bit 0 is signal 1.
    pub fn signal_mask(&self) -> Result<u64, TraceError> {
        self.ask("PTRACE_GETSIGMASK", sys::signal_mask(self.tid.0))
    }

    /// Sets it. It stays if the tracer ends: not for tasks that are to notice nothing.
    pub fn set_signal_mask(&self, mask: u64) -> Result<(), TraceError> {
        let done = sys::set_signal_mask(self.tid.0, mask);
        self.ask("PTRACE_SETSIGMASK", done)
    }

    /// Writes whole words into its memory (`PTRACE_POKEDATA`), whatever the protection of the
    /// pages, and whoever owns `/proc/PID/mem`. Of a private mapping that cannot be written it gets a copy.
    pub fn poke(&self, address: u64, bytes: &[u8]) -> Result<(), TraceError> {
        let (words, rest) = bytes.as_chunks::<8>();
        let whole = match rest.is_empty() {
            true => Ok(()),
            false => Err(Errno::INVAL),
        };
        self.ask("PTRACE_POKEDATA", whole)?;
        for (at, word) in (address..).step_by(8).zip(words) {
            let poked = sys::poke(self.tid.0, at, u64::from_le_bytes(*word));
            self.ask("PTRACE_POKEDATA", poked)?;
        }
        Ok(())
    }

    /// Signals that wait, in their order; they stay where they are.
    pub fn pending(&self, queue: Queue) -> Result<Vec<SigInfo>, TraceError> {
        const BATCH: usize = 64;
        let mut all = Vec::new();
        loop {
            let mut batch = [SigInfo([0; SIGINFO_BYTES]); BATCH];
            let read = sys::peek_signals(self.tid.0, queue, all.len() as u64, &mut batch);
            let count = self.ask("PTRACE_PEEKSIGINFO", read)?;
            all.extend_from_slice(&batch[..count]);
            if count < BATCH {
                return Ok(all);
            }
        }
    }

    /// The signal of a signal-delivery stop.
    pub fn signal_info(&self) -> Result<SigInfo, TraceError> {
        self.ask("PTRACE_GETSIGINFO", sys::signal_info(self.tid.0))
    }

    /// Changes it.
    pub fn set_signal_info(&self, info: &SigInfo) -> Result<(), TraceError> {
        self.ask("PTRACE_SETSIGINFO", sys::set_signal_info(self.tid.0, info))
    }

    /// Its registration of rseq(2), if it has one.
    pub fn rseq(&self) -> Result<Option<RseqConfiguration>, TraceError> {
        let found = sys::rseq(self.tid.0);
        let found = self.ask("PTRACE_GET_RSEQ_CONFIGURATION", found)?;
        Ok(Some(found).filter(|it| it.address != 0))
    }

    /// One of its seccomp filters, 0 the oldest; none where there are not as many. For a tracer that has
    /// `CAP_SYS_ADMIN`, and no filter itself.
    pub fn seccomp_filter(&self, index: u64) -> Result<Option<InstalledFilter>, TraceError> {
        const LOG: u64 = 2;
        let program = match sys::seccomp_filter(self.tid.0, index) {
            Err(Errno::NOENT) => return Ok(None),
            other => self.ask("PTRACE_SECCOMP_GET_FILTER", other)?,
        };
        let flags = sys::seccomp_flags(self.tid.0, index);
        let flags = self.ask("PTRACE_SECCOMP_GET_METADATA", flags)?;
        Ok(Some(InstalledFilter {
            log: flags & LOG != 0,
            program,
        }))
    }

    fn ask<T>(&self, request: &str, result: Result<T, Errno>) -> Result<T, TraceError> {
        let tid = self.tid;
        named(result, || format!("ptrace({request}, {tid})"))
    }

    fn call(&self, request: &str, data: impl std::fmt::Display) -> String {
        format!("ptrace({request}, {}, 0, {data})", self.tid)
    }
}

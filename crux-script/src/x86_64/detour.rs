//! How a living task is sent through the stub and back, so that it notices nothing,
//! whenever the tracer dies.
//!
//! Kind: pure; it says which bytes and registers. The tracer, with the task in the stop of an interrupt
//! (`PTRACE_EVENT_STOP`) or of a signal, or where an earlier detour has ended:
//!
//! 1. writes [`Detour::code`] at its address and the linked script into the scratch memory,
//!    whose old bytes it keeps. Nothing of this runs yet;
//! 2. sets [`Detour::registers`], with *one* `PTRACE_SETREGS`;
//! 3. lets the task go on, syscall stop by syscall stop, until it [has left](Detour::has_left) the last call;
//! 4. sets [`Detour::registers_after`], reads the results, puts the scratch memory back and zeroes the code.
//!
//! Two stops for each call are what takes the time. With a [summons](Detour::summoned_by) the task raises a signal when it
//! has answered: a traced task stops for it, whatever its action is, and one that is not ignores it. The tracer
//! then lets the task go on freely in 3, until the stop at which it [has answered](Detour::has_answered). Where the way may
//! [end there](Detour::ends_early), it sets [`Detour::mask`] (`PTRACE_SETSIGMASK`), which the stub would do next, and then 4;
//! otherwise it goes on as above.
//!
//! What the stub needs to leave is beside its code, and is only read there: neither a handler nor another
//! thread can spoil it. If the tracer dies before 2, the task has never left; from 2 on, the stub goes
//! through the script and leaves by itself, and the code stays where it is, in memory that nothing uses. If it dies after 4's
//! `PTRACE_SETREGS`, all is as if nothing had happened.
//!
//! KERNEL: a call that was interrupted is restarted on the way to user mode, if a signal is there or seems
//! to be. Going in, the task keeps the number and result of the call: so the kernel itself decides
//! between restarting it, which leads to the stub's entry, and ending it with `EINTR` for a handler that
//! runs first, which leads two bytes further. Coming out, the tracer sets the original
//! registers at a syscall stop, where no signal seems to be there: the task has to be *detached*, or *interrupted*
//! (`PTRACE_INTERRUPT`) before it is let go on, or the program would see `ERESTARTSYS`. The death of the tracer
//! is as good as a detach.
//!
//! What stays open, and only if the tracer dies meanwhile: a signal with a handler without `SA_RESTART` that comes while
//! the stub runs does not end a call that a handler ends only then (`ERESTARTSYS`: read(2) of a pipe); the call is
//! restarted after the handler. Calls that any handler ends (pause(2), sigsuspend(2), sleeps) end.
//!
//! Assumed: 64-bit code; general registers and flags as they were are all that a task needs, as the stub touches
//! neither vector registers nor segments; a shadow stack is not touched by the indirect
//! jump, and indirect branch tracking allows it (`notrack`).

use super::stub::{DUMP_CODE, offsets};
use crate::ids::ScriptId;
use crate::link::Linked;
use libc::user_regs_struct;

/// Bytes below the stack pointer that a function may use (System V ABI).
const RED_ZONE: u64 = 128;
/// Scratch memory so far below the stack pointer is on the stack.
const STACK: u64 = 1 << 20;

const ERESTARTSYS: i64 = -512;
const ERESTARTNOINTR: i64 = -513;
const ERESTARTNOHAND: i64 = -514;
const ERESTART_RESTARTBLOCK: i64 = -516;
const EINTR: u64 = (libc::EINTR as u64).wrapping_neg();
/// syscall, and int 0x80, are of two bytes.
const CALL_LEN: u64 = 2;
/// Nothing but the bit that is always set, and interrupts: neither the trap nor the direction flag.
const FLAGS: u64 = 0x202;

/// One task's way through the stub.
#[derive(Debug, Clone)]
pub struct Detour {
    saved: user_regs_struct,
    mask: u64,
    code_at: u64,
    first_line: u64,
    stack: u64,
    summons: Option<u8>,
}

/// Signals that do nothing by default and that nothing is done for when they are sent, but for what their action says.
const QUIET: [libc::c_int; 3] = [libc::SIGURG, libc::SIGWINCH, libc::SIGCHLD];

/// A restartable sequence (rseq(2)): `struct rseq_cs`, to which the task's `rseq_cs` points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rseq {
    /// Where it starts.
    pub start_ip: u64,
    /// Its length.
    pub post_commit_offset: u64,
    /// Where the kernel would have gone on.
    pub abort_ip: u64,
}

/// What a task was doing when it was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Computing, or done with a call.
    Running,
    /// In a call that is restarted, unless a handler ends it: any handler, or one without `SA_RESTART`, or none.
    Call,
    /// In a call that is made again, unless any handler runs.
    CallUntilHandler,
    /// In a call that goes on with restart_syscall(2).
    CallWithRestartBlock,
}

impl Doing {
    fn of(registers: &user_regs_struct) -> Self {
        if registers.orig_rax as i64 == -1 {
            return Self::Running;
        }
        match registers.rax as i64 {
            ERESTARTSYS | ERESTARTNOINTR => Self::Call,
            ERESTARTNOHAND => Self::CallUntilHandler,
            ERESTART_RESTARTBLOCK => Self::CallWithRestartBlock,
            _ => Self::Running,
        }
    }
}

impl Rseq {
    /// Where a task goes on that is stopped there.
    fn resume(&self, rip: u64) -> u64 {
        let inside = rip.wrapping_sub(self.start_ip) < self.post_commit_offset;
        if inside { self.abort_ip } else { rip }
    }
}

impl Detour {
    /// A way through a script of a dump. `saved` are the task's registers, `mask` its blocked signals
    /// (`PTRACE_GETSIGMASK`), `code_at` executable memory that is zero and that nothing uses,
    /// [`super::DUMP_STUB_LEN`] bytes and a multiple of eight. `rseq` is the task's restartable sequence, if it is in one:
    /// the kernel forgets it on the way, so the task goes on where it is aborted.
    ///
    /// None if there is no such script.
    #[must_use]
    pub fn new(
        mut saved: user_regs_struct,
        mask: u64,
        rseq: Option<Rseq>,
        code_at: u64,
        linked: &Linked,
        script: ScriptId,
    ) -> Option<Self> {
        if let Some(rseq) = rseq {
            saved.rip = rseq.resume(saved.rip);
        }
        let first_line = linked.entry(script)?;
        let below = saved.rsp.wrapping_sub(linked.base()) < STACK;
        let stack = if below { linked.base() } else { saved.rsp };
        Some(Self {
            saved,
            mask,
            code_at,
            first_line,
            stack,
            summons: None,
        })
    }

    /// The same, with a signal that the task raises when it has answered, if there is one that nobody
    /// takes notice of. Bit 0 is signal 1: `handled` are those with a handler, `pending` those that wait (in either queue).
    ///
    /// KERNEL: a signal that a traced task ignores is queued for its tracer (`sig_ignored()`).
    #[must_use]
    pub fn summoned_by(mut self, handled: u64, pending: u64) -> Self {
        // One that is blocked may be waited for (sigwait, signalfd): it would be taken from who does.
        let noticed = handled | pending | self.mask;
        let quiet = QUIET.iter().find(|it| noticed & bit(**it) == 0);
        self.summons = quiet.and_then(|it| u8::try_from(*it).ok());
        self
    }

    /// Whether the task raises a signal when it has answered.
    #[must_use]
    pub fn has_summons(&self) -> bool {
        self.summons.is_some()
    }

    /// The task's blocked signals, as they are to be again.
    #[must_use]
    pub fn mask(&self) -> u64 {
        self.mask
    }

    /// Where scratch memory of this length is, if it is to be on the task's stack: below the
    /// red zone. TRUST: that what is below a stack pointer is free is an ABI of C. Go's goroutines have
    /// stacks of some kilobytes between other memory, so other places suit them better.
    #[must_use]
    pub fn scratch_below(stack_pointer: u64, len: u64) -> u64 {
        stack_pointer.wrapping_sub(RED_ZONE).wrapping_sub(len) & !15
    }

    /// Where [`Self::code`] is to be put.
    #[must_use]
    pub fn code_at(&self) -> u64 {
        self.code_at
    }

    /// The stub with what it needs to leave.
    #[must_use]
    pub fn code(&self) -> Vec<u8> {
        let saved = &self.saved;
        let (rax, again) = self.again();
        let ends_by_handler = Doing::of(saved) == Doing::CallUntilHandler;
        let summons = libc::c_int::from(self.summons.unwrap_or(0));
        let blocked = self.summons.map_or(!0, |_| !bit(summons));
        let frame = [
            (offsets::DUMP_R15, saved.r15),
            (offsets::DUMP_R14, saved.r14),
            (offsets::DUMP_R13, saved.r13),
            (offsets::DUMP_R12, saved.r12),
            (offsets::DUMP_RBP, saved.rbp),
            (offsets::DUMP_RBX, saved.rbx),
            (offsets::DUMP_R11, saved.r11),
            (offsets::DUMP_R10, saved.r10),
            (offsets::DUMP_R9, saved.r9),
            (offsets::DUMP_R8, saved.r8),
            (offsets::DUMP_RCX, saved.rcx),
            (offsets::DUMP_RDX, saved.rdx),
            (offsets::DUMP_RSI, saved.rsi),
            (offsets::DUMP_RDI, saved.rdi),
            (offsets::DUMP_RSP, saved.rsp),
            (offsets::DUMP_FLAGS, saved.eflags),
            (offsets::DUMP_MASK, self.mask),
            (offsets::DUMP_RAX, rax),
            (offsets::DUMP_AGAIN, again),
            (offsets::DUMP_RIP, saved.rip),
            (offsets::DUMP_ENDS_BY_HANDLER, ends_by_handler.into()),
            (offsets::DUMP_SUMMONS, summons as u64),
            (offsets::DUMP_BLOCKED, blocked),
        ];
        let mut code = DUMP_CODE.to_vec();
        for (offset, value) in frame {
            code[offset as usize..][..8].copy_from_slice(&value.to_le_bytes());
        }
        code
    }

    /// What of [`Self::code`] is another for each task: all behind this is.
    #[must_use]
    pub fn common_len() -> usize {
        offsets::DUMP_FRAME as usize
    }

    /// With which rax, and where, the task goes on by itself.
    fn again(&self) -> (u64, u64) {
        let saved = &self.saved;
        match Doing::of(saved) {
            Doing::Running => (saved.rax, saved.rip),
            Doing::Call | Doing::CallUntilHandler => (saved.orig_rax, saved.rip - CALL_LEN),
            Doing::CallWithRestartBlock => (libc::SYS_restart_syscall as u64, saved.rip - CALL_LEN),
        }
    }

    /// The registers with which the task enters.
    #[must_use]
    pub fn registers(&self) -> user_regs_struct {
        let mut registers = self.saved;
        registers.r15 = self.first_line;
        registers.rsp = self.stack;
        registers.eflags = FLAGS;
        registers.rip = self.code_at + offsets::DUMP_INTERRUPTED;
        if Doing::of(&self.saved) == Doing::Running {
            registers.rip = self.code_at + offsets::DUMP_ENTRY;
            registers.orig_rax = u64::MAX;
        }
        registers
    }

    /// Whether the task, which has stopped for a signal, has raised that itself: all lines have run.
    #[must_use]
    pub fn has_answered(&self, now: &user_regs_struct) -> bool {
        self.has_summons() && now.rip == self.code_at + offsets::DUMP_ANSWERED
    }

    /// Whether a tracer may set mask and registers when the task [has answered](Self::has_answered), and not only when
    /// it has left; `pending` are the signals that wait for it by then, in either queue. If it dies between the two, the stub
    /// goes on, and handlers of signals that have come meanwhile run before it looks whether one has to end a
    /// call. Only a call that any handler ends would not notice.
    #[must_use]
    pub fn ends_early(&self, pending: impl FnOnce() -> u64) -> bool {
        Doing::of(&self.saved) != Doing::CallUntilHandler || pending() & !self.mask == 0
    }

    /// Whether the task is at the exit of the stub's last call: its signals are as they were.
    #[must_use]
    pub fn has_left(&self, now: &user_regs_struct) -> bool {
        // At its entry rip is the same, and rax says that there is no result yet.
        let no_result = i64::from(libc::ENOSYS).wrapping_neg() as u64;
        now.rip == self.code_at + offsets::DUMP_LEFT && now.rax != no_result
    }

    /// Whether the task is in the stub.
    #[must_use]
    pub fn is_inside(&self, now: &user_regs_struct) -> bool {
        now.rip.wrapping_sub(self.code_at) < offsets::DUMP_FRAME
    }

    /// The registers with which a task goes on that [has left](Self::has_left) the last call: those it
    /// had, unless a handler has ended its call meanwhile.
    #[must_use]
    pub fn registers_after(&self, now: &user_regs_struct) -> user_regs_struct {
        let mut registers = self.saved;
        if now.r12 != 0 {
            registers.rax = EINTR;
            registers.orig_rax = u64::MAX;
        }
        registers
    }
}

/// Of a set of signals.
fn bit(signal: libc::c_int) -> u64 {
    1 << (signal - 1)
}

#[cfg(test)]
#[path = "detour_test.rs"]
mod tests;

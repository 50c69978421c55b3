//! Has a frozen task answer a script of questions, so that it notices nothing.
//!
//! Kind: effect. How, and why the task survives the death of this process at any moment, is
//! in crux-script's `Detour`: what is written into the task beforehand is in memory that nothing
//! uses, and it enters by one change of registers.

use super::questions::{Answers, Questions};
use super::target::Target;
use crux_image::tasks::FilteredCall;
use crux_script::{DUMP_STUB_LEN, Detour, Linked, Purpose, Rseq};
use crux_trace::{
    Options, Queue, Registers, Resume, Running, Stop, Stopped, Tid, TraceError, Waited,
    read_memory, write_memory,
};
use std::time::{Duration, Instant};

/// A script makes some ten calls, none of which sleeps.
const PATIENCE: Duration = Duration::from_secs(10);
const PAGE: usize = 4096;
/// What the stub itself calls, before the questions and behind them.
pub(super) const STUB_CALLS: [FilteredCall; 2] = [
    FilteredCall {
        number: libc::SYS_rt_sigprocmask as u32,
        instruction: 0,
        arguments: [libc::SIG_SETMASK as u64, 0, 0, 8, 0, 0],
    },
    FilteredCall {
        number: libc::SYS_ppoll as u32,
        instruction: 0,
        arguments: [0, 0, 0, 0, 8, 0],
    },
];

/// Why a task did not answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// A request failed.
    #[error("{0}")]
    Trace(#[from] TraceError),
    /// It has no room for the stub.
    #[error(
        "no executable memory of it has {DUMP_STUB_LEN} unused bytes: it has unmapped its vDSO"
    )]
    NoRoom,
    /// The script was refused.
    #[error("a script was refused: {0}")]
    Script(String),
    /// It does not come to the end of the script.
    #[error("it does not come back from a script of system calls")]
    Stuck,
    /// It was killed.
    #[error("it was killed meanwhile")]
    Killed,
    /// A call failed that cannot.
    #[error("{0} failed in it")]
    Unanswered(&'static str),
}

/// Where code goes in a process: the end of its vDSO, which is zero.
#[derive(Debug)]
pub(super) struct Room {
    code_at: u64,
    code: Code,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Zeros,
    /// That of an earlier thread, with what that needed to leave.
    There,
}

/// Signals of a thread; bit 0 is signal 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signals {
    /// Those with a handler.
    pub(super) handled: u64,
    /// Those that wait.
    pub(super) pending: u64,
}

/// A thread on its way through a script.
#[derive(Debug)]
pub(super) struct Asking {
    running: Running,
    detour: Detour,
    linked: Linked,
    /// What is in the place of the script.
    before: Vec<u8>,
    questions: Questions,
}

impl Room {
    /// Looks for it.
    pub(super) fn find(target: &Target) -> Result<Self, AskError> {
        let tid = Tid::new(target.pid).ok_or(AskError::NoRoom)?;
        let maps = super::proc_text::read(&target.directory, "maps").unwrap_or_default();
        let line = maps
            .split(|b| *b == b'\n')
            .find(|it| it.ends_with(b"[vdso]"));
        let end = line.and_then(|line| {
            let range = line.split(|b| *b == b' ').next()?;
            let end = std::str::from_utf8(range).ok()?.split_once('-')?.1;
            u64::from_str_radix(end, 16).ok()
        });
        let end = end.ok_or(AskError::NoRoom)?;
        let mut page = [0; PAGE];
        read_memory(tid, end - PAGE as u64, &mut page)?;
        let used = page.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        // One word apart from what may end in zeros itself.
        let code = (PAGE - DUMP_STUB_LEN) & !7;
        match used + 8 <= code {
            true => Ok(Self {
                code_at: end - PAGE as u64 + code as u64,
                code: Code::Zeros,
            }),
            false => Err(AskError::NoRoom),
        }
    }

    /// Sends a stopped thread on its way. No other of this process may be.
    pub(super) fn begin(
        &mut self,
        thread: Stopped,
        questions: Questions,
        signals: Signals,
    ) -> Result<Asking, AskError> {
        let registers = thread.registers()?;
        let linked = link(&questions, registers.rsp)?;
        let rseq = critical_section(&thread, &registers)?;
        let mask = thread.signal_mask()?;
        let script = questions.script;
        let detour = Detour::new(registers, mask, rseq, self.code_at, &linked, script)
            .ok_or_else(|| AskError::Script("it is not there".into()))?
            .summoned_by(signals.handled, signals.pending);
        let mut before = vec![0; linked.bytes().len()];
        let tid = thread.tid();
        read_memory(tid, linked.base(), &mut before)?;
        self.write(&thread, &detour.code())?;
        write_memory(tid, linked.base(), linked.bytes())?;
        if !detour.has_summons() {
            thread.set_options(Options::SYSCALL_GOOD)?;
        }
        thread.set_registers(&detour.registers())?;
        let running = thread.resume(how(&detour), 0)?;
        Ok(Asking {
            running,
            detour,
            linked,
            before,
            questions,
        })
    }

    /// Of what an earlier thread of the process has left, only that which was its own is replaced.
    fn write(&mut self, thread: &Stopped, code: &[u8]) -> Result<(), TraceError> {
        let from = match self.code {
            Code::Zeros => 0,
            Code::There => Detour::common_len(),
        };
        self.code = Code::There;
        thread.poke(self.code_at + from as u64, &code[from..])
    }

    /// Puts the zeros back, when all threads of the process have answered.
    pub(super) fn clear(self, thread: &Stopped) -> Result<(), AskError> {
        match self.code {
            Code::Zeros => Ok(()),
            Code::There => Ok(thread.poke(self.code_at, &[0; DUMP_STUB_LEN])?),
        }
    }
}

impl Asking {
    /// Waits for the answers. The thread is stopped as before, with the registers that it had.
    pub(super) fn finish(self) -> Result<(Stopped, Answers), AskError> {
        let (thread, now) = go(self.running, &self.detour)?;
        thread.set_registers(&self.detour.registers_after(&now))?;
        let (tid, base) = (thread.tid(), self.linked.base());
        let mut after = vec![0; self.linked.bytes().len()];
        read_memory(tid, base, &mut after)?;
        write_memory(tid, base, &self.before)?;
        let answers = self.questions.answers(&self.linked, &after);
        Ok((thread, answers.map_err(AskError::Unanswered)?))
    }
}

/// The restartable sequence that it is in (rseq(2)): `rseq_cs` is the second word of the structure.
fn critical_section(thread: &Stopped, registers: &Registers) -> Result<Option<Rseq>, AskError> {
    let Some(configuration) = thread.rseq()? else {
        return Ok(None);
    };
    let mut pointer = [0; 8];
    read_memory(thread.tid(), configuration.address + 8, &mut pointer)?;
    let pointer = u64::from_le_bytes(pointer);
    let mut bytes = [0; 32];
    // What is no such structure the kernel would have ended the task for.
    if pointer == 0 || read_memory(thread.tid(), pointer, &mut bytes).is_err() {
        return Ok(None);
    }
    let word = |at: usize| {
        bytes[at..]
            .first_chunk()
            .map_or(0, |it| u64::from_le_bytes(*it))
    };
    let rseq = Rseq {
        start_ip: word(8),
        post_commit_offset: word(16),
        abort_ip: word(24),
    };
    let inside = registers.rip.wrapping_sub(rseq.start_ip) < rseq.post_commit_offset;
    Ok(inside.then_some(rseq))
}

/// Checks the script for the scratch memory below this stack pointer.
fn link(questions: &Questions, stack_pointer: u64) -> Result<Linked, AskError> {
    let check = |base: u64| {
        let checked = questions.arena.clone().check(Purpose::Dump, base);
        checked.map_err(|refusals| {
            let first = refusals.first().map(ToString::to_string);
            AskError::Script(first.unwrap_or_default())
        })
    };
    let length = questions.arena.size(Purpose::Dump);
    let length = length.ok_or_else(|| AskError::Script("it is too long".into()))?;
    Ok(check(Detour::scratch_below(stack_pointer, length))?.link())
}

/// How far a thread goes: to the signal that it raises itself, or from call to call.
fn how(detour: &Detour) -> Resume {
    match detour.has_summons() {
        true => Resume::Continue,
        false => Resume::ToSyscall,
    }
}

fn ends_early(thread: &Stopped, detour: &Detour) -> Result<bool, TraceError> {
    let mut failed = None;
    let ends_early = detour.ends_early(|| match pending(thread) {
        Ok(pending) => pending,
        Err(error) => {
            failed = Some(error);
            !0
        }
    });
    failed.map_or(Ok(ends_early), Err)
}

/// Signals that wait for a thread or its process.
fn pending(thread: &Stopped) -> Result<u64, TraceError> {
    let both = [
        thread.pending(Queue::Thread)?,
        thread.pending(Queue::Process)?,
    ];
    let bits = both.iter().flatten().map(|info| info.signal() - 1);
    let bits = bits.filter(|bit| (0..64).contains(bit));
    Ok(bits.fold(0, |all, bit| all | 1 << bit))
}

/// Until its registers may be set again, and its mask is as it was.
fn go(mut running: Running, detour: &Detour) -> Result<(Stopped, Registers), AskError> {
    let since = Instant::now();
    let mut how = how(detour);
    loop {
        let thread = stopped(running, since)?;
        let mut signal = 0;
        match thread.stop() {
            Stop::Signal(taken) => {
                let now = thread.registers()?;
                match how == Resume::Continue && detour.has_answered(&now) {
                    true if ends_early(&thread, detour)? => {
                        thread.set_signal_mask(detour.mask())?;
                        return Ok((thread, now));
                    }
                    true => {
                        thread.set_options(Options::SYSCALL_GOOD)?;
                        how = Resume::ToSyscall;
                    }
                    false => signal = taken,
                }
            }
            Stop::Syscall => {
                let now = thread.registers()?;
                if detour.has_left(&now) {
                    return Ok((thread, now));
                }
            }
            _ => {}
        }
        running = thread.resume(how, signal)?;
    }
}

fn stopped(mut running: Running, since: Instant) -> Result<Stopped, AskError> {
    let mut looks = 0u32;
    loop {
        running = match running.poll()? {
            Ok(Waited::Stopped(stopped)) => return Ok(stopped),
            Ok(Waited::Ended(_)) => return Err(AskError::Killed),
            Err(running) => running,
        };
        looks += 1;
        match looks {
            ..200 => std::thread::yield_now(),
            _ if since.elapsed() > PATIENCE => return Err(AskError::Stuck),
            _ => std::thread::sleep(Duration::from_micros(50)),
        }
    }
}

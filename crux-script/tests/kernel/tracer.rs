//! A small dumper, which dies wherever it is told to.
//!
//! Kind: effect.

use crate::sys::{block, blocked, wait};
use crux_script::{
    Arena, Block, BlockId, Call, DUMP_STUB_LEN, Detour, Expect, Linked, Purpose, ScriptId,
    arguments,
};
use libc::user_regs_struct;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, getpid};
use std::fs;
use std::os::unix::fs::FileExt as _;

/// Where it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// Seized.
    Seized,
    /// Stopped.
    Interrupted,
    /// The code is there, the script is not.
    CodeWritten,
    /// All is there.
    ScriptWritten,
    /// The registers are set, and the task has gone so many syscall stops.
    Calls(usize),
    /// Likewise, instructions.
    Steps(usize),
    /// The task goes on freely, and has raised the summons.
    Answered,
    /// Likewise, and its mask is back.
    MaskBack,
    /// Likewise, and its registers are back.
    AllBack,
    /// The registers are back.
    RegistersBack,
    /// The script is gone.
    ScratchBack,
    /// Nothing is left to do; it has not detached.
    Done,
    /// It does not die: it detaches.
    Never,
    /// It does not die, and waits for the summons.
    NeverAndIsSummoned,
    /// It does not die, and asks twice.
    NeverAndAsksAgain,
    /// It does not die, and stops the task once more before it detaches.
    NeverButStops,
}

impl Death {
    fn is_summoned(self) -> bool {
        matches!(
            self,
            Self::Answered | Self::MaskBack | Self::AllBack | Self::NeverAndIsSummoned
        )
    }
}

/// Signals that wait for a process or its thread.
fn pending(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let sets = status.lines().filter_map(|line| {
        let (name, set) = line.split_once(":\t")?;
        let wanted = ["SigPnd", "ShdPnd"].contains(&name);
        u64::from_str_radix(set, 16).ok().filter(|_| wanted)
    });
    sets.fold(0, |all, set| all | set)
}

fn bit(signal: Signal) -> u64 {
    1 << (signal as i32 - 1)
}

/// The script of a dump, and where its answers are.
pub(crate) struct Questions {
    pub(crate) linked: Linked,
    script: ScriptId,
    old: BlockId,
}

/// What is asked: some calls with answers in registers, and some in memory.
fn questions(base: u64) -> Questions {
    let mut arena = Arena::new();
    let script = arena.script("task");
    let old = arena.block(Block::room(32));
    let timer = arena.block(Block::room(32));
    let stack = arena.block(Block::room(24));
    let calls = [
        Call::new(libc::SYS_getpid),
        Call::new(libc::SYS_rt_sigaction).with(arguments![libc::SIGUSR1, 0, old, 8]),
        Call::new(libc::SYS_getitimer).with(arguments![0, timer]),
        Call::new(libc::SYS_sigaltstack).with(arguments![0, stack]),
    ];
    for call in calls {
        arena.call(script, call.expect(Expect::Any));
    }
    let linked = arena.check(Purpose::Dump, base).unwrap().link();
    Questions {
        linked,
        script,
        old,
    }
}

/// The instruction popf.
const POPF: u8 = 0x9d;

pub(crate) struct Tracer {
    pid: Pid,
    memory: fs::File,
    death: Death,
    pub(crate) steps: usize,
}

/// The zeroes at the end of the vDSO; at the same place in all that a process forks.
fn tail() -> u64 {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.ends_with("[vdso]")).unwrap();
    let range = line.split(' ').next().unwrap().split_once('-').unwrap();
    let [start, end] = [range.0, range.1].map(|it| u64::from_str_radix(it, 16).unwrap());
    let mut bytes = vec![0; (end - start) as usize];
    let memory = fs::File::open("/proc/self/mem").unwrap();
    memory.read_exact_at(&mut bytes, start).unwrap();
    let at = end - DUMP_STUB_LEN.next_multiple_of(8) as u64;
    let zero = bytes[(at - start) as usize..].iter().all(|byte| *byte == 0);
    assert!(zero, "the vDSO's last page is too full");
    at
}

impl Tracer {
    fn dies(&self, here: Death) {
        if self.death == here {
            kill(getpid(), Signal::SIGKILL).unwrap();
        }
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        self.memory.write_all_at(bytes, at).unwrap();
    }

    fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    /// Stops it as `PTRACE_INTERRUPT` does. It may be in a stop already.
    fn interrupt(&self) {
        ptrace::interrupt(self.pid).unwrap();
        let status = wait(self.pid);
        assert!(matches!(status, WaitStatus::PtraceEvent(..)), "{status:?}");
    }

    /// A whole dump of a task, as far as it gets. `at_death` is called before every point
    /// at which it may die in the stub.
    pub(crate) fn run(pid: Pid, death: Death, at_death: impl Fn()) -> usize {
        ptrace::seize(pid, Options::PTRACE_O_TRACESYSGOOD).unwrap();
        let mut both = fs::OpenOptions::new();
        let memory = both
            .read(true)
            .write(true)
            .open(format!("/proc/{pid}/mem"))
            .unwrap();
        let steps = 0;
        let mut it = Self {
            pid,
            memory,
            death,
            steps,
        };
        it.dies(Death::Seized);
        it.interrupt();
        it.dies(Death::Interrupted);
        let saved = ptrace::getregs(pid).unwrap();
        let size = questions(4096).linked.bytes().len();
        let questions = questions(Detour::scratch_below(saved.rsp, size as u64));
        let detour = Detour::new(
            saved,
            blocked(pid),
            None,
            tail(),
            &questions.linked,
            questions.script,
        );
        let mut detour = detour.unwrap();
        if death.is_summoned() {
            detour = detour.summoned_by(bit(Signal::SIGUSR1), 0);
            assert!(detour.has_summons());
        }
        it.through(&detour, &questions, &at_death);
        if death == Death::NeverAndAsksAgain {
            it.through(&detour, &questions, &at_death);
        }
        it.dies(Death::Done);
        if death == Death::NeverButStops {
            it.stop_again();
        }
        ptrace::detach(pid, None).unwrap();
        it.steps
    }

    fn through(&mut self, detour: &Detour, questions: &Questions, at_death: &impl Fn()) {
        let linked = &questions.linked;
        let old = self.read(linked.base(), linked.bytes().len());
        self.write(detour.code_at(), &detour.code());
        self.dies(Death::CodeWritten);
        self.write(linked.base(), linked.bytes());
        self.dies(Death::ScriptWritten);
        ptrace::setregs(self.pid, detour.registers()).unwrap();
        let now = match self.death {
            Death::Steps(count) => self.step(detour, count, at_death),
            death if death.is_summoned() => self.summons(detour, at_death),
            _ => self.calls(detour, at_death),
        };
        self.answers(questions);
        ptrace::setregs(self.pid, detour.registers_after(&now)).unwrap();
        self.dies(Death::RegistersBack);
        self.dies(Death::AllBack);
        self.write(linked.base(), &old);
        self.dies(Death::ScratchBack);
        self.write(detour.code_at(), &vec![0; detour.code().len()]);
    }

    /// From syscall stop to syscall stop.
    fn calls(&self, detour: &Detour, at_death: &impl Fn()) -> user_regs_struct {
        for count in 0.. {
            if self.death == Death::Calls(count) {
                at_death();
                self.dies(Death::Calls(count));
            }
            ptrace::syscall(self.pid, None).unwrap();
            let mut status = wait(self.pid);
            while let WaitStatus::Stopped(_, signal) = status {
                ptrace::syscall(self.pid, signal).unwrap();
                status = wait(self.pid);
            }
            assert!(matches!(status, WaitStatus::PtraceSyscall(_)), "{status:?}");
            let now = ptrace::getregs(self.pid).unwrap();
            if detour.has_left(&now) {
                return now;
            }
        }
        unreachable!()
    }

    /// To the stop that the task asks for itself, and, where that is not enough, from there to the last call.
    fn summons(&self, detour: &Detour, at_death: &impl Fn()) -> user_regs_struct {
        loop {
            ptrace::cont(self.pid, None).unwrap();
            let status = wait(self.pid);
            assert!(matches!(status, WaitStatus::Stopped(..)), "{status:?}");
            let now = ptrace::getregs(self.pid).unwrap();
            if !detour.has_answered(&now) {
                continue;
            }
            at_death();
            self.dies(Death::Answered);
            if !detour.ends_early(|| pending(self.pid)) {
                self.dies(Death::MaskBack);
                return self.calls(detour, at_death);
            }
            block(self.pid, detour.mask());
            self.dies(Death::MaskBack);
            return now;
        }
    }

    /// From instruction to instruction, until it is out of the stub.
    fn step(&mut self, detour: &Detour, last: usize, at_death: &impl Fn()) -> user_regs_struct {
        let mut left = None;
        loop {
            if self.steps == last {
                at_death();
                self.stop_again();
                self.dies(Death::Steps(last));
            }
            let before = ptrace::getregs(self.pid).unwrap();
            ptrace::step(self.pid, None).unwrap();
            let status = wait(self.pid);
            assert!(
                matches!(status, WaitStatus::Stopped(_, Signal::SIGTRAP)),
                "{status:?}"
            );
            // KERNEL: who steps over a popf makes the kernel take the trap flag for the task's own.
            if self.read(before.rip, 1) == [POPF] {
                self.stop_again();
            }
            let now = ptrace::getregs(self.pid).unwrap();
            if detour.has_left(&now) {
                left = Some(now);
            }
            if !detour.is_inside(&now) {
                return left.unwrap();
            }
            self.steps += 1;
        }
    }

    /// KERNEL: the death of a tracer leaves the trap flag set; letting the task go on
    /// towards a stop clears it.
    fn stop_again(&self) {
        ptrace::interrupt(self.pid).unwrap();
        ptrace::cont(self.pid, None).unwrap();
        wait(self.pid);
    }

    fn answers(&self, questions: &Questions) {
        let linked = &questions.linked;
        let memory = self.read(linked.base(), linked.bytes().len());
        let results = linked
            .arena()
            .lines()
            .map(|(line, _)| linked.result(&memory, line).unwrap());
        let results: Vec<_> = results.collect();
        assert_eq!(results, [self.pid.as_raw() as u64, 0, 0, 0]);
        let handler = linked.data(&memory, questions.old.at(0), 8).unwrap();
        assert_ne!(handler, [0; 8], "the handler of SIGUSR1");
    }
}

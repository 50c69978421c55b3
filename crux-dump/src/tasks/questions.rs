//! What only a task itself can say: the script of questions, and its answers.
//!
//! Kind: pure.

use super::signals::PosixTimerFacts;
use crux_image::tasks::{AlternateStack, IntervalTimer, SignalAction};
use crux_script::{Arena, Block, BlockId, Call, Expect, LineId, Linked, ScriptId, arguments};

/// `sizeof(struct new_utsname)`.
const UTSNAME: usize = 390;
const UTSNAME_FIELD: usize = 65;
const NANOSECONDS: u64 = 1_000_000_000;
const ITIMERS: [i32; 3] = [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF];

/// The script for one thread.
#[derive(Debug)]
pub(super) struct Questions {
    pub(super) arena: Arena,
    pub(super) script: ScriptId,
    stack: (LineId, BlockId),
    tid_address: (LineId, BlockId),
    parent_death: (LineId, BlockId),
    slack: LineId,
    securebits: LineId,
    process: Option<ProcessQuestions>,
}

#[derive(Debug)]
struct ProcessQuestions {
    dumpable: LineId,
    subreaper: (LineId, BlockId),
    brk: LineId,
    name: (LineId, BlockId),
    actions: Vec<(u8, LineId, BlockId)>,
    intervals: Vec<(LineId, BlockId)>,
    timers: Vec<(LineId, BlockId, LineId)>,
}

/// What a thread says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answers {
    pub(super) stack: AlternateStack,
    pub(super) tid_address: u64,
    pub(super) parent_death_signal: u8,
    pub(super) timer_slack: u64,
    pub(super) securebits: u32,
    /// Of the first thread.
    pub(super) process: Option<ProcessAnswers>,
}

/// What it says of its process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProcessAnswers {
    pub(super) dumpable: u8,
    pub(super) subreaper: bool,
    pub(super) brk: u64,
    pub(super) host_name: Vec<u8>,
    pub(super) domain_name: Vec<u8>,
    pub(super) actions: Vec<SignalAction>,
    pub(super) interval_timers: [IntervalTimer; 3],
    /// In the order of the timers that were asked for.
    pub(super) timers: Vec<TimerAnswer>,
}

/// timer_gettime(2), timer_getoverrun(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimerAnswer {
    pub(super) remaining: u64,
    pub(super) interval: u64,
    pub(super) overrun: u32,
}

/// What is asked of a first thread besides: about these signals and timers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subjects<'a> {
    pub(super) signals: u64,
    pub(super) timers: &'a [PosixTimerFacts],
}

impl Questions {
    /// For the thread with this name (in messages).
    pub(super) fn new(name: String, subjects: Option<Subjects<'_>>) -> Self {
        let mut arena = Arena::new();
        let script = arena.script(name);
        let mut asker = Asker { arena, script };
        let stack = asker.with_room(24, |room| {
            Call::new(libc::SYS_sigaltstack).with(arguments![0u64, room])
        });
        let tid_address = asker.prctl_into(libc::PR_GET_TID_ADDRESS, 8);
        let parent_death = asker.prctl_into(libc::PR_GET_PDEATHSIG, 4);
        let slack = asker.prctl(libc::PR_GET_TIMERSLACK);
        let securebits = asker.prctl(libc::PR_GET_SECUREBITS);
        let process = subjects.map(|subjects| asker.process(subjects));
        let Asker { arena, script } = asker;
        Self {
            arena,
            script,
            stack,
            tid_address,
            parent_death,
            slack,
            securebits,
            process,
        }
    }

    /// The answers, in what the arena's memory has become. What is missing, otherwise.
    pub(super) fn answers(&self, linked: &Linked, memory: &[u8]) -> Result<Answers, &'static str> {
        let told = Told { linked, memory };
        let stack = told.block(self.stack, 24).ok_or("sigaltstack(2)")?;
        Ok(Answers {
            stack: AlternateStack {
                address: word(stack, 0),
                size: word(stack, 16),
                flags: word(stack, 8) as u32,
            },
            tid_address: told
                .block(self.tid_address, 8)
                .map(|bytes| word(bytes, 0))
                .ok_or("PR_GET_TID_ADDRESS (CONFIG_CHECKPOINT_RESTORE)")?,
            parent_death_signal: told.block(self.parent_death, 4).ok_or("PR_GET_PDEATHSIG")?[0],
            timer_slack: told.number(self.slack).ok_or("PR_GET_TIMERSLACK")?,
            securebits: told.number(self.securebits).ok_or("PR_GET_SECUREBITS")? as u32,
            process: match &self.process {
                Some(process) => Some(process.answers(&told)?),
                None => None,
            },
        })
    }
}

struct Asker {
    arena: Arena,
    script: ScriptId,
}

impl Asker {
    fn call(&mut self, call: Call) -> LineId {
        self.arena.call(self.script, call.expect(Expect::Any))
    }

    fn with_room(&mut self, len: usize, call: impl FnOnce(BlockId) -> Call) -> (LineId, BlockId) {
        let room = self.arena.block(Block::room(len));
        (self.call(call(room)), room)
    }

    fn prctl(&mut self, option: i32) -> LineId {
        self.call(Call::new(libc::SYS_prctl).argument(0, option))
    }

    fn prctl_into(&mut self, option: i32, len: usize) -> (LineId, BlockId) {
        self.with_room(len, |room| {
            Call::new(libc::SYS_prctl).with(arguments![option, room])
        })
    }

    fn process(&mut self, subjects: Subjects<'_>) -> ProcessQuestions {
        let signals = (1..=64u8).filter(|signal| subjects.signals & (1 << (signal - 1)) != 0);
        ProcessQuestions {
            dumpable: self.prctl(libc::PR_GET_DUMPABLE),
            subreaper: self.prctl_into(libc::PR_GET_CHILD_SUBREAPER, 4),
            brk: self.call(Call::new(libc::SYS_brk)),
            name: self.with_room(UTSNAME, |room| {
                Call::new(libc::SYS_uname).with(arguments![room])
            }),
            actions: signals.map(|signal| self.action(signal)).collect(),
            intervals: ITIMERS.map(|which| self.interval(which)).into(),
            timers: subjects.timers.iter().map(|it| self.timer(it.id)).collect(),
        }
    }

    fn action(&mut self, signal: u8) -> (u8, LineId, BlockId) {
        let (line, room) = self.with_room(32, |room| {
            let call = Call::new(libc::SYS_rt_sigaction);
            call.with(arguments![u32::from(signal), 0u64, room, 8u64])
        });
        (signal, line, room)
    }

    fn interval(&mut self, which: i32) -> (LineId, BlockId) {
        self.with_room(32, |room| {
            Call::new(libc::SYS_getitimer).with(arguments![which, room])
        })
    }

    fn timer(&mut self, id: u32) -> (LineId, BlockId, LineId) {
        let (line, room) = self.with_room(32, |room| {
            Call::new(libc::SYS_timer_gettime).with(arguments![id, room])
        });
        let overrun = Call::new(libc::SYS_timer_getoverrun).with(arguments![id]);
        (line, room, self.call(overrun))
    }
}

impl ProcessQuestions {
    fn answers(&self, told: &Told<'_>) -> Result<ProcessAnswers, &'static str> {
        let name = told.block(self.name, UTSNAME).ok_or("uname(2)")?;
        let field = |at: usize| {
            let bytes = &name[at * UTSNAME_FIELD..(at + 1) * UTSNAME_FIELD];
            bytes.split(|b| *b == 0).next().unwrap_or_default().to_vec()
        };
        let mut interval_timers = [IntervalTimer::default(); 3];
        for (timer, asked) in interval_timers.iter_mut().zip(&self.intervals) {
            // Microseconds (struct itimerval).
            let (remaining, interval) = told.timer(*asked, 1000).ok_or("getitimer(2)")?;
            *timer = IntervalTimer {
                remaining,
                interval,
            };
        }
        let actions = self.actions.iter().map(|(signal, line, room)| {
            let bytes = told.block((*line, *room), 32).ok_or("rt_sigaction(2)")?;
            Ok(SignalAction {
                signal: *signal,
                handler: word(bytes, 0),
                flags: word(bytes, 8),
                restorer: word(bytes, 16),
                mask: word(bytes, 24),
            })
        });
        let is_kept = |action: &SignalAction| action.handler != 0 || action.flags != 0;
        let actions: Vec<SignalAction> = actions.collect::<Result<_, &str>>()?;
        let timers = self.timers.iter().map(|(line, room, overrun)| {
            let (remaining, interval) = told.timer((*line, *room), 1).ok_or("timer_gettime(2)")?;
            let overrun = told.number(*overrun).ok_or("timer_getoverrun(2)")? as u32;
            Ok(TimerAnswer {
                remaining,
                interval,
                overrun,
            })
        });
        Ok(ProcessAnswers {
            dumpable: told.number(self.dumpable).ok_or("PR_GET_DUMPABLE")? as u8,
            subreaper: told
                .block(self.subreaper, 4)
                .ok_or("PR_GET_CHILD_SUBREAPER")?[0]
                != 0,
            brk: told.number(self.brk).ok_or("brk(2)")?,
            host_name: field(1),
            domain_name: field(5),
            actions: actions.into_iter().filter(is_kept).collect(),
            interval_timers,
            timers: timers.collect::<Result<_, &str>>()?,
        })
    }
}

/// What has become of the arena's memory.
struct Told<'a> {
    linked: &'a Linked,
    memory: &'a [u8],
}

impl<'a> Told<'a> {
    /// The result of a line that has run and has not failed.
    fn number(&self, line: LineId) -> Option<u64> {
        let result = self.linked.result(self.memory, line)?;
        (result != crux_script::NOT_RUN && crux_script::Errno::of(result).is_none())
            .then_some(result)
    }

    fn block(&self, (line, room): (LineId, BlockId), len: usize) -> Option<&'a [u8]> {
        self.number(line)?;
        self.linked.data(self.memory, room.at(0), len)
    }

    /// Remaining time and interval, with this many nanoseconds in a unit of the second member.
    fn timer(&self, asked: (LineId, BlockId), unit: u64) -> Option<(u64, u64)> {
        let bytes = self.block(asked, 32)?;
        let time = |at| {
            let seconds = word(bytes, at).saturating_mul(NANOSECONDS);
            seconds.saturating_add(word(bytes, at + 8).saturating_mul(unit))
        };
        Some((time(16), time(0)))
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crux_script::Purpose;

    #[test]
    fn every_question_may_be_asked() {
        let timers = [PosixTimerFacts::parse_all(
            b"ID: 3\nsignal: 10/0000000000000000\nnotify: signal/pid.1\nClockID: 1\n",
        )
        .unwrap()[0]];
        let subjects = Subjects {
            signals: u64::MAX,
            timers: &timers,
        };
        let questions = Questions::new("thread 1".into(), Some(subjects));
        let checked = questions.arena.clone().check(Purpose::Dump, 0x1000);
        let linked = checked
            .unwrap_or_else(|refusals| panic!("{refusals:?}"))
            .link();
        // Nothing has run.
        assert_eq!(
            questions.answers(&linked, linked.bytes()),
            Err("sigaltstack(2)")
        );
    }
}

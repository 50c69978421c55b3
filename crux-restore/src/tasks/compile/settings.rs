//! What a process has set for itself: limits, actions, timers, what waits for it.
//!
//! Kind: pure.

use super::Compiler;
use crux_image::tasks::{IntervalTimer, Notify, PosixTimer, Process, ProcessIndex};
use crux_script::{Block, Call, Errno, Expect, arguments};

/// Timers that are made and deleted until the id comes.
const TIMER_IDS: u32 = 4096;
const NANOSECONDS: u64 = 1_000_000_000;

/// getrlimit(2), by number.
const LIMITS: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

fn number(limit: u64) -> String {
    match limit {
        u64::MAX => "unlimited".to_owned(),
        limit => limit.to_string(),
    }
}

impl Compiler<'_> {
    pub(super) fn settings(&mut self, at: ProcessIndex, process: &Process) {
        self.semaphores(at, process);
        self.directories(at, process);
        self.last_of_memory(at, process);
        let persona = Call::new(libc::SYS_personality).with(arguments![process.personality]);
        self.call(at, persona);
        if process.thp_disabled {
            let option = libc::PR_SET_THP_DISABLE;
            self.call(
                at,
                Call::new(libc::SYS_prctl).with(arguments![option, 1_u32]),
            );
        }
        self.forget_children(at);
        for action in &process.actions {
            let words = [action.handler, action.flags, action.restorer, action.mask];
            let block = self.arena.block(Block::words(&words));
            let call = Call::new(libc::SYS_rt_sigaction).with(arguments![
                u32::from(action.signal),
                block,
                0_u32,
                8_u32
            ]);
            self.call(at, call);
        }
        for info in &process.pending {
            let block = self.bytes(info.bytes.clone());
            let signal = info.signal().unwrap_or(0);
            let call = Call::new(libc::SYS_rt_sigqueueinfo).with(arguments![
                process.own_pid(),
                signal,
                block
            ]);
            self.call(at, call);
        }
        self.descriptors(at, process);
    }

    /// Children that have ended meanwhile have said so.
    fn forget_children(&mut self, at: ProcessIndex) {
        let set = self.arena.block(Block::words(&[1 << (libc::SIGCHLD - 1)]));
        let now = self.arena.block(Block::words(&[0, 0]));
        let call = Call::new(libc::SYS_rt_sigtimedwait).with(arguments![set, 0_u32, now, 8_u32]);
        self.call(
            at,
            call.expect(Expect::SuccessOr(Errno(libc::EAGAIN as u16))),
        );
    }

    /// When nothing more is made that they could forbid.
    pub(super) fn limits(&mut self, at: ProcessIndex, process: &Process) {
        for (resource, limit) in process.limits.iter().enumerate() {
            let ours = self
                .machine
                .limits
                .get(resource)
                .copied()
                .unwrap_or(u64::MAX);
            if limit.hard > ours && !self.may_raise_limits(process) {
                let name = LIMITS.get(resource).unwrap_or(&"RLIMIT_?");
                let what = format!(
                    "its hard limit {name} is {}, and ours is {ours}: raising it needs CAP_SYS_RESOURCE",
                    number(limit.hard)
                );
                self.refuse(process, what);
                continue;
            }
            let block = self.arena.block(Block::words(&[limit.soft, limit.hard]));
            let call = Call::new(libc::SYS_prlimit64).with(arguments![0_u32, resource, block]);
            self.call(at, call);
        }
    }

    /// As late as can be: they run from here on.
    pub(super) fn timers(&mut self, at: ProcessIndex, process: &Process) {
        for (which, timer) in process.interval_timers.iter().enumerate() {
            if *timer != IntervalTimer::default() {
                let block = self.arena.block(Block::words(&microseconds(timer)));
                let call = Call::new(libc::SYS_setitimer).with(arguments![which, block]);
                self.call(at, call);
            }
        }
        self.posix_timers(at, process);
    }

    /// A process counts its timers from 0: they are made in that order, and those that it has not
    /// are deleted.
    fn posix_timers(&mut self, at: ProcessIndex, process: &Process) {
        let Some(last) = process.posix_timers.iter().map(|timer| timer.id).max() else {
            return;
        };
        if last >= TIMER_IDS {
            self.refuse(
                process,
                format!("it has a timer of number {last}, which cannot be restored yet"),
            );
            return;
        }
        for id in 0..=last {
            let timer = process.posix_timers.iter().find(|timer| timer.id == id);
            let event = self.arena.block(event(timer));
            let made = self.arena.block(Block::room(4));
            let clock = timer.map_or(libc::CLOCK_MONOTONIC, |timer| timer.clock);
            let call = Call::new(libc::SYS_timer_create).with(arguments![clock, event, made]);
            self.call(at, call);
            match timer {
                None => {
                    self.call(at, Call::new(libc::SYS_timer_delete).with(arguments![id]));
                }
                Some(timer) if timer.remaining > 0 => {
                    let words = [
                        timer.interval / NANOSECONDS,
                        timer.interval % NANOSECONDS,
                        timer.remaining / NANOSECONDS,
                        timer.remaining % NANOSECONDS,
                    ];
                    let block = self.arena.block(Block::words(&words));
                    let call =
                        Call::new(libc::SYS_timer_settime).with(arguments![id, 0_u32, block]);
                    self.call(at, call);
                }
                Some(_) => {}
            }
        }
    }
}

fn microseconds(timer: &IntervalTimer) -> [u64; 4] {
    let micro = |time: u64| time.div_ceil(1000);
    let (interval, remaining) = (micro(timer.interval), micro(timer.remaining));
    [
        interval / 1_000_000,
        interval % 1_000_000,
        remaining / 1_000_000,
        remaining % 1_000_000,
    ]
}

/// `struct sigevent`: value; signal, notify; thread. One that is only made to be deleted tells nobody.
fn event(timer: Option<&PosixTimer>) -> Block {
    const SIGEV_THREAD_ID: u64 = 4;
    let pair = |signal: u8, notify: u64| u64::from(signal) | notify << 32;
    let (value, signal, thread) = match timer.map(|timer| timer.notify) {
        None | Some(Notify::None) => (0, pair(0, 1), 0),
        Some(Notify::Signal { signal, value }) => (value, pair(signal, 0), 0),
        Some(Notify::Thread {
            signal,
            value,
            thread,
        }) => (value, pair(signal, SIGEV_THREAD_ID), thread.into()),
    };
    Block::words(&[value, signal, thread, 0, 0, 0, 0, 0])
}

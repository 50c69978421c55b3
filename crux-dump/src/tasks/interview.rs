//! What frozen processes say of themselves: who may be asked, and in which order.
//!
//! Kind: effect. Waiting for a thread takes longer than anything that is done for it: threads of several
//! processes are on their way at once. In one process it is one after the other, as they have one place for code.

use super::ask::{AskError, Asking, Room, Signals};
use super::capture::CaptureError;
use super::freeze::{Frozen, Held};
use super::proc_text::Status;
use super::processes::Facts;
use super::questions::{Answers, Questions, Subjects};
use super::target::Target;
use super::threads;
use super::{Filters, Part, TaskCause, TaskObstacle};
use crux_trace::{Stop, Stopped};
use std::collections::VecDeque;
use std::vec;

/// How many are on their way at once.
const AT_ONCE: usize = 16;

/// What all have said, and who could not be asked.
#[derive(Debug)]
pub(super) struct Conversation {
    /// In the order of the processes.
    pub(super) told: Vec<Told>,
    pub(super) obstacles: Vec<TaskObstacle>,
}

/// What a process says of itself, and /proc.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) facts: Facts,
    /// The signal that it is stopped by.
    pub(super) stopped: Option<i32>,
    /// `status` of each thread; none of a zombie.
    pub(super) statuses: Vec<Status>,
    /// Of each thread; empty of a zombie, and where there is an obstacle.
    pub(super) answers: Vec<Answers>,
}

/// Asks every thread now, while others look at the mounts: [`capture`](super::capture) has the answers then.
pub fn interview(frozen: &mut Frozen, filters: &Filters) {
    frozen.told = Some(ask_all(frozen, filters));
}

/// The answers, of now or of before.
pub(super) fn conversation(
    frozen: &mut Frozen,
    filters: &Filters,
) -> Result<Conversation, CaptureError> {
    match frozen.told.take() {
        Some(told) => told,
        None => ask_all(frozen, filters),
    }
}

fn ask_all(frozen: &mut Frozen, filters: &Filters) -> Result<Conversation, CaptureError> {
    let mut all: Vec<Told> = Vec::with_capacity(frozen.targets.len());
    let mut obstacles = Vec::new();
    let mut under_way = VecDeque::new();
    for (at, target) in frozen.targets.iter().enumerate() {
        let held = &mut frozen.held[at];
        let told = look(target, held)?;
        if can_be_asked(target, &held.threads, &told, filters, &mut obstacles)? {
            let mut room = Room::find(target);
            if matches!(room, Err(AskError::NoRoom)) && !under_way.is_empty() {
                // It may be another process's code: one that it shares its memory with.
                finish(&mut under_way, &mut frozen.held, &mut all)?;
                room = Room::find(target);
            }
            let pid = target.pid;
            let room = room.map_err(|error| CaptureError::Ask {
                pid,
                tid: pid,
                error,
            })?;
            let threads = std::mem::take(&mut frozen.held[at].threads);
            under_way.push_back(Interview::begin(at, pid, room, threads, &told)?);
        }
        all.push(told);
        if under_way.len() >= AT_ONCE {
            let next = under_way.pop_front();
            next.map_or(Ok(()), |it| it.finish(&mut frozen.held, &mut all))?;
        }
    }
    finish(&mut under_way, &mut frozen.held, &mut all)?;
    Ok(Conversation {
        told: all,
        obstacles,
    })
}

/// All that are under way.
fn finish(
    under_way: &mut VecDeque<Interview>,
    held: &mut [Held],
    told: &mut [Told],
) -> Result<(), CaptureError> {
    let mut rest = under_way.drain(..);
    rest.try_for_each(|it| it.finish(held, told))
}

/// What nobody has to be asked for.
fn look(target: &Target, held: &Held) -> Result<Told, CaptureError> {
    let pid = target.pid;
    let failed = |error| CaptureError::Process { pid, error };
    let stopped = held.threads.first().and_then(|first| match first.stop() {
        Stop::Group(signal) => Some(signal),
        _ => None,
    });
    let threads = held.threads.iter();
    let statuses = threads.map(|thread| threads::status(target, thread.tid().number()));
    let statuses = statuses.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    Ok(Told {
        facts: Facts::read(target, statuses.first()).map_err(failed)?,
        stopped,
        statuses,
        answers: Vec::new(),
    })
}

/// Code of ours is for 64-bit tasks that may make system calls.
fn can_be_asked(
    target: &Target,
    threads: &[Stopped],
    told: &Told,
    filters: &Filters,
    obstacles: &mut Vec<TaskObstacle>,
) -> Result<bool, CaptureError> {
    let before = obstacles.len();
    for (at, (thread, status)) in threads.iter().zip(&told.statuses).enumerate() {
        let tid = thread.tid().number();
        let mut note = |what: String| {
            obstacles.push(TaskObstacle {
                pid: target.pid,
                part: Part::Thread(tid),
                cause: TaskCause::Other(what),
            });
        };
        let all = || questions(target.pid, tid, at == 0, told);
        let seccomp = filters.stand_in_the_way(target, tid, status, all);
        let seccomp = seccomp.map_err(|error| CaptureError::Process {
            pid: target.pid,
            error,
        })?;
        seccomp.into_iter().for_each(&mut note);
        if threads::is_32_bit(thread) {
            note("it runs 32-bit code, which cannot be dumped".into());
        }
    }
    Ok(obstacles.len() == before && !target.zombie)
}

/// What is asked of a thread, and of the first one besides.
fn questions(pid: u32, tid: u32, is_first: bool, told: &Told) -> Questions {
    let subjects = is_first.then_some(Subjects {
        signals: told.facts.signals,
        timers: &told.facts.timers,
    });
    Questions::new(format!("process {pid} thread {tid}"), subjects)
}

/// One process: a thread is on its way, others have been there, the rest waits.
struct Interview {
    /// Which process.
    at: usize,
    pid: u32,
    room: Room,
    asking: Option<(u32, Asking)>,
    rest: vec::IntoIter<Stopped>,
    back: Vec<Stopped>,
    answers: Vec<Answers>,
}

impl Interview {
    /// With its first thread on its way.
    fn begin(
        at: usize,
        pid: u32,
        room: Room,
        threads: Vec<Stopped>,
        told: &Told,
    ) -> Result<Self, CaptureError> {
        let mut it = Self {
            at,
            pid,
            room,
            asking: None,
            back: Vec::with_capacity(threads.len()),
            answers: Vec::with_capacity(threads.len()),
            rest: threads.into_iter(),
        };
        it.ask_next(told)?;
        Ok(it)
    }

    /// Sends the next thread on its way, if there is one.
    fn ask_next(&mut self, told: &Told) -> Result<(), CaptureError> {
        let Some(thread) = self.rest.next() else {
            self.asking = None;
            return Ok(());
        };
        let (pid, tid) = (self.pid, thread.tid().number());
        let questions = questions(pid, tid, self.back.is_empty(), told);
        let status = told.statuses.get(self.back.len());
        let pending = |name| status.and_then(|it| it.set(name)).unwrap_or(!0);
        let signals = Signals {
            // A filter may forbid a thread to raise a signal.
            handled: match status.map_or(0, threads::seccomp) {
                0 => told.facts.handled,
                _ => !0,
            },
            pending: pending("SigPnd") | pending("ShdPnd"),
        };
        let asking = self.room.begin(thread, questions, signals);
        let asking = asking.map_err(|error| CaptureError::Ask { pid, tid, error })?;
        self.asking = Some((tid, asking));
        Ok(())
    }

    /// Asks all that are left, and puts the threads back where they were.
    fn finish(mut self, held: &mut [Held], told: &mut [Told]) -> Result<(), CaptureError> {
        let pid = self.pid;
        while let Some((tid, asking)) = self.asking.take() {
            let failed = |error| CaptureError::Ask { pid, tid, error };
            let (thread, answers) = asking.finish().map_err(failed)?;
            self.back.push(thread);
            self.answers.push(answers);
            self.ask_next(&told[self.at])?;
        }
        if let Some(first) = self.back.first() {
            let cleared = self.room.clear(first);
            cleared.map_err(|error| CaptureError::Ask {
                pid,
                tid: pid,
                error,
            })?;
        }
        held[self.at].threads = self.back;
        told[self.at].answers = self.answers;
        Ok(())
    }
}

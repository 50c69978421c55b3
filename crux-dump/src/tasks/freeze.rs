//! Freezing: all threads of a process and of its descendants are stopped.
//!
//! Kind: effect. Whoever freezes traces, with nothing set that would outlive it: if this
//! process ends, at whatever moment, the tasks go on as if nothing had been.
//!
//! RACE: until all threads of all of them are stopped, they make threads and processes,
//! become other programs, and end. So everything is listed again until nothing is new.

use super::capture::CaptureError;
use super::interview::Conversation;
use super::proc_text::{Stat, Status, read};
use super::target::Target;
use super::{Part, TaskCause, TaskObstacle};
use crux_mount::sys::SysError;
use crux_trace::{Ended, Options, Pidfd, Resume, Running, Stop, Stopped, Tid, TraceError, Waited};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

/// How long a thread may take to stop. Longer takes only who sleeps where no signal reaches it.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why tasks could not be stopped.
#[derive(Debug, thiserror::Error)]
pub enum FreezeError {
    /// There is no such process.
    #[error("dump process {0}: it does not exist")]
    NoProcess(u32),
    /// It cannot be dumped.
    #[error("{0}")]
    Obstacle(TaskObstacle),
    /// It may not be traced.
    #[error("trace process {pid}: {error}; this needs CAP_SYS_PTRACE over its user namespace")]
    Forbidden {
        /// Whose.
        pid: u32,
        /// The call.
        error: TraceError,
    },
    /// A call failed.
    #[error("look at process {pid}: {error}")]
    Process {
        /// Whose.
        pid: u32,
        /// The call.
        error: SysError,
    },
    /// A request failed.
    #[error("stop process {pid}: {error}")]
    Trace {
        /// Whose.
        pid: u32,
        /// The call.
        error: TraceError,
    },
}

/// A process whose threads are stopped, and that is held so.
#[derive(Debug)]
pub struct Held {
    /// By which it can be ended.
    pub pidfd: Pidfd,
    /// Its threads, the first of them first; none of a zombie.
    pub threads: Vec<Stopped>,
}

/// Stopped processes.
#[derive(Debug)]
pub struct Frozen {
    /// What /proc shows of each; parents before children.
    pub targets: Vec<Target>,
    /// How each is held, in the same order.
    pub held: Vec<Held>,
    /// When the first was stopped.
    since: Instant,
    /// What they have said, if they were asked already.
    pub(super) told: Option<Result<Conversation, CaptureError>>,
}

/// Stops a process and its descendants.
pub fn freeze(pid: u32) -> Result<Frozen, FreezeError> {
    let first = Freezing::open(pid, None)?.ok_or(FreezeError::NoProcess(pid))?;
    if first.target.zombie {
        let what = "it is a zombie: it has ended";
        return Err(obstacle(pid, Part::Process, what.into()));
    }
    let since = Instant::now();
    let mut all = vec![first];
    let mut known = HashSet::from([pid]);
    let mut from = 0;
    loop {
        stop(&mut all[from..])?;
        from = all.len();
        let found = children(&all, &mut known)?;
        if found.is_empty() {
            break;
        }
        all.extend(found);
    }
    // Who was killed meanwhile has nothing any more, and its children are others'.
    let (mut targets, mut held) = (Vec::new(), Vec::new());
    for freezing in all {
        targets.push(freezing.target);
        held.push(Held {
            pidfd: freezing.pidfd,
            threads: freezing.stopped,
        });
    }
    Ok(Frozen {
        targets,
        held,
        since,
        told: None,
    })
}

/// A process on its way.
struct Freezing {
    target: Target,
    pidfd: Pidfd,
    running: Vec<Running>,
    stopped: Vec<Stopped>,
}

impl Freezing {
    /// None if it has gone.
    fn open(pid: u32, parent: Option<usize>) -> Result<Option<Self>, FreezeError> {
        let failed = |error| FreezeError::Process { pid, error };
        let tid = Tid::new(pid).ok_or(FreezeError::NoProcess(pid))?;
        let path = format!("/proc/{pid}");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match openat(CWD, &path, flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::SRCH) => return Ok(None),
            Err(errno) => return Err(failed(SysError::new(format!("open({path:?})"), errno))),
        };
        let pidfd = match Pidfd::open(tid) {
            Ok(pidfd) => pidfd,
            Err(error) if error.is_gone() => return Ok(None),
            Err(error) => return Err(FreezeError::Trace { pid, error }),
        };
        // The directory stays that of the process it was opened of: if the number
        // is another's by now, this fails.
        let stat = match Stat::read(directory.as_fd()) {
            Ok(stat) => stat,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if stat.is_kernel_thread() {
            let what = "it is a kernel thread";
            return Err(obstacle(pid, Part::Process, what.into()));
        }
        let ended = stat.has_ended();
        let alone = ended && stat.field(20).is_none_or(|threads| threads <= 1);
        if ended && !alone {
            let what = "its first thread has ended before the others, which cannot be restored";
            return Err(obstacle(pid, Part::Process, what.into()));
        }
        Ok(Some(Self {
            target: Target {
                pid,
                directory,
                parent,
                zombie: ended,
            },
            pidfd,
            running: Vec::new(),
            stopped: Vec::new(),
        }))
    }

    /// Interrupts threads that are not traced yet. Whether there was one.
    fn interrupt(&mut self) -> Result<bool, FreezeError> {
        let pid = self.target.pid;
        let mut new = false;
        for tid in self.list()? {
            if self.has(tid) {
                continue;
            }
            match Running::seize(tid, Options::NONE).and_then(|running| {
                running.interrupt()?;
                Ok(running)
            }) {
                Ok(running) => {
                    self.running.push(running);
                    new = true;
                }
                Err(error) if error.is_gone() => {}
                // KERNEL: a thread that is ending cannot be attached to either.
                Err(_) if self.is_ending(tid) => {}
                Err(error) => return Err(self.refused(pid, error)),
            }
        }
        Ok(new)
    }

    fn has(&self, tid: Tid) -> bool {
        self.running.iter().any(|it| it.tid() == tid)
            || self.stopped.iter().any(|it| it.tid() == tid)
    }

    fn list(&self) -> Result<Vec<Tid>, FreezeError> {
        let pid = self.target.pid;
        let failed = |call: &'static str| {
            move |errno| FreezeError::Process {
                pid,
                error: SysError::new(call, errno),
            }
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match openat(&self.target.directory, "task", flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::SRCH) => return Ok(Vec::new()),
            Err(errno) => return Err(failed("openat(\"task\")")(errno)),
        };
        let mut tids = Vec::new();
        for entry in rustix::fs::Dir::new(directory).map_err(failed("getdents(\"task\")"))? {
            let entry = match entry {
                Ok(entry) => entry,
                Err(Errno::NOENT | Errno::SRCH) => break,
                Err(errno) => return Err(failed("getdents(\"task\")")(errno)),
            };
            let name = entry.file_name().to_str().ok();
            tids.extend(name.and_then(|name| Tid::new(name.parse().ok()?)));
        }
        Ok(tids)
    }

    fn is_ending(&self, tid: Tid) -> bool {
        let text =
            super::proc_text::read_of_thread(self.target.directory.as_fd(), tid.number(), "stat");
        text.ok()
            .and_then(|text| Stat::parse(&text))
            .is_none_or(|stat| stat.has_ended())
    }

    fn refused(&self, pid: u32, error: TraceError) -> FreezeError {
        let status = read(self.target.directory.as_fd(), "status");
        let status = status.map(|text| Status::parse(&text));
        match status.ok().and_then(|status| status.number("TracerPid")) {
            Some(tracer @ 1..) => {
                let what = format!("it is traced already, by process {tracer}");
                obstacle(pid, Part::Process, what)
            }
            _ => FreezeError::Forbidden { pid, error },
        }
    }

    /// In words, which child of a thread has its memory: until that becomes another program, or ends, the thread
    /// sleeps (vfork(2)).
    fn vfork(&self, tid: u32) -> String {
        let directory = self.target.directory.as_fd();
        let text = super::proc_text::read_of_thread(directory, tid, "children").unwrap_or_default();
        let children = text.split(u8::is_ascii_whitespace);
        let mut children = children.filter_map(super::proc_text::decimal);
        let same = |child: &u32| super::same::is_memory_of(*child, self.target.pid);
        let child = children.find(same);
        child.map_or(String::new(), |child| {
            format!("; it waits for its child of vfork(2), process {child}")
        })
    }

    /// Waits until all that were interrupted have stopped.
    fn wait(&mut self) -> Result<(), FreezeError> {
        let pid = self.target.pid;
        for running in std::mem::take(&mut self.running) {
            let tid = running.tid().number();
            match settled(running, self.target.directory.as_fd()) {
                Ok(Some(stopped)) => self.stopped.push(stopped),
                Ok(None) => {}
                Err(Stuck::Asleep(state)) => {
                    let what = format!(
                        "it does not stop: it sleeps where no signal reaches it (state {state}{})",
                        self.vfork(tid)
                    );
                    return Err(obstacle(pid, Part::Thread(tid), what));
                }
                Err(Stuck::Call(error)) => return Err(FreezeError::Trace { pid, error }),
            }
        }
        Ok(())
    }
}

/// Stops all threads of these processes.
fn stop(all: &mut [Freezing]) -> Result<(), FreezeError> {
    loop {
        let mut new = false;
        // All of them are on their way before one is waited for.
        for freezing in all.iter_mut().filter(|it| !it.target.zombie) {
            new |= freezing.interrupt()?;
        }
        if !new {
            break;
        }
        for freezing in all.iter_mut() {
            freezing.wait()?;
        }
    }
    for freezing in all {
        let pid = freezing.target.pid;
        freezing
            .stopped
            .sort_by_key(|it| (it.tid().number() != pid, it.tid()));
        // It may have ended, or have been killed.
        let first = freezing.stopped.first().map(|it| it.tid().number());
        freezing.target.zombie |= first.is_none();
        for thread in &freezing.stopped {
            match super::calls::resume_quietly(thread) {
                Err(error) if !error.is_gone() => return Err(FreezeError::Trace { pid, error }),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Why a thread has not stopped.
enum Stuck {
    Asleep(char),
    Call(TraceError),
}

/// Stops one thread, if it is there: for who detaches it again at once.
pub(crate) fn stop_one(tid: Tid) -> Result<Option<Stopped>, FreezeError> {
    let pid = tid.number();
    let failed = |error| FreezeError::Trace { pid, error };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) = openat(CWD, format!("/proc/{pid}"), flags, Mode::empty()) else {
        return Ok(None);
    };
    let running = Running::seize(tid, Options::NONE).and_then(|running| {
        running.interrupt()?;
        Ok(running)
    });
    let running = match running {
        Err(error) if error.is_gone() => return Ok(None),
        other => other.map_err(|error| FreezeError::Forbidden { pid, error })?,
    };
    match settled(running, directory.as_fd()) {
        Ok(Some(stopped)) => match super::calls::resume_quietly(&stopped) {
            Err(error) if error.is_gone() => Ok(None),
            other => other.map(|()| Some(stopped)).map_err(failed),
        },
        Ok(None) => Ok(None),
        Err(Stuck::Asleep(_)) => Err(failed(TraceError {
            call: format!("ptrace(PTRACE_INTERRUPT, {pid})"),
            errno: Errno::TIMEDOUT,
        })),
        Err(Stuck::Call(error)) => Err(failed(error)),
    }
}

/// Waits for the stop of an interrupt. Signals that are under way are delivered
/// first: their handlers do not run before the thread goes on.
fn settled(mut running: Running, process: BorrowedFd<'_>) -> Result<Option<Stopped>, Stuck> {
    let since = Instant::now();
    let mut looks = 0u32;
    loop {
        let tid = running.tid().number();
        let waited = match running.poll() {
            Ok(Ok(waited)) => waited,
            Ok(Err(still)) => {
                running = still;
                looks += 1;
                match since.elapsed() {
                    // Most have stopped within microseconds.
                    _ if looks < 50 => std::thread::yield_now(),
                    elapsed if elapsed < PATIENCE => {
                        std::thread::sleep(Duration::from_micros(50));
                    }
                    _ => return Err(Stuck::Asleep(state(process, tid))),
                }
                continue;
            }
            // Another thread of its has become another program, and this one has gone.
            Err(error) if error.is_gone() => return Ok(None),
            Err(error) => return Err(Stuck::Call(error)),
        };
        let stopped = match waited {
            Waited::Ended(Ended::Exited(_) | Ended::Killed(_)) => return Ok(None),
            Waited::Stopped(stopped) => stopped,
        };
        let signal = match stopped.stop() {
            Stop::Interrupted | Stop::Group(_) => return Ok(Some(stopped)),
            Stop::Signal(signal) => signal,
            _ => 0,
        };
        running = match stopped.resume(Resume::Continue, signal) {
            Ok(running) => running,
            Err(error) if error.is_gone() => return Ok(None),
            Err(error) => return Err(Stuck::Call(error)),
        };
    }
}

fn state(process: BorrowedFd<'_>, tid: u32) -> char {
    let text = super::proc_text::read_of_thread(process, tid, "stat");
    let stat = text.ok().and_then(|text| Stat::parse(&text));
    stat.map_or('?', |stat| stat.state.into())
}

/// Children that are not known yet, opened.
fn children(all: &[Freezing], known: &mut HashSet<u32>) -> Result<Vec<Freezing>, FreezeError> {
    let mut found = Vec::new();
    for (at, parent) in all.iter().enumerate() {
        for thread in &parent.stopped {
            let pid = parent.target.pid;
            let directory = parent.target.directory.as_fd();
            let tid = thread.tid().number();
            let text = super::proc_text::read_of_thread(directory, tid, "children");
            let text = match text {
                Ok(text) => text,
                Err(error) if is_gone(&error) => Vec::new(),
                Err(error) => return Err(FreezeError::Process { pid, error }),
            };
            for word in text.split(u8::is_ascii_whitespace) {
                let Some(child) = super::proc_text::decimal(word) else {
                    continue;
                };
                // One that was adopted is known by its number already.
                if known.insert(child) {
                    found.extend(Freezing::open(child, Some(at))?);
                }
            }
        }
    }
    Ok(found)
}

fn is_gone(error: &SysError) -> bool {
    matches!(error.errno(), Errno::NOENT | Errno::SRCH)
}

fn obstacle(pid: u32, part: Part, what: String) -> FreezeError {
    FreezeError::Obstacle(TaskObstacle {
        pid,
        part,
        cause: TaskCause::Other(what),
    })
}

/// What becomes of frozen tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Release {
    /// They go on.
    Run,
    /// They are stopped, as by `SIGSTOP`.
    Stop,
    /// They end.
    End,
}

impl Frozen {
    /// Lets them go. How long they were frozen.
    pub fn release(self, how: Release) -> Result<Duration, TraceError> {
        match how {
            Release::Run => {}
            Release::Stop => self.send(libc::SIGSTOP)?,
            Release::End => {
                self.send(libc::SIGKILL)?;
                let since = self.since;
                self.reap()?;
                return Ok(since.elapsed());
            }
        }
        for thread in self.held.into_iter().flat_map(|held| held.threads) {
            match thread.detach(0) {
                Err(error) if !error.is_gone() => return Err(error),
                // It was killed.
                _ => {}
            }
        }
        Ok(self.since.elapsed())
    }

    /// How long they have been frozen by now.
    pub fn time(&self) -> Duration {
        self.since.elapsed()
    }

    /// To all processes, the first one first: where that is a pid namespace's, all end at once.
    fn send(&self, signal: i32) -> Result<(), TraceError> {
        let alive = self.targets.iter().zip(&self.held);
        for (_, held) in alive.filter(|(target, _)| !target.zombie) {
            match held.pidfd.send(signal) {
                Err(error) if !error.is_gone() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// KERNEL: a thread that ends while it is traced is there until its tracer has waited for it. The first
    /// thread of a process ends after the others; in the first process of a pid namespace the last thread to
    /// end, whichever that is, waits until nobody else has a number there. So they are taken as they come.
    fn reap(self) -> Result<(), TraceError> {
        let threads = self.held.into_iter().flat_map(|held| held.threads);
        let mut left: HashSet<Tid> = threads.map(|thread| thread.tid()).collect();
        while !left.is_empty() {
            match crux_trace::wait_any()? {
                Some((tid, Waited::Ended(_))) => {
                    left.remove(&tid);
                }
                Some((_, Waited::Stopped(stopped))) => match stopped.resume(Resume::Continue, 0) {
                    Err(error) if !error.is_gone() => return Err(error),
                    _ => {}
                },
                None => break,
            }
        }
        Ok(())
    }

    /// All threads, with the position of their process.
    pub fn threads(&self) -> impl Iterator<Item = (usize, &Stopped)> {
        let held = self.held.iter().enumerate();
        held.flat_map(|(at, held)| held.threads.iter().map(move |thread| (at, thread)))
    }
}

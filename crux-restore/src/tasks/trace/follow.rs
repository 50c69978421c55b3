//! Follows tasks from their birth through the stops of their scripts.
//!
//! Kind: effect. All tasks descend from one, and are traced from their beginning; which
//! script a task runs, and where it is, its registers tell when it stops. So the order in which
//! the kernel reports children and events does not matter.

use super::error::TaskError;
use crate::tasks::plan::{FINISHED, TOGETHER, WAITS};
use crux_script::{Argument, Errno, Halt, Line, LineId, Linked, ScriptId, Tag};
use crux_trace::{Options, Resume, Running, Stop, Stopped, Tid, Waited, read_memory, wait_any};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// All tasks of a restore.
pub(crate) struct Tasks<'a> {
    linked: &'a Linked,
    /// Those that wait at a stop of their script.
    halted: BTreeMap<ScriptId, Halted>,
    /// Which script a task was last seen in.
    seen: HashMap<Tid, ScriptId>,
    /// Stops that tasks leave together, one after the other.
    barriers: VecDeque<Vec<LineId>>,
}

/// A task at a stop of its script.
#[derive(Debug)]
struct Halted {
    task: Stopped,
    line: LineId,
    tag: Tag,
}

/// How tasks are bound to this process: they end with it, and so do their descendants.
fn bound() -> Options {
    Options::EXIT_KILL | Options::DESCENDANTS | Options::SYSCALL_GOOD
}

impl<'a> Tasks<'a> {
    /// Takes hold of the first task, which does nothing yet.
    pub(crate) fn seize(first: Tid, linked: &'a Linked) -> Result<Self, TaskError> {
        Running::seize(first, bound())?;
        Ok(Self {
            linked,
            halted: BTreeMap::new(),
            seen: HashMap::new(),
            barriers: barriers(linked),
        })
    }

    /// Waits until each of these scripts has come to its end. Tasks that stop to be together
    /// go on when all are there.
    pub(crate) fn run(&mut self, scripts: &[ScriptId]) -> Result<(), TaskError> {
        while !scripts.iter().all(|script| self.is_at_end(*script)) {
            self.next()?;
            self.open_barriers()?;
        }
        Ok(())
    }

    /// Lets tasks go on that wait for each other, once all that do so are there.
    fn open_barriers(&mut self) -> Result<(), TaskError> {
        let Some(barrier) = self.barriers.front() else {
            return Ok(());
        };
        if !barrier.iter().all(|line| self.is_at(*line)) {
            return Ok(());
        }
        for line in self.barriers.pop_front().into_iter().flatten() {
            if let Some(halted) = self.halted.remove(&line.script) {
                halted.task.resume(Resume::Continue, 0)?;
            }
        }
        Ok(())
    }

    /// Takes a task that stands at a stop.
    pub(crate) fn take(&mut self, script: ScriptId) -> Result<Stopped, TaskError> {
        let halted = self.halted.remove(&script);
        let halted = halted.ok_or(TaskError::Missing(script))?;
        Ok(halted.task)
    }

    /// The number of a task that stands at a stop.
    pub(crate) fn tid(&self, script: ScriptId) -> Result<Tid, TaskError> {
        let halted = self.halted.get(&script);
        Ok(halted.ok_or(TaskError::Missing(script))?.task.tid())
    }

    /// The name of a script.
    pub(crate) fn name(&self, script: ScriptId) -> String {
        let script = self.linked.arena().get(script);
        script.map_or_else(|| "a task".to_owned(), |script| script.name.clone())
    }

    fn is_at(&self, line: LineId) -> bool {
        self.halted
            .get(&line.script)
            .is_some_and(|it| it.line == line)
    }

    fn is_at_end(&self, script: ScriptId) -> bool {
        let halted = self.halted.get(&script);
        halted.is_some_and(|it| it.tag == FINISHED || it.tag == WAITS)
    }

    /// The next thing that happens to any of them.
    fn next(&mut self) -> Result<(), TaskError> {
        let (tid, waited) = wait_any()?.ok_or(TaskError::Nobody)?;
        match waited {
            Waited::Stopped(task) => self.stopped(task),
            Waited::Ended(ended) => {
                // Who only makes what is to be found dead ends as its script says.
                let script = self.seen.get(&tid).filter(|script| !self.ends(**script));
                match script {
                    Some(script) => Err(TaskError::ended(self.name(*script), ended)),
                    None => Ok(()),
                }
            }
        }
    }

    /// Whether a script's last line is no stop: its task is to end.
    fn ends(&self, script: ScriptId) -> bool {
        let script = self.linked.arena().get(script);
        script.is_some_and(|script| !matches!(script.lines.last(), Some(Line::Stop(_))))
    }

    fn stopped(&mut self, task: Stopped) -> Result<(), TaskError> {
        match task.stop() {
            Stop::Signal(libc::SIGTRAP) => self.trapped(task),
            Stop::Signal(signal @ (libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE)) => {
                Err(self.hurt(&task, signal))
            }
            // Nothing is delivered before the restored program runs, which gets what was recorded.
            _ => Ok(task.resume(Resume::Continue, 0).map(drop)?),
        }
    }

    fn trapped(&mut self, task: Stopped) -> Result<(), TaskError> {
        let registers = task.registers()?;
        match self.linked.halt(&registers) {
            Some(Halt::Stopped { line, tag }) => {
                self.seen.insert(task.tid(), line.script);
                self.halted.insert(line.script, Halted { task, line, tag });
                Ok(())
            }
            Some(Halt::Failed { line, result }) => {
                let answered = answered(self.linked, &task, line);
                Err(TaskError::Failed(answered.unwrap_or_else(|| {
                    self.linked.failure(line, result).to_string()
                })))
            }
            None => Err(self.hurt(&task, libc::SIGTRAP)),
        }
    }

    fn hurt(&self, task: &Stopped, signal: i32) -> TaskError {
        let line = task.registers().ok();
        let line = line.and_then(|registers| self.linked.position(&registers));
        TaskError::Signal {
            task: line.map_or_else(
                || format!("process {}", task.tid()),
                |line| self.name(line.script),
            ),
            signal,
            place: line.map_or_else(|| "an unknown place".to_owned(), place),
        }
    }
}

/// A question by netlink(7) that was answered with an error: which question it was, and which error. The error is
/// behind the answer's header.
fn answered(linked: &Linked, task: &Stopped, line: LineId) -> Option<String> {
    let Some(Line::Call(call)) = linked.arena().get_line(line) else {
        return None;
    };
    let Argument::Data(room) = call.arguments[1] else {
        return None;
    };
    if i64::from(call.number) != libc::SYS_recvfrom {
        return None;
    }
    let mut error = [0; 4];
    read_memory(task.tid(), linked.data_address(room)? + 16, &mut error).ok()?;
    let error = i32::from_ne_bytes(error).checked_neg()?;
    let question = LineId {
        index: line.index.checked_sub(1)?,
        ..line
    };
    let errno = Errno(u16::try_from(error).ok().filter(|it| *it > 0)?);
    Some(linked.failure(question, errno.result()).to_string())
}

/// The first stop of each script that has one, then the second ones, and so on.
fn barriers(linked: &Linked) -> VecDeque<Vec<LineId>> {
    let mut barriers = VecDeque::<Vec<_>>::new();
    let mut counts = HashMap::<ScriptId, usize>::new();
    for (id, line) in linked.arena().lines() {
        if *line == Line::Stop(TOGETHER) {
            let count = counts.entry(id.script).or_default();
            match barriers.get_mut(*count) {
                Some(barrier) => barrier.push(id),
                None => barriers.push_back(vec![id]),
            }
            *count += 1;
        }
    }
    barriers
}

fn place(line: LineId) -> String {
    format!("line {}", line.number())
}

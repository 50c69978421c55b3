//! Carries a plan of tasks out, from the first task's birth to where nothing is left but to
//! let all go.
//!
//! Kind: effect.

use super::error::TaskError;
use super::follow::Tasks;
use super::thread::{Extent, Leaving, finish};
use super::{settings, stopped};
use crate::tasks::memory::Gate;
use crate::tasks::plan::TaskPlan;
use crux_image::tasks::{ProcessIndex, ProcessState};
use crux_script::Linked;
use crux_trace::{Stop, Stopped, Tid};
use rustix::fd::BorrowedFd;
use std::collections::BTreeMap;

/// Tasks that have nothing of ours but their tracer.
#[derive(Debug)]
pub(crate) struct Finished {
    /// In the order in which they are let go: the first process of the record is the last, for
    /// with it, where it is the init of a pid namespace, all others would end.
    tasks: Vec<Stopped>,
    /// The number of the leader of each process that lives, as this process sees it.
    pub(crate) leaders: BTreeMap<ProcessIndex, Tid>,
}

/// Has the tasks run their scripts, and finishes each.
pub(crate) fn carry_out(
    plan: &TaskPlan,
    linked: &Linked,
    first: Tid,
    gate: Gate,
    proc: BorrowedFd<'_>,
    leaving: Leaving,
) -> Result<Finished, TaskError> {
    let mut tasks = Tasks::seize(first, linked)?;
    gate.open()?;
    let scripts: Vec<_> = plan.threads.iter().map(|thread| thread.script).collect();
    tasks.run(&scripts)?;
    let mut leaders = BTreeMap::new();
    for thread in plan.threads.iter().filter(|thread| thread.thread == 0) {
        leaders.insert(thread.process, tasks.tid(thread.script)?);
    }
    for process in &plan.processes {
        if let Some(leader) = leaders.get(&process.process) {
            settings::apply(proc, *leader, process)?;
        }
    }
    let extent = Extent {
        base: linked.base(),
        length: linked.bytes().len() as u64,
    };
    let mut finished = Vec::with_capacity(plan.threads.len());
    // Leaders, which take our memory away, come when no other thread needs it; the first process is the last.
    let mut order: Vec<_> = plan.threads.iter().rev().collect();
    order.sort_by_key(|thread| thread.thread == 0);
    for thread in order {
        let name = tasks.name(thread.script);
        let leader = thread.thread == 0;
        let fate = match leader {
            true => leaving.fate(state(plan, thread.process)),
            false => Leaving::Running,
        };
        let task = tasks.take(thread.script)?;
        let extent = leader.then_some(extent);
        finished.push(finish(&name, task, &thread.finish, extent, fate)?);
    }
    Ok(Finished {
        tasks: finished,
        leaders,
    })
}

fn state(plan: &TaskPlan, process: ProcessIndex) -> ProcessState {
    let mut processes = plan.processes.iter();
    let found = processes.find(|it| it.process == process);
    found.map_or(ProcessState::Running, |it| it.state)
}

impl Leaving {
    /// How a process is left that was in this state.
    fn fate(self, state: ProcessState) -> Self {
        match state {
            ProcessState::Stopped(signal) => Self::Stopped(signal.into()),
            ProcessState::Running | ProcessState::Zombie(_) => self,
        }
    }
}

impl Finished {
    /// Lets all of them go.
    pub(crate) fn release(self, proc: BorrowedFd<'_>) -> Result<(), TaskError> {
        let is_left_stopped = |task: &&Stopped| matches!(task.stop(), Stop::Group(_));
        let stopped = self.tasks.iter().filter(is_left_stopped);
        let leaders: Vec<Tid> = stopped.map(Stopped::tid).collect();
        for task in self.tasks {
            task.detach(0)?;
        }
        for leader in leaders {
            stopped::wait(proc, leader);
        }
        Ok(())
    }
}

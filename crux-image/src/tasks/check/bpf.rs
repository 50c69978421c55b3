//! eBPF programs.
//!
//! Kind: pure.

use super::{TasksError, TasksPlace, TasksRule, at_most};
use crate::tasks::{BpfAttachment, BpfProgram, Tasks};

const PROGRAMS: usize = 4096;

pub(super) fn check(tasks: &Tasks) -> Result<(), TasksError> {
    let count = tasks.programs.len();
    let record = |rule: TasksRule| rule.at(TasksPlace::Record);
    at_most("eBPF programs", count, PROGRAMS).map_err(record)?;
    for (at, program) in tasks.programs.iter().enumerate() {
        check_program(tasks, program).map_err(|rule| rule.at(TasksPlace::Program(at)))?;
    }
    Ok(())
}

fn check_program(tasks: &Tasks, program: &BpfProgram) -> Result<(), TasksRule> {
    let there = program.attached.iter().all(|it| has_cgroup(tasks, it));
    match program.keeps_to_itself() && there {
        true => Ok(()),
        false => Err(TasksRule::Program),
    }
}

fn has_cgroup(tasks: &Tasks, attachment: &BpfAttachment) -> bool {
    let processes = tasks.processes.iter().flat_map(|it| &it.cgroups);
    let mut all = tasks.cgroups.iter().chain(processes);
    all.any(|it| it.controllers.is_empty() && it.path == attachment.cgroup)
}

//! eBPF programs.
//!
//! Kind: pure.

use super::{TasksError, TasksPlace, TasksRule, at_most};
use crate::tasks::{BpfAttachment, BpfKind, BpfProgram, Tasks, leads_elsewhere};

/// `BPF_MAXINSNS`, which the kernel lets everybody have.
const INSTRUCTIONS: usize = 4096;
const PROGRAMS: usize = 4096;
/// `BPF_CGROUP_MAX_PROGS`, at as many cgroups.
const ATTACHMENTS: usize = 4096;
/// `BPF_OBJ_NAME_LEN`, without the zero.
const NAME: usize = 15;

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
    at_most(
        "instructions of an eBPF program",
        program.instructions.len(),
        INSTRUCTIONS,
    )?;
    at_most(
        "attachments of an eBPF program",
        program.attached.len(),
        ATTACHMENTS,
    )?;
    at_most("bytes of an eBPF program's name", program.name.len(), NAME)?;
    let Some(kind) = BpfKind::of(program.kind) else {
        return Err(TasksRule::Program);
    };
    let known = |point: &u32| kind.points.contains(point);
    let expected = match kind.expects {
        true => known(&program.expected),
        false => program.expected == 0,
    };
    let elsewhere = program.instructions.iter().any(|it| leads_elsewhere(*it));
    let letters = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.".contains(byte);
    let attached = program
        .attached
        .iter()
        .all(|it| known(&it.point) && it.flags <= 2 && has_cgroup(tasks, it));
    match expected && !elsewhere && program.name.iter().all(letters) && attached {
        true => Ok(()),
        false => Err(TasksRule::Program),
    }
}

fn has_cgroup(tasks: &Tasks, attachment: &BpfAttachment) -> bool {
    let processes = tasks.processes.iter().flat_map(|it| &it.cgroups);
    let mut all = tasks.cgroups.iter().chain(processes);
    all.any(|it| it.controllers.is_empty() && it.path == attachment.cgroup)
}

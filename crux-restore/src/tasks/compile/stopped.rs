//! By which signal a stopped process is stopped again.
//!
//! Kind: pure. The kernel stops a process by SIGTSTP, SIGTTIN and SIGTTOU only where nothing handles them and
//! somebody could continue it; otherwise it is stopped by SIGSTOP, which always does.

use crux_image::tasks::{Process, ProcessState, Tasks};

/// The state that a process is left in.
pub(super) fn state(tasks: &Tasks, process: &Process) -> ProcessState {
    match process.state {
        ProcessState::Stopped(signal) => {
            let default = |action: &crux_image::tasks::SignalAction| {
                action.signal != signal || action.handler == 0
            };
            let stops = matches!(
                i32::from(signal),
                libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU
            );
            let kept =
                stops && process.actions.iter().all(default) && !is_orphaned(tasks, process.group);
            ProcessState::Stopped(if kept { signal } else { libc::SIGSTOP as u8 })
        }
        state => state,
    }
}

/// Whether no member of a process group has a parent in another group of its session.
fn is_orphaned(tasks: &Tasks, group: u32) -> bool {
    let members = tasks
        .processes
        .iter()
        .filter(|it| it.group == group && !matches!(it.state, ProcessState::Zombie(_)));
    let parent = |process: &Process| process.parent.map(|at| &tasks.processes[at.at()]);
    let mut pairs = members.filter_map(|process| Some((process, parent(process)?)));
    !pairs.any(|(process, parent)| parent.group != group && parent.session == process.session)
}

//! Cgroups: where the roots of namespaces are, and threads that are elsewhere than their process.
//!
//! Kind: effect where it looks at threads.

use super::files::Files;
use super::freeze::Frozen;
use super::namespaces::Namespaces;
use super::proc_text::{odd, read_of_thread};
use super::{Part, TaskCause, TaskObstacle};
use crate::collect::cgroups::{AttachedProgram, SeenCgroups};
use crate::judge::Policy;
use crux_image::path::Escaped;
use crux_image::tasks::{CgroupMembership, Process};
use crux_mount::hierarchies::memberships;
use crux_mount::sys::SysError;
use std::os::fd::AsFd as _;

/// What the collector has found out. Of a hierarchy of which it knows nothing, where the first process is.
pub(super) fn roots(namespaces: &mut Namespaces<'_>, found: &[(u64, Vec<CgroupMembership>)]) {
    for (id, roots) in found {
        let Some(at) = namespaces.position(*id) else {
            continue;
        };
        for membership in &mut namespaces.cgroup[at].roots {
            let mut known = roots.iter();
            if let Some(root) = known.find(|it| it.controllers == membership.controllers) {
                membership.path.clone_from(&root.path);
            }
        }
    }
}

/// eBPF programs that are attached and that no task has a descriptor of: nobody would load them again.
pub(super) fn held_by_none(
    found: &SeenCgroups,
    files: &Files,
    policy: &Policy,
    first: u32,
    obstacles: &mut Vec<TaskObstacle>,
) {
    let unknown = |it: &&AttachedProgram| !files.program_numbers.contains(&it.program);
    let unheld = found.attached.iter().filter(unknown);
    for program in unheld.filter(|_| !policy.replaces_programs) {
        let cgroup = Escaped(&program.cgroup);
        let what = format!(
            "an eBPF program that no process of the container has open is attached to its cgroup \"{cgroup}\"; \
             --replace-bpf leaves it out"
        );
        obstacles.push(TaskObstacle {
            pid: first,
            part: Part::Process,
            cause: TaskCause::Other(what),
        });
    }
}

/// Only processes as a whole are moved by a restore. Who is in the root of every hierarchy has no thread elsewhere that
/// is looked for.
pub(super) fn of_threads(
    frozen: &Frozen,
    processes: &[Process],
    obstacles: &mut Vec<TaskObstacle>,
) -> Result<(), SysError> {
    for ((target, held), process) in frozen.targets.iter().zip(&frozen.held).zip(processes) {
        if process.cgroups.iter().all(|it| it.path == b"/") {
            continue;
        }
        for thread in held.threads.iter().skip(1) {
            let tid = thread.tid().number();
            let text = read_of_thread(target.directory.as_fd(), tid, "cgroup")?;
            let found = memberships(&text).ok_or_else(|| odd("task/TID/cgroup"))?;
            if found != process.cgroups {
                let what = "it is in another cgroup than its process, which cannot be dumped yet";
                obstacles.push(TaskObstacle {
                    pid: target.pid,
                    part: Part::Thread(tid),
                    cause: TaskCause::Other(what.to_owned()),
                });
            }
        }
    }
    Ok(())
}

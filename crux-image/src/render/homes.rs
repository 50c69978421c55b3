//! The namespaces of a process, in words.
//!
//! Kind: pure.

use crate::mounts::{Mounts, UserNsIndex};
use crate::path::Escaped;
use crate::tasks::{Process, ProcessIndex, Tasks};

/// All that are not the caller's: `UTS 0 "name"`, `user 1 (2 ids; no setgroups)`.
pub(super) fn namespaces(tasks: &Tasks, mounts: &Mounts, process: &Process) -> Vec<String> {
    let pid = process.pid_namespace;
    let mut all = Vec::new();
    if tasks.pid_namespaces[pid.at()].own {
        all.push(format!("pid {}", pid.0));
    }
    let is_it = |of: ProcessIndex| tasks.processes[of.at()].first_pid() == process.first_pid();
    let others = tasks.pid_for_children.iter();
    let others = others.filter(|it| is_it(it.process));
    all.extend(others.map(|it| format!("pid {} for its children", it.namespace.0)));
    let mut numbered = |kind: &str, at: Option<u32>| {
        all.extend(at.map(|at| format!("{kind} {at}")));
    };
    numbered("mount", process.mount_namespace.map(|it| it.0));
    numbered("IPC", process.ipc_namespace.map(|it| it.0));
    numbered("network", process.net_namespace.map(|it| it.0));
    numbered("cgroup", process.cgroup_namespace.map(|it| it.0));
    all.extend(process.uts_namespace.map(|at| {
        let name = &tasks.uts_namespaces[at.at()].host_name;
        format!("UTS {} \"{}\"", at.0, Escaped(name))
    }));
    all.extend(process.time_namespace.map(|at| {
        let time = &tasks.time_namespaces[at.at()];
        let (monotonic, boottime) = (time.monotonic, time.boottime);
        format!(
            "time {} (monotonic {monotonic:+} ns, boottime {boottime:+} ns)",
            at.0
        )
    }));
    let user = process.user_namespace;
    all.extend(user.map(|at| user_namespace(tasks, mounts, at)));
    all
}

fn user_namespace(tasks: &Tasks, mounts: &Mounts, at: UserNsIndex) -> String {
    let record = &mounts.user_namespaces[at.at()];
    let ids: u64 = record.uid_map.iter().map(|it| u64::from(it.count)).sum();
    let denied = match tasks.without_setgroups.contains(&at) {
        true => "; no setgroups",
        false => "",
    };
    let within = record
        .parent
        .map_or(String::new(), |it| format!(" in {}", it.0));
    format!("user {}{within} ({ids} ids{denied})", at.0)
}

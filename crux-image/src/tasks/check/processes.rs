//! Processes, threads and their namespaces.
//!
//! Kind: pure.

use super::{TasksError, TasksPlace, TasksRule, at_most, in_range, value};
use crate::mounts::{Mounts, UserNsIndex};
use crate::tasks::{
    CgroupFile, CgroupMembership, CgroupSettings, Notify, Process, ProcessState, SignalInfo, Tasks,
    Thread,
};
use std::collections::HashSet;

/// `PID_MAX_LIMIT` of the kernel.
const PID_LIMIT: u32 = 1 << 22;
/// `_NSIG`.
const SIGNAL_LIMIT: u8 = 64;
/// `RLIM_NLIMITS`.
const LIMITS: usize = 16;
/// `sizeof(siginfo_t)`.
const SIGINFO: usize = 128;
/// Bytes of an xsave area: with AMX, 11 KiB.
const XSTATE_LIMIT: usize = 64 << 10;
/// `NGROUPS_MAX`.
const GROUP_LIMIT: usize = 65_536;
/// Nested pid namespaces (`MAX_PID_NS_LEVEL`).
const DEPTH_LIMIT: usize = 32;
const QUEUE_LIMIT: usize = 1 << 20;
const AFFINITY_LIMIT: usize = 8 << 10;
const PATH_LIMIT: usize = 1 << 16;

pub(super) fn check(tasks: &Tasks, mounts: &Mounts) -> Result<(), TasksError> {
    let depths = pid_namespaces(tasks)?;
    namespaces(tasks, mounts)?;
    let mut numbers = HashSet::new();
    for (at, process) in tasks.processes.iter().enumerate() {
        check_process(tasks, mounts, at).map_err(|rule| rule.at(TasksPlace::Process(at)))?;
        for (number, thread) in process.threads.iter().enumerate() {
            check_thread(thread)
                .and_then(|()| has_numbers(tasks, &depths, process, thread, &mut numbers))
                .map_err(|rule| rule.at(TasksPlace::Thread(at, number)))?;
        }
    }
    Ok(())
}

/// How deep each is; its first has a depth of one.
fn pid_namespaces(tasks: &Tasks) -> Result<Vec<usize>, TasksError> {
    let mut depths: Vec<usize> = Vec::with_capacity(tasks.pid_namespaces.len());
    for (at, namespace) in tasks.pid_namespaces.iter().enumerate() {
        let fail = |rule: TasksRule| rule.at(TasksPlace::Namespace("pid", at));
        let depth = match namespace.parent {
            None if at == 0 => 1,
            Some(parent) if parent.at() < at && namespace.own => depths[parent.at()] + 1,
            _ => return Err(fail(TasksRule::PidNamespace)),
        };
        at_most("levels of pid namespaces", depth, DEPTH_LIMIT).map_err(fail)?;
        depths.push(depth);
    }
    Ok(depths)
}

fn namespaces(tasks: &Tasks, mounts: &Mounts) -> Result<(), TasksError> {
    let owners = |kind: &'static str, owners: &mut dyn Iterator<Item = Option<UserNsIndex>>| {
        owners.enumerate().try_for_each(|(at, owner)| {
            user(mounts, owner).map_err(|rule| rule.at(TasksPlace::Namespace(kind, at)))
        })
    };
    owners(
        "pid",
        &mut tasks.pid_namespaces.iter().map(|ns| ns.user_namespace),
    )?;
    owners(
        "UTS",
        &mut tasks.uts_namespaces.iter().map(|ns| ns.user_namespace),
    )?;
    owners(
        "IPC",
        &mut tasks.ipc_namespaces.iter().map(|ns| ns.user_namespace),
    )?;
    owners(
        "network",
        &mut tasks.net_namespaces.iter().map(|ns| ns.user_namespace),
    )?;
    owners(
        "cgroup",
        &mut tasks.cgroup_namespaces.iter().map(|ns| ns.user_namespace),
    )?;
    owners(
        "time",
        &mut tasks.time_namespaces.iter().map(|ns| ns.user_namespace),
    )?;
    at_most(
        "user namespaces",
        tasks.without_setgroups.len(),
        mounts.user_namespaces.len(),
    )
    .and_then(|()| {
        let mut all = tasks.without_setgroups.iter();
        all.try_for_each(|it| user(mounts, Some(*it)))
    })
    .map_err(|rule| rule.at(TasksPlace::Record))?;
    let count = tasks.pid_for_children.len();
    at_most("pid namespaces for children", count, tasks.processes.len())
        .and_then(|()| {
            let mut all = tasks.pid_for_children.iter();
            all.try_for_each(|it| {
                in_range("process", it.process.at(), tasks.processes.len())?;
                let namespaces = tasks.pid_namespaces.len();
                in_range("pid namespace", it.namespace.at(), namespaces)
            })
        })
        .map_err(|rule| rule.at(TasksPlace::Record))?;
    for (at, uts) in tasks.uts_namespaces.iter().enumerate() {
        // `__NEW_UTS_LEN` of the kernel.
        let long = uts.host_name.len().max(uts.domain_name.len());
        at_most("bytes of a host's name", long, 64)
            .map_err(|rule| rule.at(TasksPlace::Namespace("UTS", at)))?;
    }
    for (at, namespace) in tasks.cgroup_namespaces.iter().enumerate() {
        cgroups(&namespace.roots).map_err(|rule| rule.at(TasksPlace::Namespace("cgroup", at)))?;
    }
    let mut beneath = tasks.cgroups.iter();
    let mut set = tasks.cgroup_settings.iter();
    beneath
        .try_for_each(cgroup)
        .and_then(|()| set.try_for_each(settings))
        .map_err(|rule| rule.at(TasksPlace::Record))
}

fn user(mounts: &Mounts, user: Option<UserNsIndex>) -> Result<(), TasksRule> {
    let count = mounts.user_namespaces.len();
    user.map_or(Ok(()), |user| in_range("user namespace", user.at(), count))
}

fn cgroups(all: &[CgroupMembership]) -> Result<(), TasksRule> {
    at_most("hierarchies of cgroups", all.len(), 64)?;
    all.iter().try_for_each(cgroup)
}

fn settings(set: &CgroupSettings) -> Result<(), TasksRule> {
    cgroup(&set.cgroup)?;
    let mut next = 0;
    for (file, value) in &set.values {
        in_range("file of cgroups", *file as usize, CgroupFile::ALL.len())?;
        at_most(
            "bytes of a cgroup's setting",
            value.len(),
            CgroupFile::LONGEST,
        )?;
        let readable = |byte: &u8| byte.is_ascii_graphic() || b" \n\t".contains(byte);
        if *file < next || !value.iter().all(readable) {
            return Err(TasksRule::Name);
        }
        next = file + 1;
    }
    Ok(())
}

fn cgroup(one: &CgroupMembership) -> Result<(), TasksRule> {
    let long = one.path.len().max(one.controllers.len());
    at_most("bytes of a cgroup's path", long, PATH_LIMIT)?;
    let upwards = one
        .path
        .split(|b| *b == b'/')
        .any(|part| part == b".." || part == b".");
    match one.path.first() == Some(&b'/') && !upwards && !one.path.contains(&0) {
        true => Ok(()),
        false => Err(TasksRule::Name),
    }
}

fn check_process(tasks: &Tasks, mounts: &Mounts, at: usize) -> Result<(), TasksRule> {
    let process = &tasks.processes[at];
    match process.parent {
        None if at == 0 => {}
        Some(parent) if at > 0 && parent.at() < at => {}
        Some(_) if at > 0 => return Err(TasksRule::ParentAfterChild),
        _ => return Err(TasksRule::Parent),
    }
    let count = tasks.pid_namespaces.len();
    in_range("pid namespace", process.pid_namespace.at(), count)?;
    for (what, index, count) in [
        (
            "address space",
            process.space.map(|it| it.at()),
            tasks.spaces.len(),
        ),
        (
            "descriptor table",
            process.descriptors.map(|it| it.at()),
            tasks.descriptor_tables.len(),
        ),
        (
            "root and working directory",
            process.fs.map(|it| it.at()),
            tasks.fs.len(),
        ),
        (
            "mount namespace",
            process.mount_namespace.map(|it| it.at()),
            mounts.namespaces.len(),
        ),
        (
            "user namespace",
            process.user_namespace.map(|it| it.at()),
            mounts.user_namespaces.len(),
        ),
        (
            "UTS namespace",
            process.uts_namespace.map(|it| it.at()),
            tasks.uts_namespaces.len(),
        ),
        (
            "IPC namespace",
            process.ipc_namespace.map(|it| it.at()),
            tasks.ipc_namespaces.len(),
        ),
        (
            "network namespace",
            process.net_namespace.map(|it| it.at()),
            tasks.net_namespaces.len(),
        ),
        (
            "cgroup namespace",
            process.cgroup_namespace.map(|it| it.at()),
            tasks.cgroup_namespaces.len(),
        ),
        (
            "time namespace",
            process.time_namespace.map(|it| it.at()),
            tasks.time_namespaces.len(),
        ),
    ] {
        index.map_or(Ok(()), |index| in_range(what, index, count))?;
    }
    has_what_its_state_has(process)?;
    check_settings(process)?;
    check_signals(process)?;
    cgroups(&process.cgroups)
}

fn has_what_its_state_has(process: &Process) -> Result<(), TasksRule> {
    let parts = [
        process.space.is_some(),
        process.descriptors.is_some(),
        process.fs.is_some(),
        process.mount_namespace.is_some(),
    ];
    match process.state {
        _ if process.threads.is_empty() => Err(TasksRule::NoThread),
        ProcessState::Zombie(_) if parts.contains(&true) || process.threads.len() > 1 => {
            Err(TasksRule::ZombieHas)
        }
        ProcessState::Zombie(_) => Ok(()),
        _ if parts.contains(&false) => Err(TasksRule::Lacks),
        ProcessState::Stopped(signal) => is_signal(signal),
        ProcessState::Running => Ok(()),
    }
}

fn check_settings(process: &Process) -> Result<(), TasksRule> {
    for number in [process.group, process.session] {
        value(
            "number of a process group or session",
            number.into(),
            PID_LIMIT.into(),
        )?;
    }
    value(
        "exit signal",
        process.exit_signal.into(),
        SIGNAL_LIMIT.into(),
    )?;
    value("dumpable flag", process.dumpable.into(), 2)?;
    value(
        "oom_score_adj",
        process.oom_score_adj.unsigned_abs().into(),
        1000,
    )?;
    match process.limits.len() == LIMITS {
        true => Ok(()),
        false => Err(TasksRule::Length("the list of limits")),
    }
}

fn check_signals(process: &Process) -> Result<(), TasksRule> {
    at_most("actions", process.actions.len(), SIGNAL_LIMIT.into())?;
    let mut actions = process.actions.iter();
    actions.try_for_each(|action| is_signal(action.signal))?;
    queue(&process.pending)?;
    at_most("timers", process.posix_timers.len(), QUEUE_LIMIT)?;
    process.posix_timers.iter().try_for_each(|timer| {
        value("id of a timer", timer.id.into(), i32::MAX as u64)?;
        match timer.notify {
            Notify::None => Ok(()),
            Notify::Signal { signal, .. } => is_signal(signal),
            Notify::Thread { signal, thread, .. } => {
                is_signal(signal).and_then(|()| is_pid(thread))
            }
        }
    })
}

fn queue(pending: &[SignalInfo]) -> Result<(), TasksRule> {
    at_most("signals in a queue", pending.len(), QUEUE_LIMIT)?;
    pending.iter().try_for_each(|info| {
        if info.bytes.len() != SIGINFO {
            return Err(TasksRule::Length("siginfo_t"));
        }
        let number = info.signal().unwrap_or(0);
        u8::try_from(number).map_or(Err(TasksRule::Signal(number)), is_signal)
    })
}

fn is_signal(number: u8) -> Result<(), TasksRule> {
    match (1..=SIGNAL_LIMIT).contains(&number) {
        true => Ok(()),
        false => Err(TasksRule::Signal(number.into())),
    }
}

fn is_pid(number: u32) -> Result<(), TasksRule> {
    match (1..=PID_LIMIT).contains(&number) {
        true => Ok(()),
        false => Err(TasksRule::Pid(number)),
    }
}

fn check_thread(thread: &Thread) -> Result<(), TasksRule> {
    at_most("bytes of a name", thread.name.len(), 15)?;
    at_most(
        "bytes of processor state",
        thread.xstate.len(),
        XSTATE_LIMIT,
    )?;
    at_most("groups", thread.credentials.groups.len(), GROUP_LIMIT)?;
    at_most(
        "bytes of an affinity",
        thread.affinity.len(),
        AFFINITY_LIMIT,
    )?;
    value(
        "parent-death signal",
        thread.parent_death_signal.into(),
        SIGNAL_LIMIT.into(),
    )?;
    queue(&thread.pending)
}

/// A thread has one number in each pid namespace from the first to its own, and nobody else has it.
fn has_numbers(
    tasks: &Tasks,
    depths: &[usize],
    process: &Process,
    thread: &Thread,
    taken: &mut HashSet<(usize, u32)>,
) -> Result<(), TasksRule> {
    let mut namespace = Some(process.pid_namespace);
    let (found, expected) = (thread.pids.len(), depths[process.pid_namespace.at()]);
    if found != expected {
        return Err(TasksRule::Numbers { found, expected });
    }
    for number in thread.pids.iter().rev() {
        is_pid(*number)?;
        let Some(here) = namespace else { break };
        if !taken.insert((here.at(), *number)) {
            return Err(TasksRule::PidTaken(*number));
        }
        namespace = tasks.pid_namespaces[here.at()].parent;
    }
    Ok(())
}

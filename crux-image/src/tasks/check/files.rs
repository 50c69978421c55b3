//! Descriptors and open files.
//!
//! Kind: pure.

use super::memory::runs;
use super::{TasksError, TasksPlace, TasksRule, at_most, in_range, value};
use crate::mounts::Mounts;
use crate::path::is_printable;
use crate::tasks::{
    DescriptorTable, EpollTarget, Location, OpenFile, OpenNamespace, OpenTarget, PAGE_SIZE,
    PageSource, Pipe, Tasks, TerminalFile, TimerFile, UnlinkedFile, UnlinkedIndex, UnlinkedKind,
    Watch,
};

/// `NR_OPEN` can be raised to this (`sysctl_nr_open_max`).
const DESCRIPTOR_LIMIT: u32 = i32::MAX as u32;
/// The largest pipe that anybody may have, by default; root may have more.
const PIPE_LIMIT: usize = 1 << 31;
const DESCRIBED_LIMIT: usize = 1 << 16;
const NAME_LIMIT: usize = 255;
/// The largest number of a clock (`CLOCK_TAI`).
const CLOCKS: u64 = 11;
/// `XATTR_SIZE_MAX`, and as many names as fit into `XATTR_LIST_MAX`.
const ATTRIBUTE_BYTES: usize = 1 << 16;
const ATTRIBUTE_LIMIT: usize = 1 << 15;
const TARGET_LIMIT: usize = 1 << 20;

pub(super) fn check(tasks: &Tasks, mounts: &Mounts) -> Result<(), TasksError> {
    for (at, table) in tasks.descriptor_tables.iter().enumerate() {
        check_table(tasks, table).map_err(|rule| rule.at(TasksPlace::Table(at)))?;
    }
    for (at, file) in tasks.files.iter().enumerate() {
        check_file(tasks, mounts, file).map_err(|rule| rule.at(TasksPlace::File(at)))?;
    }
    for (at, file) in tasks.unlinked.iter().enumerate() {
        check_unlinked(mounts, file).map_err(|rule| rule.at(TasksPlace::Unlinked(at)))?;
    }
    for (at, pipe) in tasks.pipes.iter().enumerate() {
        check_pipe(pipe).map_err(|rule| rule.at(TasksPlace::Pipe(at)))?;
    }
    for (at, removed) in tasks.removed_working.iter().enumerate() {
        in_range(
            "root and working directory",
            removed.fs.at(),
            tasks.fs.len(),
        )
        .and_then(|()| directory(tasks, removed.directory))
        .map_err(|rule| rule.at(TasksPlace::RemovedWorking(at)))?;
    }
    for (at, fs) in tasks.fs.iter().enumerate() {
        location(mounts, &fs.root)
            .and_then(|()| location(mounts, &fs.working))
            .and_then(|()| in_range("process", fs.first.at(), tasks.processes.len()))
            .map_err(|rule| rule.at(TasksPlace::Fs(at)))?;
    }
    Ok(())
}

pub(super) fn location(mounts: &Mounts, place: &Location) -> Result<(), TasksRule> {
    let namespace = place.namespace.at();
    in_range("mount namespace", namespace, mounts.namespaces.len())?;
    let mounts = mounts.namespaces[namespace].mounts.len();
    in_range("mount", place.mount.at(), mounts)
}

fn check_table(tasks: &Tasks, table: &DescriptorTable) -> Result<(), TasksRule> {
    let mut next = 0;
    for descriptor in &table.descriptors {
        if descriptor.number < next || descriptor.number >= DESCRIPTOR_LIMIT {
            return Err(TasksRule::DescriptorOrder);
        }
        next = descriptor.number + 1;
        in_range("open file", descriptor.file.at(), tasks.files.len())?;
    }
    Ok(())
}

fn check_file(tasks: &Tasks, mounts: &Mounts, file: &OpenFile) -> Result<(), TasksRule> {
    match &file.target {
        OpenTarget::Path {
            location: place, ..
        } => location(mounts, place),
        OpenTarget::Unlinked(index) => in_range("unlinked file", index.at(), tasks.unlinked.len()),
        OpenTarget::Pipe(index, _) => in_range("pipe", index.at(), tasks.pipes.len()),
        OpenTarget::Memory(index) => {
            in_range("shared memory", index.at(), tasks.shared_memory.len())
        }
        OpenTarget::Socket(index) => in_range("socket", index.at(), tasks.sockets.len()),
        OpenTarget::External {
            name, described, ..
        } => {
            at_most("bytes of a description", described.len(), DESCRIBED_LIMIT)?;
            grant_name(name)
        }
        OpenTarget::Terminal(index, side) => {
            in_range("terminal", index.at(), tasks.terminals.len())?;
            match side {
                TerminalFile::Slave(place) | TerminalFile::Controlling(place) => {
                    location(mounts, place)
                }
                TerminalFile::Master | TerminalFile::Nameless => Ok(()),
            }
        }
        OpenTarget::Event(it) => value("count of an eventfd", it.count, u64::MAX - 1),
        OpenTarget::Signals { .. } => Ok(()),
        OpenTarget::Timer(it) => timer(it),
        OpenTarget::Epoll(targets) => epoll(tasks, targets),
        OpenTarget::Process(index) => in_range("process", index.at(), tasks.processes.len()),
        OpenTarget::Inotify(watches) => inotify(mounts, watches),
        OpenTarget::Program(index) => in_range("eBPF program", index.at(), tasks.programs.len()),
        OpenTarget::Namespace(namespace) => open_namespace(tasks, mounts, *namespace),
    }
}

fn open_namespace(
    tasks: &Tasks,
    mounts: &Mounts,
    namespace: OpenNamespace,
) -> Result<(), TasksRule> {
    let (what, count) = match namespace {
        OpenNamespace::Mount(_) => ("mount namespace", mounts.namespaces.len()),
        OpenNamespace::User(_) => ("user namespace", mounts.user_namespaces.len()),
        OpenNamespace::Pid(_) => ("pid namespace", tasks.pid_namespaces.len()),
        OpenNamespace::Uts(_) => ("UTS namespace", tasks.uts_namespaces.len()),
        OpenNamespace::Ipc(_) => ("IPC namespace", tasks.ipc_namespaces.len()),
        OpenNamespace::Net(_) => ("network namespace", tasks.net_namespaces.len()),
        OpenNamespace::Cgroup(_) => ("cgroup namespace", tasks.cgroup_namespaces.len()),
        OpenNamespace::Time(_) => ("time namespace", tasks.time_namespaces.len()),
    };
    match namespace.position() {
        Some(at) => in_range(what, at, count),
        None => Ok(()),
    }
}

fn inotify(mounts: &Mounts, watches: &[Watch]) -> Result<(), TasksRule> {
    let mut next = 1;
    for watch in watches {
        if watch.number < next {
            return Err(TasksRule::WatchOrder);
        }
        value("number of a watch", watch.number.into(), Watch::LAST.into())?;
        value("mask of a watch", (watch.mask & !Watch::MASK).into(), 0)?;
        location(mounts, &watch.location)?;
        next = watch.number + 1;
    }
    Ok(())
}

fn timer(timer: &TimerFile) -> Result<(), TasksRule> {
    let clock = u64::try_from(timer.clock).unwrap_or(u64::MAX);
    value("clock of a timer", clock, CLOCKS)?;
    for time in [timer.remaining, timer.interval, timer.deadline] {
        value("time of a timer", time, i64::MAX as u64)?;
    }
    Ok(())
}

fn epoll(tasks: &Tasks, targets: &[EpollTarget]) -> Result<(), TasksRule> {
    at_most("targets of an epoll", targets.len(), TARGET_LIMIT)?;
    for target in targets {
        in_range("open file", target.file.at(), tasks.files.len())?;
        value(
            "number of a target",
            target.number.into(),
            DESCRIPTOR_LIMIT.into(),
        )?;
    }
    Ok(())
}

/// What `--external NAME=` can grant.
pub(super) fn grant_name(name: &str) -> Result<(), TasksRule> {
    let good = !name.is_empty()
        && name.len() <= NAME_LIMIT
        && name != "auto"
        && !name.contains('=')
        && is_printable(name);
    match good {
        true => Ok(()),
        false => Err(TasksRule::GrantName),
    }
}

fn directory(tasks: &Tasks, index: UnlinkedIndex) -> Result<(), TasksRule> {
    in_range("unlinked file", index.at(), tasks.unlinked.len())?;
    match tasks.unlinked[index.at()].kind {
        UnlinkedKind::Directory => Ok(()),
        UnlinkedKind::Regular => Err(TasksRule::NoDirectory),
    }
}

fn check_unlinked(mounts: &Mounts, file: &UnlinkedFile) -> Result<(), TasksRule> {
    location(mounts, &file.directory)?;
    if let Some(linked) = &file.linked {
        location(mounts, linked)?;
    }
    let bad = file.name.is_empty() || file.name == b"." || file.name == b"..";
    if bad || file.name.len() > NAME_LIMIT || file.name.iter().any(|b| *b == 0 || *b == b'/') {
        return Err(TasksRule::Name);
    }
    for time in file.times {
        value(
            "nanoseconds of a time",
            time.nanoseconds.into(),
            999_999_999,
        )?;
    }
    at_most("attributes", file.attributes.len(), ATTRIBUTE_LIMIT)?;
    for (name, bytes) in &file.attributes {
        at_most("bytes of an attribute", bytes.len(), ATTRIBUTE_BYTES)?;
        if name.is_empty() || name.len() > NAME_LIMIT || name.contains(&0) {
            return Err(TasksRule::Name);
        }
    }
    if file.kind == UnlinkedKind::Directory && !file.pages.is_empty() {
        return Err(TasksRule::Pages);
    }
    if file.size > i64::MAX as u64 - PAGE_SIZE {
        return Err(TasksRule::AreaRange);
    }
    let data = file
        .pages
        .iter()
        .all(|run| matches!(run.source, PageSource::Data(_)));
    match data {
        true => runs(&file.pages, 0, file.size.next_multiple_of(PAGE_SIZE)),
        false => Err(TasksRule::NoParentPages),
    }
}

fn check_pipe(pipe: &Pipe) -> Result<(), TasksRule> {
    at_most(
        "bytes of a pipe's capacity",
        pipe.capacity as usize,
        PIPE_LIMIT,
    )?;
    let full: usize = pipe.data.iter().map(Vec::len).sum();
    match full <= pipe.capacity as usize {
        true => Ok(()),
        false => Err(TasksRule::PipeData),
    }
}

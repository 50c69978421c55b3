//! Contents of ipc namespaces.
//!
//! Kind: pure.

use super::{TasksError, TasksPlace, TasksRule, at_most, in_range, value};
use crate::tasks::{
    IpcContents, IpcObject, MessageQueue, Segment, SemaphoreSet, SharedMemoryKind, Tasks,
};
use std::collections::{HashMap, HashSet};

/// `IPCMNI_EXTEND`.
const OBJECT_LIMIT: usize = 1 << 24;
/// `SEMMSL` may be raised to this (`sem_ctls`).
const SET_LIMIT: usize = 65_536;
const MESSAGE_LIMIT: usize = 1 << 24;
/// `SEMVMX`.
const VALUE_LIMIT: u16 = 32_767;
/// What the kernel keeps of such a limit is an int, or an unsigned long.
const INT: u64 = i32::MAX as u64;

pub(super) fn check(tasks: &Tasks) -> Result<(), TasksError> {
    let mut known = HashSet::new();
    let mut segments = HashSet::new();
    for (at, contents) in tasks.ipc_contents.iter().enumerate() {
        let first = match known.insert(contents.namespace) {
            true => Ok(()),
            false => Err(TasksRule::Twice("an ipc namespace")),
        };
        first
            .and_then(|()| check_contents(tasks, contents, &mut segments))
            .map_err(|rule| rule.at(TasksPlace::Ipc(at)))?;
    }
    for (at, memory) in tasks.shared_memory.iter().enumerate() {
        let is_segment = matches!(memory.kind, SharedMemoryKind::SystemV { .. });
        // Version 1 recorded mapped segments, and nothing else of their namespace.
        if is_segment && !tasks.ipc_contents.is_empty() && !segments.contains(&at) {
            return Err(TasksRule::Unused.at(TasksPlace::SharedMemory(at)));
        }
    }
    Ok(())
}

fn check_contents(
    tasks: &Tasks,
    contents: &IpcContents,
    segments: &mut HashSet<usize>,
) -> Result<(), TasksRule> {
    let count = tasks.ipc_namespaces.len();
    in_range("IPC namespace", contents.namespace.at(), count)?;
    limits(contents)?;
    for (what, count) in [
        ("sets of semaphores", contents.semaphores.len()),
        ("message queues", contents.queues.len()),
        ("segments", contents.segments.len()),
    ] {
        at_most(what, count, OBJECT_LIMIT)?;
    }
    let mut ids = HashSet::new();
    for set in &contents.semaphores {
        object(&set.object, &mut ids)?;
        semaphores(tasks, set)?;
    }
    ids.clear();
    for queue in &contents.queues {
        object(&queue.object, &mut ids)?;
        messages(queue)?;
    }
    ids.clear();
    for segment in &contents.segments {
        check_segment(tasks, segment, &mut ids)?;
        if !segments.insert(segment.memory.at()) {
            return Err(TasksRule::Twice("a segment"));
        }
    }
    adjustments(tasks, contents)
}

fn limits(contents: &IpcContents) -> Result<(), TasksRule> {
    let limits = &contents.limits;
    let ints = [
        limits.shmmni,
        limits.shm_rmid_forced,
        limits.msgmax,
        limits.msgmnb,
        limits.msgmni,
    ];
    let mut all = ints.iter().chain(&limits.sem).chain(&limits.mqueue);
    all.try_for_each(|found| value("limit of an ipc namespace", *found, INT))
}

fn object(object: &IpcObject, ids: &mut HashSet<u32>) -> Result<(), TasksRule> {
    value("id of an ipc object", object.id.into(), INT)?;
    value("mode of an ipc object", object.mode.into(), 0o777)?;
    match ids.insert(object.id) {
        true => Ok(()),
        false => Err(TasksRule::Twice("the id of an ipc object")),
    }
}

fn semaphores(tasks: &Tasks, set: &SemaphoreSet) -> Result<(), TasksRule> {
    at_most("semaphores of a set", set.semaphores.len(), SET_LIMIT)?;
    if set.semaphores.is_empty() {
        return Err(TasksRule::Length("a set of semaphores"));
    }
    set.semaphores.iter().try_for_each(|semaphore| {
        let last = semaphore.last.map_or(0, |it| it.at());
        in_range("process", last, tasks.processes.len())?;
        value("semaphore", semaphore.value.into(), VALUE_LIMIT.into())
    })
}

fn adjustments(tasks: &Tasks, contents: &IpcContents) -> Result<(), TasksRule> {
    let sets = contents.semaphores.iter();
    let sizes: HashMap<u32, usize> = sets.map(|it| (it.object.id, it.semaphores.len())).collect();
    contents.adjustments.iter().try_for_each(|adjustment| {
        in_range("process", adjustment.process.at(), tasks.processes.len())?;
        let count = sizes.get(&adjustment.set).copied().unwrap_or(0);
        in_range("semaphore", adjustment.number as usize, count)
    })
}

fn messages(queue: &MessageQueue) -> Result<(), TasksRule> {
    at_most("messages", queue.messages.len(), MESSAGE_LIMIT)?;
    value("limit of a message queue", queue.bytes, INT)?;
    let all: u64 = queue.messages.iter().map(|it| it.text.len() as u64).sum();
    value("bytes of all messages of a queue", all, INT)?;
    match queue.messages.iter().all(|message| message.kind > 0) {
        true => Ok(()),
        false => Err(TasksRule::Message),
    }
}

fn check_segment(
    tasks: &Tasks,
    segment: &Segment,
    ids: &mut HashSet<u32>,
) -> Result<(), TasksRule> {
    let at = segment.memory.at();
    in_range("shared memory", at, tasks.shared_memory.len())?;
    let memory = &tasks.shared_memory[at];
    let SharedMemoryKind::SystemV {
        id,
        key,
        uid,
        gid,
        mode,
        ..
    } = memory.kind
    else {
        return Err(TasksRule::Segment);
    };
    if memory.size == 0 {
        return Err(TasksRule::Length("a segment"));
    }
    let common = IpcObject {
        id,
        key,
        uid,
        gid,
        creator_uid: segment.creator_uid,
        creator_gid: segment.creator_gid,
        mode: u16::try_from(mode).unwrap_or(u16::MAX),
    };
    object(&common, ids)
}

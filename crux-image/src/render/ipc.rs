//! What ipc namespaces hold, for people and for programs.
//!
//! Kind: pure.

use super::words;
use crate::tasks::{IpcContents, IpcObject, SharedMemoryKind, Tasks};
use serde::Serialize;
use std::fmt::Write;

/// [`IpcContents`] for `--json`.
#[derive(Debug, Serialize)]
pub(super) struct IpcRecord {
    namespace: u32,
    semaphores: Vec<ObjectRecord>,
    queues: Vec<ObjectRecord>,
    segments: Vec<ObjectRecord>,
}

#[derive(Debug, Serialize)]
struct ObjectRecord {
    id: u32,
    key: u32,
    uid: u32,
    gid: u32,
    mode: String,
    /// Values of semaphores, lengths of messages, or the size of a segment.
    holds: Vec<u64>,
}

impl ObjectRecord {
    fn new(object: &IpcObject, holds: Vec<u64>) -> Self {
        Self {
            id: object.id,
            key: object.key,
            uid: object.uid,
            gid: object.gid,
            mode: format!("{:o}", object.mode),
            holds,
        }
    }
}

/// All of them.
pub(super) fn ipc_records(tasks: &Tasks) -> Vec<IpcRecord> {
    let record = |contents: &IpcContents| IpcRecord {
        namespace: contents.namespace.0,
        semaphores: contents
            .semaphores
            .iter()
            .map(|set| {
                let values = set.semaphores.iter().map(|it| it.value.into());
                ObjectRecord::new(&set.object, values.collect())
            })
            .collect(),
        queues: contents
            .queues
            .iter()
            .map(|queue| {
                let lengths = queue.messages.iter().map(|it| it.text.len() as u64);
                ObjectRecord::new(&queue.object, lengths.collect())
            })
            .collect(),
        segments: contents
            .segments
            .iter()
            .filter_map(|segment| {
                let memory = &tasks.shared_memory[segment.memory.at()];
                let SharedMemoryKind::SystemV {
                    id,
                    key,
                    uid,
                    gid,
                    mode,
                    ..
                } = memory.kind
                else {
                    return None;
                };
                Some(ObjectRecord {
                    id,
                    key,
                    uid,
                    gid,
                    mode: format!("{mode:o}"),
                    holds: vec![memory.size],
                })
            })
            .collect(),
    };
    tasks.ipc_contents.iter().map(record).collect()
}

/// A line for each that is not empty.
pub(super) fn lines(text: &mut String, tasks: &Tasks) {
    for contents in &tasks.ipc_contents {
        let parts = [
            (contents.semaphores.len(), "set of semaphores"),
            (contents.queues.len(), "message queue"),
            (contents.segments.len(), "segment"),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| match (*count, *what) {
                (count @ 2.., "set of semaphores") => format!("{count} sets of semaphores"),
                (count, what) => words::count(count, what),
            })
            .collect();
        if !parts.is_empty() {
            let _ = writeln!(text, "{:<14}{}", "IPC", parts.join(", "));
        }
    }
}

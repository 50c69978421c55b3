//! What ipc namespaces hold, as the record has it.
//!
//! Kind: effect where it reads the contents of segments and compares tasks; what becomes of what the
//! collector has seen is pure.

use super::memory::MemoryError;
use super::namespaces::Namespaces;
use super::target::Target;
use super::users::Ids;
use super::{Objects, Part, TaskCause, TaskObstacle};
use crate::collect::cgroups::SeenCgroups;
use crate::collect::ipc::{SeenIpc, SeenObject};
use crate::sys;
use crux_image::mounts::UserNamespace;
use crux_image::tasks::{
    IpcContents, IpcObject, Message, MessageQueue, ProcessIndex, Segment, Semaphore, SemaphoreSet,
    SharedMemoryIndex, SharedMemoryKind,
};
use crux_mount::sys::SysError;
use std::cmp::Ordering;
use std::fs::File;
use std::os::fd::OwnedFd;

/// What the collector has seen, with the files of all segments.
#[derive(Debug, Default)]
pub struct Ipc {
    pub(crate) seen: Vec<SeenIpc>,
    pub(crate) files: Vec<OwnedFd>,
    /// Where the roots of cgroup namespaces are.
    pub(crate) cgroups: SeenCgroups,
}

/// A segment is told apart by its namespace and its id: its inode number is the id, and there is one device for all.
pub(super) fn identity(namespace: u64, id: u32) -> super::objects::Identity {
    ((u32::MAX, namespace as u32), id.into())
}

/// Records the contents of all segments, before anybody who has them mapped is looked at.
pub(super) fn segments(
    ipc: &Ipc,
    pid: u32,
    objects: &mut Objects,
    obstacles: &mut Vec<TaskObstacle>,
) -> Result<Vec<Vec<SharedMemoryIndex>>, MemoryError> {
    let mut files = ipc.files.iter();
    let mut all = Vec::with_capacity(ipc.seen.len());
    for seen in &ipc.seen {
        let mut found = Vec::with_capacity(seen.segments.len());
        for segment in &seen.segments {
            let object = &segment.object;
            let Some(file) = files.next() else { break };
            if segment.huge {
                let what = format!(
                    "its ipc namespace has the segment {} of huge pages (SHM_HUGETLB), which cannot be dumped",
                    object.id
                );
                obstacles.push(obstacle(pid, what));
                found.push(SharedMemoryIndex(0));
                continue;
            }
            let kind = SharedMemoryKind::SystemV {
                id: object.id,
                key: object.key,
                uid: object.uid,
                gid: object.gid,
                mode: object.mode & 0o777,
                destroyed: segment.is_destroyed(),
            };
            let file = file
                .try_clone()
                .map(File::from)
                .map_err(MemoryError::Object)?;
            found.push(objects.shared_memory(identity(seen.namespace, object.id), kind, &file)?);
        }
        all.push(found);
    }
    Ok(all)
}

/// What else there is to say of them.
pub(super) struct Context<'a> {
    pub(super) targets: &'a [Target],
    pub(super) namespaces: &'a Namespaces<'a>,
    pub(super) users: &'a [UserNamespace],
}

/// The record of what the namespaces hold. `segments` are theirs.
pub(super) fn contents(
    context: &Context<'_>,
    ipc: Ipc,
    segments: Vec<Vec<SharedMemoryIndex>>,
    objects: &mut Objects,
    obstacles: &mut Vec<TaskObstacle>,
) -> Vec<IpcContents> {
    let pid = context.targets.first().map_or(0, |first| first.pid);
    let mut all = Vec::with_capacity(ipc.seen.len());
    for (seen, indexes) in ipc.seen.into_iter().zip(segments) {
        // One that nobody is in whom the tracer has seen.
        let Some(at) = context.namespaces.position(seen.namespace) else {
            continue;
        };
        let owner = context.namespaces.ipc[at].user_namespace;
        let ids = Ids {
            all: context.users,
            user: owner,
        };
        let recorder = Recorder { context, ids };
        match recorder.record(seen, &indexes, objects) {
            Ok(contents) => all.push(IpcContents {
                namespace: at.into(),
                ..contents
            }),
            Err(id) => {
                let what = format!(
                    "object {id} of its ipc namespace has an owner that its user namespace does not map"
                );
                obstacles.push(obstacle(pid, what));
            }
        }
    }
    all
}

struct Recorder<'a> {
    context: &'a Context<'a>,
    ids: Ids<'a>,
}

impl Recorder<'_> {
    /// The id of the object that cannot be recorded, otherwise.
    fn record(
        &self,
        seen: SeenIpc,
        indexes: &[SharedMemoryIndex],
        objects: &mut Objects,
    ) -> Result<IpcContents, u32> {
        let sets = seen.semaphores.into_iter().map(|set| {
            Ok(SemaphoreSet {
                object: self.object(&set.object)?,
                used: set.used,
                semaphores: set
                    .values
                    .into_iter()
                    .map(|it| self.semaphore(it))
                    .collect(),
            })
        });
        let queues = seen.queues.into_iter().map(|queue| {
            let messages = queue.messages.into_iter();
            Ok(MessageQueue {
                object: self.object(&queue.object)?,
                bytes: queue.bytes,
                messages: messages
                    .map(|(kind, text)| Message { kind, text })
                    .collect(),
            })
        });
        let segments = seen.segments.iter().zip(indexes).map(|(segment, memory)| {
            let object = self.object(&segment.object)?;
            if let Some(memory) = objects.shared_memory.get_mut(memory.at())
                && let SharedMemoryKind::SystemV { uid, gid, .. } = &mut memory.kind
            {
                (*uid, *gid) = (object.uid, object.gid);
            }
            Ok(Segment {
                memory: *memory,
                creator_uid: object.creator_uid,
                creator_gid: object.creator_gid,
                locked: segment.is_locked(),
            })
        });
        Ok(IpcContents {
            namespace: 0.into(),
            limits: seen.limits,
            semaphores: sets.collect::<Result<_, u32>>()?,
            queues: queues.collect::<Result<_, u32>>()?,
            segments: segments.collect::<Result<_, u32>>()?,
            adjustments: Vec::new(),
        })
    }

    fn object(&self, seen: &SeenObject) -> Result<IpcObject, u32> {
        let (uid, gid) = (|id| self.ids.uid(id), |id| self.ids.gid(id));
        let mapped = || {
            Some(IpcObject {
                id: seen.id,
                key: seen.key,
                uid: uid(seen.uid)?,
                gid: gid(seen.gid)?,
                creator_uid: uid(seen.creator_uid)?,
                creator_gid: gid(seen.creator_gid)?,
                mode: (seen.mode & 0o777) as u16,
            })
        };
        mapped().ok_or(seen.id)
    }

    fn semaphore(&self, (value, last): (u16, u32)) -> Semaphore {
        let mut targets = self.context.targets.iter();
        let last = targets.position(|target| target.pid == last && !target.zombie);
        Semaphore {
            value,
            last: last.map(ProcessIndex::from),
        }
    }
}

/// Processes that may have to take back what they did to semaphores when they end (`SEM_UNDO`).
///
/// KERNEL: nothing tells what that is. But a process that has no list of it has the same list as this one,
/// which has none. Every process that ever had two threads has one, if an empty one.
pub(super) fn undo_lists(
    ipc: &Ipc,
    targets: &[Target],
    obstacles: &mut Vec<TaskObstacle>,
) -> Result<(), SysError> {
    /// `KCMP_SYSVSEM`.
    const SEMAPHORES: i32 = 6;
    let used = |seen: &SeenIpc| seen.semaphores.iter().any(|set| set.used);
    if !ipc.seen.iter().any(used) {
        return Ok(());
    }
    let own = std::process::id();
    for target in targets.iter().filter(|target| !target.zombie) {
        if sys::kcmp(own, target.pid, SEMAPHORES, 0, 0)? != Ordering::Equal {
            let what = "it may have adjustments of semaphores (SEM_UNDO), which cannot be read: it has used them, or has had threads";
            obstacles.push(obstacle(target.pid, what.to_owned()));
        }
    }
    Ok(())
}

fn obstacle(pid: u32, what: String) -> TaskObstacle {
    TaskObstacle {
        pid,
        part: Part::Process,
        cause: TaskCause::Other(what),
    }
}

//! What an ipc namespace holds (sysvipc(7)), and what it allows.
//!
//! Kind: pure. Contents of shared memory are with all other shared memory. Queues of
//! mq_overview(7) are files, and in the record of mounts.

use super::{IpcNsIndex, ProcessIndex, SharedMemoryIndex};
use serde::{Deserialize, Serialize};

/// The contents of one ipc namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpcContents {
    /// Whose they are.
    pub namespace: IpcNsIndex,
    /// Its sysctls.
    pub limits: IpcLimits,
    /// semget(2).
    pub semaphores: Vec<SemaphoreSet>,
    /// msgget(2).
    pub queues: Vec<MessageQueue>,
    /// shmget(2).
    pub segments: Vec<Segment>,
    /// `SEM_UNDO`.
    pub adjustments: Vec<Adjustment>,
}

/// What a process does to a semaphore when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjustment {
    /// Which process.
    pub process: ProcessIndex,
    /// The set's id.
    pub set: u32,
    /// The number of the semaphore in it.
    pub number: u32,
    /// What it adds.
    pub value: i16,
}

/// `/proc/sys/kernel` and `/proc/sys/fs/mqueue`, as far as it belongs to an ipc namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names of proc_sys_kernel(5)")]
pub struct IpcLimits {
    pub shmmax: u64,
    pub shmall: u64,
    pub shmmni: u64,
    pub shm_rmid_forced: u64,
    pub msgmax: u64,
    pub msgmnb: u64,
    pub msgmni: u64,
    /// SEMMSL, SEMMNS, SEMOPM, SEMMNI.
    pub sem: [u64; 4],
    /// Of `fs/mqueue`: `queues_max`, `msg_max`, `msgsize_max`, `msg_default`, `msgsize_default`.
    pub mqueue: [u64; 5],
}

/// What every object has (`struct ipc_perm`). Ids are those of the namespace's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpcObject {
    /// Its id, which the restored one has as well.
    pub id: u32,
    /// Its key; 0 is `IPC_PRIVATE`.
    pub key: u32,
    /// Owner.
    pub uid: u32,
    /// Owner.
    pub gid: u32,
    /// Who made it.
    pub creator_uid: u32,
    /// Likewise.
    pub creator_gid: u32,
    /// Mode bits.
    pub mode: u16,
}

/// A set of semaphores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SemaphoreSet {
    /// What it has in common with others.
    pub object: IpcObject,
    /// Whether semop(2) was ever called on it (`sem_otime`).
    pub used: bool,
    /// By number.
    pub semaphores: Vec<Semaphore>,
}

/// A semaphore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Semaphore {
    /// `GETVAL`.
    pub value: u16,
    /// `GETPID`, if that process is there.
    pub last: Option<ProcessIndex>,
}

/// A message queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageQueue {
    /// What it has in common with others.
    pub object: IpcObject,
    /// `msg_qbytes`.
    pub bytes: u64,
    /// In their order.
    pub messages: Vec<Message>,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `mtype`, which is positive.
    pub kind: i64,
    /// `mtext`.
    pub text: Vec<u8>,
}

/// A segment of shared memory, mapped or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Which, of the kind [`SharedMemoryKind::SystemV`](super::SharedMemoryKind): id, key, owner and mode are there.
    pub memory: SharedMemoryIndex,
    /// Who made it.
    pub creator_uid: u32,
    /// Likewise.
    pub creator_gid: u32,
    /// `SHM_LOCK`.
    pub locked: bool,
}

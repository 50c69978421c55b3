//! The calls of sysvipc(7).
//!
//! Kind: effect. Each fails the workload where it fails.
#![allow(unsafe_code)]

use nix::libc;
use std::io::Error;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Semaphores,
    Queues,
    Segments,
}

#[track_caller]
fn checked(what: &str, result: i64) -> i64 {
    assert!(result >= 0, "{what}: {}", Error::last_os_error());
    result
}

pub(crate) fn semget(key: i32, count: i32, mode: i32) -> i32 {
    let flags = libc::IPC_CREAT | libc::IPC_EXCL | mode;
    // SAFETY: only numbers are passed.
    checked("semget", unsafe { libc::semget(key, count, flags) }.into()) as i32
}

/// The id of what is there.
pub(crate) fn semget_old(key: i32) -> i32 {
    // SAFETY: only numbers are passed.
    checked("semget", unsafe { libc::semget(key, 0, 0) }.into()) as i32
}

pub(crate) fn set_value(id: i32, number: usize, value: i32) {
    // SAFETY: SETVAL takes a number.
    let done = unsafe { libc::semctl(id, number as i32, libc::SETVAL, value) };
    checked("semctl(SETVAL)", done.into());
}

pub(crate) fn operate(id: i32, number: u16, change: i16, flags: i16) {
    let mut operation = libc::sembuf {
        sem_num: number,
        sem_op: change,
        sem_flg: flags,
    };
    // SAFETY: the kernel reads one operation, which lives until the call returns.
    let done = unsafe { libc::semop(id, &raw mut operation, 1) };
    checked("semop", done.into());
}

pub(crate) fn values(id: i32, count: usize) -> Vec<u16> {
    let mut values = vec![0_u16; count];
    // SAFETY: the set has `count` semaphores, for each of which the kernel writes a value.
    let done = unsafe { libc::semctl(id, 0, libc::GETALL, values.as_mut_ptr()) };
    checked("semctl(GETALL)", done.into());
    values
}

pub(crate) fn last(id: i32, number: i32) -> u32 {
    // SAFETY: only numbers are passed.
    let done = unsafe { libc::semctl(id, number, libc::GETPID) };
    checked("semctl(GETPID)", done.into()) as u32
}

pub(crate) fn is_used(id: i32) -> bool {
    raw(Kind::Semaphores, id)[6] != 0
}

pub(crate) fn msgget(key: i32, mode: i32) -> i32 {
    let flags = libc::IPC_CREAT | libc::IPC_EXCL | mode;
    // SAFETY: only numbers are passed.
    checked("msgget", unsafe { libc::msgget(key, flags) }.into()) as i32
}

pub(crate) fn send(id: i32, kind: i64, text: &[u8]) {
    let message = [&kind.to_ne_bytes()[..], text].concat();
    // SAFETY: the kernel reads a word and the text, which live until the call returns.
    let done = unsafe { libc::msgsnd(id, message.as_ptr().cast(), text.len(), 0) };
    checked("msgsnd", done.into());
}

pub(crate) fn receive(id: i32, kind: i64) -> (i64, Vec<u8>) {
    let mut room = vec![0_u8; 8 + 8192];
    // SAFETY: the kernel writes a word and at most 8192 bytes, for which there is room.
    let done = unsafe { libc::msgrcv(id, room.as_mut_ptr().cast(), 8192, kind, 0) };
    let length = checked("msgrcv", done as i64) as usize;
    let kind = i64::from_ne_bytes(*room.first_chunk().expect("a word"));
    (kind, room[8..8 + length].to_vec())
}

pub(crate) fn shmget(key: i32, size: usize, mode: i32) -> i32 {
    let flags = libc::IPC_CREAT | libc::IPC_EXCL | mode;
    // SAFETY: only numbers are passed.
    checked("shmget", unsafe { libc::shmget(key, size, flags) }.into()) as i32
}

pub(crate) fn shmat(id: i32, read_only: bool) -> usize {
    let flags = if read_only { libc::SHM_RDONLY } else { 0 };
    // SAFETY: the kernel chooses a place where nothing is.
    let at = unsafe { libc::shmat(id, std::ptr::null(), flags) };
    checked("shmat", at as i64) as usize
}

pub(crate) fn shmdt(at: usize) {
    // SAFETY: the mapping is one of `shmat`, to which there is no reference.
    checked(
        "shmdt",
        unsafe { libc::shmdt(at as *const libc::c_void) }.into(),
    );
}

pub(crate) fn lock(id: i32) {
    /// `SHM_LOCK`.
    const LOCK: i32 = 11;
    // SAFETY: no memory is passed.
    let done = unsafe { libc::shmctl(id, LOCK, std::ptr::null_mut()) };
    checked("shmctl(SHM_LOCK)", done.into());
}

pub(crate) fn remove(kind: Kind, id: i32) {
    // SAFETY: IPC_RMID takes no memory.
    let done = unsafe {
        match kind {
            Kind::Semaphores => libc::semctl(id, 0, libc::IPC_RMID),
            Kind::Queues => libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()),
            Kind::Segments => libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()),
        }
    };
    checked("IPC_RMID", done.into());
}

/// Does something with other effective ids.
pub(crate) fn as_user<T>(uid: u32, gid: u32, work: impl FnOnce() -> T) -> T {
    let same = u32::MAX;
    // SAFETY: only numbers are passed.
    let become_ids = |uid: u32, gid: u32| unsafe {
        libc::syscall(libc::SYS_setresgid, same, gid, same);
        libc::syscall(libc::SYS_setresuid, same, uid, same)
    };
    checked("setresuid", become_ids(uid, gid));
    let done = work();
    checked("setresuid", become_ids(0, same));
    checked("setresgid", become_ids(0, 0));
    done
}

/// What an object is, but for times and whoever used it last.
pub(crate) fn status(kind: Kind, id: i32) -> Vec<u64> {
    let words = raw(kind, id);
    // Key, owners, mode; then the number of semaphores, the bytes allowed, or size and number of mappings.
    let mut kept = words[..3].to_vec();
    kept.extend(match kind {
        Kind::Semaphores => vec![words[10]],
        Kind::Queues => vec![words[9], words[10], words[11]],
        Kind::Segments => vec![words[6], words[11]],
    });
    kept
}

/// `IPC_STAT`.
fn raw(kind: Kind, id: i32) -> [u64; 16] {
    let mut words = [0_u64; 16];
    let room = words.as_mut_ptr();
    // SAFETY: the kernel writes a structure of at most 120 bytes, for which there is room.
    let done = unsafe {
        match kind {
            Kind::Semaphores => libc::semctl(id, 0, libc::IPC_STAT, room),
            Kind::Queues => libc::msgctl(id, libc::IPC_STAT, room.cast()),
            Kind::Segments => libc::shmctl(id, libc::IPC_STAT, room.cast()),
        }
    };
    checked("IPC_STAT", done.into());
    words
}

//! The calls of sysvipc(7) that only look.
//!
//! Kind: effect. All are on the ipc namespace that the caller is in.
#![allow(unsafe_code)]

use crux_mount::sys::SysError;
use rustix::io::Errno;

/// Objects of one kind are counted by the index at which `*_STAT_ANY` finds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Semaphores,
    Queues,
    Segments,
}

/// `SEM_INFO` and the like, `SEM_STAT_ANY` and the like (linux/sem.h, msg.h, shm.h).
const SEM: [i32; 2] = [19, 20];
const MSG: [i32; 2] = [12, 13];
const SHM: [i32; 2] = [14, 15];
const GETPID: i32 = 11;
const GETALL: i32 = 13;
/// msgrcv(2): a copy of the message at an index.
const MSG_COPY: i32 = 0o40_000;

/// The kernel's `struct semid64_ds`, `msqid64_ds` or `shmid64_ds`, as words; none is larger.
pub(super) type Status = [u64; 16];

/// The highest index in use; the status that a call on it gives may be of an object, or of none.
pub(super) fn highest(kind: Kind) -> Result<i32, SysError> {
    let mut info: Status = [0; 16];
    let result = control(kind, 0, 0, &mut info);
    checked(result, || format!("{kind:?}: *_INFO"))
}

/// The id and the status of the object at an index; none where there is no object.
pub(super) fn status(kind: Kind, index: i32) -> Result<Option<(i32, Status)>, SysError> {
    let mut found: Status = [0; 16];
    let result = control(kind, 1, index, &mut found);
    match checked(result, || format!("{kind:?}: *_STAT_ANY({index})")) {
        Ok(id) => Ok(Some((id, found))),
        Err(error) if error.errno() == Errno::INVAL => Ok(None),
        Err(error) => Err(error),
    }
}

fn control(kind: Kind, which: usize, index: i32, room: &mut Status) -> libc::c_long {
    let room = room.as_mut_ptr();
    // SAFETY: the kernel writes one structure of `*_INFO` (40 bytes at most) or `*_STAT_ANY` (120) to `room`, which
    // has 128 and is borrowed for the call.
    unsafe {
        match kind {
            Kind::Semaphores => libc::syscall(libc::SYS_semctl, index, 0, SEM[which], room),
            Kind::Queues => libc::syscall(libc::SYS_msgctl, index, MSG[which], room),
            Kind::Segments => libc::syscall(libc::SYS_shmctl, index, SHM[which], room),
        }
    }
}

/// All values of a set of so many semaphores.
pub(super) fn values(id: i32, count: usize) -> Result<Vec<u16>, SysError> {
    let mut values = vec![0u16; count];
    // SAFETY: the kernel writes a number for each semaphore of the set. There are `count`: no set changes its size, and
    // its id is not given again while the tasks stand still; the set was looked at in this state.
    let result = unsafe { libc::syscall(libc::SYS_semctl, id, 0, GETALL, values.as_mut_ptr()) };
    checked(result, || format!("semctl({id}, GETALL)"))?;
    Ok(values)
}

/// The process that has changed a semaphore last.
pub(super) fn last_process(id: i32, number: usize) -> Result<u32, SysError> {
    // SAFETY: only numbers are passed.
    let result = unsafe { libc::syscall(libc::SYS_semctl, id, number, GETPID, 0) };
    checked(result, || format!("semctl({id}, {number}, GETPID)")).map(|pid| pid as u32)
}

/// A copy of a message: its type and text; none behind the last.
pub(super) fn copy_message(
    id: i32,
    index: usize,
    most: usize,
) -> Result<Option<(i64, Vec<u8>)>, SysError> {
    // A word for the type, then the text.
    let mut room = vec![0u8; 8 + most];
    let flags = libc::IPC_NOWAIT | MSG_COPY;
    // SAFETY: the kernel writes a word and at most `most` bytes to `room`, which has room for both.
    let result =
        unsafe { libc::syscall(libc::SYS_msgrcv, id, room.as_mut_ptr(), most, index, flags) };
    let length = match checked(result, || format!("msgrcv({id}, {index}, MSG_COPY)")) {
        Ok(length) => length as usize,
        Err(error) if error.errno() == Errno::NOMSG => return Ok(None),
        Err(error) => return Err(error),
    };
    room.truncate(8 + length);
    let text = room.split_off(8);
    let kind = room.first_chunk().map_or(0, |it| i64::from_ne_bytes(*it));
    Ok(Some((kind, text)))
}

/// Maps a segment for reading; where.
pub(super) fn attach(id: i32) -> Result<usize, SysError> {
    // SAFETY: the kernel chooses a place where nothing is, and nobody reads or writes there.
    let result = unsafe { libc::syscall(libc::SYS_shmat, id, 0, libc::SHM_RDONLY) };
    usize::try_from(result).map_err(|_| last(format!("shmat({id}, SHM_RDONLY)")))
}

/// Takes a mapping of [`attach`] away again.
pub(super) fn detach(address: usize) -> Result<(), SysError> {
    // SAFETY: the mapping is one that `attach` made; there is no reference into it.
    let result = unsafe { libc::syscall(libc::SYS_shmdt, address) };
    checked(result, || format!("shmdt({address:#x})")).map(drop)
}

fn checked(result: libc::c_long, call: impl FnOnce() -> String) -> Result<i32, SysError> {
    i32::try_from(result)
        .ok()
        .filter(|it| *it >= 0)
        .ok_or_else(|| last(call()))
}

fn last(call: String) -> SysError {
    let errno = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO);
    SysError::new(call, errno)
}

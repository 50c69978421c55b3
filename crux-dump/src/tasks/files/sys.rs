//! The system calls on open files that need unsafe code.
//!
//! Kind: effect.
#![allow(unsafe_code)]

use crux_mount::sys::SysError;
use rustix::io::Errno;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// `struct file_handle` of fcntl.h, with room for the largest handle (`MAX_HANDLE_SZ`).
#[repr(C)]
struct FileHandle {
    bytes: u32,
    kind: i32,
    handle: [u8; 128],
}

/// Opens the file of a handle in the file system of `mount`, as a place (open_by_handle_at(2), `O_PATH`).
pub(crate) fn open_handle(
    mount: BorrowedFd<'_>,
    kind: i32,
    handle: &[u8],
) -> Result<OwnedFd, SysError> {
    let mut wanted = FileHandle {
        bytes: handle.len() as u32,
        kind,
        handle: [0; 128],
    };
    let Some(room) = wanted.handle.get_mut(..handle.len()) else {
        return Err(SysError::new("open_by_handle_at", Errno::INVAL));
    };
    room.copy_from_slice(handle);
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    // SAFETY: the kernel reads as many bytes of `wanted` as it says, which are there; it lives until the call returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            mount.as_raw_fd(),
            &raw const wanted,
            flags,
        )
    };
    if result < 0 {
        let errno = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO);
        return Err(SysError::new("open_by_handle_at", errno));
    }
    // SAFETY: the kernel made this descriptor for us, and nobody else has its number.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}

/// `struct kcmp_epoll_slot` of linux/kcmp.h.
#[repr(C)]
struct EpollSlot {
    epoll: u32,
    target: u32,
    offset: u32,
}

/// Whether descriptor `number` of process `pid` is the file that an epoll of process `holder` has in a slot: the epoll's
/// descriptor, the number of the target, and which of those that were registered with that number (kcmp(2),
/// `KCMP_EPOLL_TFD`).
pub(crate) fn kcmp_epoll(
    pid: u32,
    number: u32,
    holder: u32,
    (epoll, target, offset): (u32, u32, u32),
) -> Result<bool, SysError> {
    const KCMP_EPOLL_TFD: libc::c_int = 7;
    let slot = EpollSlot {
        epoll,
        target,
        offset,
    };
    let (one, two) = (pid as libc::pid_t, holder as libc::pid_t);
    let descriptor = libc::c_ulong::from(number);
    // SAFETY: the kernel reads `slot`, which lives until the call returns; nothing is written.
    let result = unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            one,
            two,
            KCMP_EPOLL_TFD,
            descriptor,
            &raw const slot,
        )
    };
    match result {
        0..=3 => Ok(result == 0),
        _ => {
            let errno = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO);
            let call = format!("kcmp({pid}, {holder}, KCMP_EPOLL_TFD, {number}, {epoll}:{target})");
            Err(SysError::new(call, errno))
        }
    }
}

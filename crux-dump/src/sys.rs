//! The system calls of this crate that need unsafe code.
//!
//! Kind: effect.
#![allow(unsafe_code)]

pub(crate) mod terminal;

use crux_mount::sys::SysError;
use rustix::io::Errno;
use std::cmp::Ordering;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `NS_GET_USERNS` of ioctl_nsfs(2): `_IO(0xb7, 1)`.
const NS_GET_USERNS: libc::Ioctl = 0xb701;

/// The user namespace that owns a namespace.
pub(crate) fn owning_user_namespace(namespace: &OwnedFd) -> Result<OwnedFd, SysError> {
    let fd = namespace.as_raw_fd();
    // SAFETY: this request takes no argument; the kernel reads and writes no memory of ours. The
    // descriptor is borrowed for the call.
    let result = unsafe { libc::ioctl(fd, NS_GET_USERNS) };
    if result < 0 {
        let errno = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO);
        return Err(SysError::new(format!("ioctl({fd}, NS_GET_USERNS)"), errno));
    }
    // SAFETY: the kernel made this descriptor for us, close-on-exec, and nobody else has its number.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

/// How what process `pid` has compares with what `other` has, in an order of the kernel's own (kcmp(2)). For
/// `KCMP_FILE` (0) the last two arguments are descriptors.
pub(crate) fn kcmp(
    pid: u32,
    other: u32,
    kind: i32,
    descriptor: u64,
    theirs: u64,
) -> Result<Ordering, SysError> {
    let (one, two) = (pid as libc::pid_t, other as libc::pid_t);
    // SAFETY: only numbers are passed; the kernel reads and writes no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_kcmp, one, two, kind, descriptor, theirs) };
    match result {
        0 => Ok(Ordering::Equal),
        1 => Ok(Ordering::Less),
        2 => Ok(Ordering::Greater),
        _ => {
            let errno = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO);
            let call = format!("kcmp({pid}, {other}, {kind}, {descriptor}, {theirs})");
            Err(SysError::new(call, errno))
        }
    }
}

/// How many bytes wait in a pipe (`FIONREAD`).
pub(crate) fn pipe_bytes(pipe: BorrowedFd<'_>) -> Result<usize, SysError> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int to `bytes`, which lives until the call returns.
    let result = unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    match (result, usize::try_from(bytes)) {
        (0, Ok(bytes)) => Ok(bytes),
        _ => {
            let errno = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO);
            Err(SysError::new("ioctl(FIONREAD)", errno))
        }
    }
}

/// What a request tells that writes `N` bytes (ioctl(2)): an int, or a struct of that size.
fn read_ioctl<const N: usize>(
    file: BorrowedFd<'_>,
    request: libc::Ioctl,
    name: &str,
) -> Result<[u8; N], SysError> {
    let mut bytes = [0; N];
    // SAFETY: whoever calls this knows that the request writes no more than `N` bytes; the array lives until the call
    // returns, and any bytes are a value of it.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request, bytes.as_mut_ptr()) };
    checked(result.into(), || format!("ioctl({name})"))?;
    Ok(bytes)
}

/// `struct sched_attr` of linux/sched/types.h, its first version.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SchedAttr {
    size: u32,
    pub(crate) policy: u32,
    pub(crate) flags: u64,
    pub(crate) nice: i32,
    pub(crate) priority: u32,
    pub(crate) runtime: u64,
    pub(crate) deadline: u64,
    pub(crate) period: u64,
}

/// How a thread is scheduled (sched_getattr(2)).
pub(crate) fn scheduling(tid: u32) -> Result<SchedAttr, SysError> {
    let mut found = SchedAttr::default();
    let size = size_of::<SchedAttr>();
    // SAFETY: the kernel writes at most `size` bytes to `found`, which lives until the call returns.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, tid, &raw mut found, size, 0) };
    checked(result, || format!("sched_getattr({tid})"))?;
    Ok(found)
}

/// The processors that a thread may run on (sched_getaffinity(2)), one bit each.
pub(crate) fn affinity(tid: u32) -> Result<Vec<u8>, SysError> {
    // CONFIG_NR_CPUS is at most 8192.
    let mut bytes = vec![0u8; 1024];
    // SAFETY: the kernel writes at most the given number of bytes to `bytes`, which is ours.
    let result = unsafe {
        libc::syscall(
            libc::SYS_sched_getaffinity,
            tid,
            bytes.len(),
            bytes.as_mut_ptr(),
        )
    };
    let count = checked(result, || format!("sched_getaffinity({tid})"))?;
    bytes.truncate(count);
    let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    bytes.truncate(used);
    Ok(bytes)
}

/// ioprio_get(2) of a thread.
pub(crate) fn io_priority(tid: u32) -> Result<u16, SysError> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: only numbers are passed; the kernel reads and writes no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, tid) };
    checked(result, || format!("ioprio_get({tid})")).map(|found| found as u16)
}

/// The head and length of a thread's list of robust futexes (get_robust_list(2)).
pub(crate) fn robust_list(tid: u32) -> Result<(u64, u64), SysError> {
    let (mut head, mut length) = (0u64, 0u64);
    // SAFETY: the kernel writes a pointer and a size, of 8 bytes each, to two locals that live
    // until the call returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_get_robust_list,
            tid,
            &raw mut head,
            &raw mut length,
        )
    };
    checked(result, || format!("get_robust_list({tid})"))?;
    Ok((head, if head == 0 { 0 } else { length }))
}

/// Nanoseconds of a clock (clock_gettime(2), by libc: rustix would look for the vDSO first).
pub(crate) fn clock(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel, or the vDSO, writes one timespec to a local that lives until the call returns.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    (time.tv_sec as u64)
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec as u64)
}

/// The namespace that a pid or user namespace is in (ioctl_nsfs(2)). `EPERM` if that is outside of the caller's.
pub(crate) fn parent_namespace(namespace: &OwnedFd) -> Result<OwnedFd, SysError> {
    let fd = namespace.as_raw_fd();
    // SAFETY: this request takes no argument; the kernel reads and writes no memory of ours.
    let result = unsafe { libc::ioctl(fd, NS_GET_PARENT) };
    checked(result.into(), || format!("ioctl({fd}, NS_GET_PARENT)"))?;
    // SAFETY: the kernel made this descriptor for us, close-on-exec, and nobody else has its number.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

/// `NS_GET_PARENT` of ioctl_nsfs(2): `_IO(0xb7, 2)`.
const NS_GET_PARENT: libc::Ioctl = 0xb702;

pub(crate) fn checked(
    result: libc::c_long,
    call: impl FnOnce() -> String,
) -> Result<usize, SysError> {
    usize::try_from(result).map_err(|_| {
        let errno = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO);
        SysError::new(call(), errno)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_layout() {
        // SCHED_ATTR_SIZE_VER0.
        assert_eq!(size_of::<SchedAttr>(), 48);
    }
}

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

/// The value of an option of a socket, of up to `length` bytes; none where it does not have it (getsockopt(2)).
pub(crate) fn socket_option(
    socket: BorrowedFd<'_>,
    (level, name): (u16, u16),
    length: usize,
) -> Result<Option<Vec<u8>>, SysError> {
    let mut value = vec![0_u8; length];
    let mut found = length as libc::socklen_t;
    let (fd, at) = (socket.as_raw_fd(), value.as_mut_ptr().cast());
    // SAFETY: the kernel writes at most `found` bytes to `value`, which is that long, and then how many
    // there are to `found`; both live until the call returns.
    let result = unsafe { libc::getsockopt(fd, level.into(), name.into(), at, &raw mut found) };
    let call = || format!("getsockopt({level}, {name})");
    match checked(result.into(), call) {
        Ok(_) => {
            value.truncate(found as usize);
            Ok(Some(value))
        }
        Err(error) => match error.errno() {
            Errno::NOPROTOOPT | Errno::OPNOTSUPP | Errno::INVAL => Ok(None),
            _ => Err(error),
        },
    }
}

/// The address that a socket is connected to, with the family in front (getpeername(2)); none where it is not.
pub(crate) fn peer_address(socket: BorrowedFd<'_>) -> Result<Vec<u8>, SysError> {
    let mut address = vec![0_u8; size_of::<libc::sockaddr_storage>()];
    let mut length = address.len() as libc::socklen_t;
    let (fd, at) = (socket.as_raw_fd(), address.as_mut_ptr().cast());
    // SAFETY: as for socket_address.
    let result = unsafe { libc::getpeername(fd, at, &raw mut length) };
    match checked(result.into(), || "getpeername".to_owned()) {
        Err(error) if error.errno() == Errno::NOTCONN => return Ok(Vec::new()),
        other => other?,
    };
    address.truncate(length as usize);
    Ok(address)
}

/// The instructions of a socket's filter (`SO_GET_FILTER`). `EACCES` where they are none of classic BPF.
pub(crate) fn socket_filter(socket: BorrowedFd<'_>) -> Result<Vec<u8>, SysError> {
    const SO_GET_FILTER: libc::c_int = 26;
    const MOST: usize = 4096;
    let mut filter = vec![0_u64; MOST];
    let mut count = MOST as libc::socklen_t;
    let (fd, at) = (socket.as_raw_fd(), filter.as_mut_ptr().cast());
    let level = libc::SOL_SOCKET;
    // SAFETY: the kernel writes at most `count` instructions of eight bytes to `filter`, which has room for them,
    // and then how many there are to `count`; both live until the call returns.
    let result = unsafe { libc::getsockopt(fd, level, SO_GET_FILTER, at, &raw mut count) };
    checked(result.into(), || "getsockopt(SO_GET_FILTER)".to_owned())?;
    filter.truncate(count as usize);
    Ok(filter.into_iter().flat_map(u64::to_le_bytes).collect())
}

/// The address of a socket, with the family in front (getsockname(2)).
pub(crate) fn socket_address(socket: BorrowedFd<'_>) -> Result<Vec<u8>, SysError> {
    let mut address = vec![0_u8; size_of::<libc::sockaddr_storage>()];
    let mut length = address.len() as libc::socklen_t;
    let (fd, at) = (socket.as_raw_fd(), address.as_mut_ptr().cast());
    // SAFETY: the kernel writes at most `length` bytes to `address`, which is that long, and the length
    // of the address to `length`; both live until the call returns.
    let result = unsafe { libc::getsockname(fd, at, &raw mut length) };
    checked(result.into(), || "getsockname".to_owned())?;
    address.truncate(length as usize);
    Ok(address)
}

/// The network namespace that a socket was made in (`SIOCGSKNS`).
pub(crate) fn socket_namespace(socket: BorrowedFd<'_>) -> Result<OwnedFd, SysError> {
    const SIOCGSKNS: libc::Ioctl = 0x894c;
    descriptor_of(socket, SIOCGSKNS, "ioctl(SIOCGSKNS)")
}

/// The file that a unix socket is bound to, by path only (`SIOCUNIXFILE`); `ENOENT` where there is none.
pub(crate) fn unix_file(socket: BorrowedFd<'_>) -> Result<OwnedFd, SysError> {
    const SIOCUNIXFILE: libc::Ioctl = 0x89e0;
    descriptor_of(socket, SIOCUNIXFILE, "ioctl(SIOCUNIXFILE)")
}

fn descriptor_of(
    socket: BorrowedFd<'_>,
    request: libc::Ioctl,
    call: &str,
) -> Result<OwnedFd, SysError> {
    // SAFETY: both requests take no argument; the kernel reads and writes no memory of ours.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), request, 0) };
    checked(result.into(), || call.to_owned())?;
    // SAFETY: the kernel made this descriptor for us, close-on-exec, and nobody else has its number.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

/// How many bytes a socket has sent that were not received yet, with what the kernel adds (`SIOCOUTQ`).
pub(crate) fn unreceived(socket: BorrowedFd<'_>) -> Result<usize, SysError> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int to `bytes`, which lives until the call returns.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    checked(result.into(), || "ioctl(SIOCOUTQ)".to_owned())?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// A message that was looked at.
#[derive(Debug, Default)]
pub(crate) struct Peeked {
    /// How many bytes of it are in the buffer.
    pub(crate) length: usize,
    /// Whether there is more of it, or of what comes with it.
    pub(crate) truncated: bool,
    /// The address of its sender, with the family in front.
    pub(crate) sender: Vec<u8>,
    /// Descriptors that it brings: copies.
    pub(crate) files: Vec<OwnedFd>,
    /// pid, uid and gid of its sender, as this process's namespaces have them.
    pub(crate) credentials: Option<[u32; 3]>,
}

/// Looks at the next message of a socket (recvmsg(2), `MSG_PEEK`). `EAGAIN` where there is none.
pub(crate) fn peek(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Peeked, SysError> {
    let mut sender = vec![0_u8; size_of::<libc::sockaddr_storage>()];
    let mut control = vec![0_u64; 512];
    let mut data = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all zeros is a message header without anything.
    let mut head: libc::msghdr = unsafe { std::mem::zeroed() };
    head.msg_name = sender.as_mut_ptr().cast();
    head.msg_namelen = sender.len() as libc::socklen_t;
    head.msg_iov = &raw mut data;
    head.msg_iovlen = 1;
    head.msg_control = control.as_mut_ptr().cast();
    head.msg_controllen = size_of_val(control.as_slice());
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the header leads to buffers of the lengths that it says, to which the kernel writes; all
    // live until the call returns.
    let result = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut head, flags) };
    let length = checked(result as libc::c_long, || "recvmsg(MSG_PEEK)".to_owned())?;
    sender.truncate(head.msg_namelen as usize);
    let mut peeked = Peeked {
        length,
        truncated: head.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0,
        sender,
        ..Peeked::default()
    };
    // SAFETY: the header is as the kernel left it, and leads to `control`, which has been written.
    unsafe { what_comes_along(&head, &mut peeked) };
    Ok(peeked)
}

/// Takes descriptors and credentials out of the control part of a message.
///
/// # Safety
///
/// The header is as recvmsg(2) left it, and its control part is still there.
unsafe fn what_comes_along(head: &libc::msghdr, peeked: &mut Peeked) {
    const SCM_PIDFD: libc::c_int = 4;
    // SAFETY: the caller's promise; these only compute and read within the control part.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(head) };
    while !at.is_null() {
        // SAFETY: `at` is a header within the control part, aligned as the kernel put it.
        let (kind, level, bytes, data) = unsafe {
            let header = *at;
            let bytes = header.cmsg_len as usize - libc::CMSG_LEN(0) as usize;
            let data = libc::CMSG_DATA(at);
            (header.cmsg_type, header.cmsg_level, bytes, data)
        };
        let words = if level == libc::SOL_SOCKET {
            bytes / 4
        } else {
            0
        };
        // SAFETY: `words` words of data follow the header; they need not be aligned.
        let word = |nth: usize| unsafe { data.cast::<u32>().add(nth).read_unaligned() };
        match kind {
            libc::SCM_RIGHTS => peeked.files.extend((0..words).map(|nth| {
                // SAFETY: the kernel has made this descriptor for us, and nobody else has its number.
                unsafe { OwnedFd::from_raw_fd(word(nth) as i32) }
            })),
            // Nobody asked for it: it goes.
            SCM_PIDFD if words > 0 => {
                // SAFETY: as above.
                drop(unsafe { OwnedFd::from_raw_fd(word(0) as i32) });
            }
            libc::SCM_CREDENTIALS if words >= 3 => {
                peeked.credentials = Some([word(0), word(1), word(2)]);
            }
            _ => {}
        }
        // SAFETY: as for the first.
        at = unsafe { libc::CMSG_NXTHDR(head, at) };
    }
}

/// Where the next look begins (`SO_PEEK_OFF`); -1: at the first message, always.
pub(crate) fn set_peek_offset(socket: BorrowedFd<'_>, offset: i32) -> Result<(), SysError> {
    let (fd, value) = (socket.as_raw_fd(), &raw const offset);
    let (level, name) = (libc::SOL_SOCKET, libc::SO_PEEK_OFF);
    let length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the kernel reads one int, which lives until the call returns.
    let result = unsafe { libc::setsockopt(fd, level, name, value.cast(), length) };
    checked(result.into(), || {
        format!("setsockopt(SO_PEEK_OFF, {offset})")
    })
    .map(drop)
}

/// Whether a stream has a byte that is urgent (`MSG_OOB`).
pub(crate) fn has_urgent(socket: BorrowedFd<'_>) -> bool {
    let mut byte = 0_u8;
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT | libc::MSG_OOB;
    // SAFETY: the kernel writes at most one byte, to a local that lives until the call returns.
    let result = unsafe {
        let (fd, at) = (socket.as_raw_fd(), &raw mut byte);
        libc::recvfrom(
            fd,
            at.cast(),
            1,
            flags,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    result > 0
}

/// `NS_GET_PARENT` of ioctl_nsfs(2): `_IO(0xb7, 2)`.
const NS_GET_PARENT: libc::Ioctl = 0xb702;

fn checked(result: libc::c_long, call: impl FnOnce() -> String) -> Result<usize, SysError> {
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

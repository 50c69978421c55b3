//! The system calls on open files that need unsafe code.
//!
//! Kind: effect.
#![allow(unsafe_code)]

use crate::sys::checked;
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
pub(super) fn open_handle(
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
pub(super) fn kcmp_epoll(
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

/// What a socket hears in a multicast group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupFilter {
    /// Only these sources, or all but these.
    pub(crate) only: bool,
    pub(crate) sources: Vec<Vec<u8>>,
    /// How many there are; more than [`GroupFilter::MOST`] are not told.
    pub(crate) count: usize,
}

impl GroupFilter {
    /// How many sources are looked at.
    pub(crate) const MOST: usize = 64;
}

/// What a socket hears in a group on a device, `MCAST_MSFILTER` of ip(7) and ipv6(7); none where it is not in that.
pub(crate) fn group_filter(
    socket: BorrowedFd<'_>,
    device: u32,
    group: &[u8],
) -> Result<Option<GroupFilter>, SysError> {
    const MCAST_MSFILTER: libc::c_int = 48;
    const MCAST_INCLUDE: u32 = 1;
    // `struct group_filter`: the device; the group, a `struct sockaddr_storage`; the mode; how many sources; those, likewise.
    const GROUP: usize = 8;
    const MODE: usize = 136;
    const COUNT: usize = 140;
    const SOURCES: usize = 144;
    const SOURCE: usize = size_of::<libc::sockaddr_storage>();
    let (level, family, at) = match group.len() {
        16 => (libc::IPPROTO_IPV6, libc::AF_INET6, 8),
        _ => (libc::IPPROTO_IP, libc::AF_INET, 4),
    };
    let mut value = vec![0_u8; SOURCES + GroupFilter::MOST * SOURCE];
    value[..4].copy_from_slice(&device.to_ne_bytes());
    value[GROUP..GROUP + 2].copy_from_slice(&(family as u16).to_ne_bytes());
    value[GROUP + at..GROUP + at + group.len()].copy_from_slice(group);
    value[COUNT..SOURCES].copy_from_slice(&(GroupFilter::MOST as u32).to_ne_bytes());
    let mut length = value.len() as libc::socklen_t;
    let (fd, to) = (socket.as_raw_fd(), value.as_mut_ptr().cast());
    // SAFETY: the kernel reads the head of `value`, and writes at most `length` bytes to it, which is that long; both
    // live until the call returns.
    let result = unsafe { libc::getsockopt(fd, level, MCAST_MSFILTER, to, &raw mut length) };
    let call = || "getsockopt(MCAST_MSFILTER)".to_owned();
    match checked(result.into(), call) {
        Err(error) if error.errno() == Errno::ADDRNOTAVAIL => return Ok(None),
        other => other?,
    };
    let word = |at: usize| {
        let word = value[at..].first_chunk();
        word.map_or(0, |it| u32::from_ne_bytes(*it))
    };
    let count = word(COUNT) as usize;
    let source = |nth: usize| {
        let from = SOURCES + nth * SOURCE + at;
        value[from..from + group.len()].to_vec()
    };
    Ok(Some(GroupFilter {
        only: word(MODE) == MCAST_INCLUDE,
        sources: (0..count.min(GroupFilter::MOST)).map(source).collect(),
        count,
    }))
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

/// Who is told of a file's changes: what the number is (`F_OWNER_*`), and the number (`F_GETOWN_EX`). 0: nobody.
pub(super) fn owner(file: BorrowedFd<'_>) -> Result<(i32, u32), SysError> {
    const F_GETOWN_EX: libc::c_int = 16;
    let mut owner = [0_i32; 2];
    // SAFETY: the kernel writes a struct of two ints, which live until the call returns.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), F_GETOWN_EX, owner.as_mut_ptr()) };
    match (result, u32::try_from(owner[1])) {
        (0, Ok(pid)) => Ok((owner[0], pid)),
        _ => Err(SysError::new("fcntl(F_GETOWN_EX)", last())),
    }
}

/// With which signal; 0: SIGIO (`F_GETSIG`).
pub(super) fn signal(file: BorrowedFd<'_>) -> Result<u8, SysError> {
    const F_GETSIG: libc::c_int = 11;
    // SAFETY: no memory is passed.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), F_GETSIG) };
    u8::try_from(result).map_err(|_| SysError::new("fcntl(F_GETSIG)", last()))
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

//! POSIX message queues (mq_overview(7)), by the system calls beneath the library's.
//!
//! Kind: effect.

use super::error::{SysError, call};
use rustix::io::Errno;
use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// What a queue is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueAttributes {
    /// How many messages it has room for.
    pub messages: u32,
    /// How long each may be.
    pub length: u32,
    /// How many messages wait in it.
    pub waiting: u32,
}

/// Asks an open queue (mq_getattr(3)); `EBADF` if it is none.
pub fn mq_attributes(queue: BorrowedFd<'_>) -> Result<QueueAttributes, SysError> {
    let found = super::mq_getsetattr(queue).map_err(call(|| {
        format!("mq_getsetattr({}, NULL)", queue.as_raw_fd())
    }))?;
    let number = |value: libc::c_long| u32::try_from(value).unwrap_or(u32::MAX);
    Ok(QueueAttributes {
        messages: number(found.mq_maxmsg),
        length: number(found.mq_msgsize),
        waiting: number(found.mq_curmsgs),
    })
}

/// Makes a queue in the ipc namespace that this thread is in (mq_open(3) `O_CREAT|O_EXCL`), with no
/// permissions for anybody. `name` has no slash. `EINVAL` also means that it is larger than the namespace's limits
/// (`fs.mqueue.msg_max`, `msgsize_max`), `EMFILE` that the user's `RLIMIT_MSGQUEUE` is used up.
pub fn mq_create(name: &[u8], messages: u32, length: u32) -> Result<OwnedFd, SysError> {
    let shown = crux_image::path::Escaped(name).to_string();
    let describe = || {
        format!(
            "mq_open(\"{shown}\", O_CREAT|O_EXCL, {{mq_maxmsg={messages}, mq_msgsize={length}}})"
        )
    };
    let name = CString::new(name).map_err(|_| SysError::new(describe(), Errno::INVAL))?;
    super::mq_open(&name, messages, length).map_err(call(describe))
}

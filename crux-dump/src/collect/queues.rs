//! POSIX message queues, through a mount of their file system.
//!
//! Kind: effect. A queue is opened as the file that it is, and asked; none of its messages is
//! touched. Only taking messages would show what they are (mq_receive(3)), and whoever takes them
//! and is ended before he has put them back has lost them: queues with messages are refused.

use crate::judge::SeenQueue;
use crux_image::mounts::{FileKind, Queue};
use crux_mount::mountinfo::Entry;
use crux_mount::sys::{self, SysError};
use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// The queues that a mount shows: all of an ipc namespace's, or one.
pub(super) fn read(
    entry: &Entry,
    kind: FileKind,
    root: BorrowedFd<'_>,
    process: BorrowedFd<'_>,
) -> Result<Vec<SeenQueue>, SysError> {
    if !kind.is_directory() {
        let file = open_again(process, root)?;
        let name = entry.root.path.strip_prefix(b"/").unwrap_or_default();
        return Ok(vec![queue(name, &file)?]);
    }
    let failed = |call: &str, errno| SysError::new(call, errno);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(root, c".", flags, Mode::empty())
        .map_err(|errno| failed("openat(mqueue, \".\", O_DIRECTORY)", errno))?;
    let names = Dir::read_from(&directory).map_err(|errno| failed("getdents64(mqueue)", errno))?;
    let mut queues = Vec::new();
    for name in names {
        let name = name.map_err(|errno| failed("getdents64(mqueue)", errno))?;
        let name = name.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match open(directory.as_fd(), name) {
            Ok(file) => queues.push(queue(name.to_bytes(), &file)?),
            // It was unlinked meanwhile.
            Err(error) if error.errno() == Errno::NOENT => {}
            Err(error) => return Err(error),
        }
    }
    Ok(queues)
}

const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

fn open(directory: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, SysError> {
    openat(directory, name, FLAGS, Mode::empty())
        .map_err(|errno| SysError::new(format!("openat(mqueue, {name:?}, O_RDONLY)"), errno))
}

/// Opens for reading what `O_PATH` only names; only /proc can do that.
fn open_again(process: BorrowedFd<'_>, file: BorrowedFd<'_>) -> Result<OwnedFd, SysError> {
    use std::os::fd::AsRawFd as _;
    let path = format!("fd/{}", file.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat(process, path.as_str(), flags, Mode::empty())
        .map_err(|errno| SysError::new(format!("openat(own, \"{path}\", O_RDONLY)"), errno))
}

fn queue(name: &[u8], file: &OwnedFd) -> Result<SeenQueue, SysError> {
    let stat = sys::statx(file)?;
    let attributes = sys::mq_attributes(file.as_fd())?;
    Ok(SeenQueue {
        queue: Queue {
            name: name.to_vec(),
            uid: stat.uid,
            gid: stat.gid,
            mode: (stat.mode & 0o7777) as u16,
            messages: attributes.messages,
            length: attributes.length,
        },
        waiting: attributes.waiting,
    })
}

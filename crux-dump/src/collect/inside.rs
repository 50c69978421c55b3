//! Work in a container's mount namespace.
//!
//! Kind: effect. The process goes there, and back when the work is done. It has one thread, so
//! nobody else's root or working directory changes with its own. In between nothing is found
//! by a path of the host: what is needed of that was opened before.

use super::DumpError;
use super::capabilities;
use super::process::Process;
use crux_image::path::RelPath;
use crux_mount::sys::{self, NamespaceKind, SysError};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Where this process is at home.
#[derive(Debug)]
pub(super) struct Home(Process);

impl Home {
    /// `own` is this process.
    pub(super) fn new(own: Process) -> Self {
        Self(own)
    }

    /// Does `work`, which goes where it wants, and comes back. There is no way on from a process
    /// that cannot come back: what it would read then might be the container's.
    pub(super) fn leave_for<T>(&self, work: impl FnOnce() -> T) -> Result<T, DumpError> {
        capabilities::check_entering()?;
        let result = work();
        enter(&self.0).map_err(|error| DumpError::Process {
            pid: self.0.pid,
            error,
        })?;
        Ok(result)
    }
}

/// Goes to the root directory of a process, in its mount namespace.
pub(super) fn enter(process: &Process) -> Result<(), SysError> {
    sys::setns(&process.mount_namespace, NamespaceKind::Mount)?;
    sys::fchdir(&process.root)?;
    sys::chroot_dot()
}

/// What is on top at `path` beneath `root`, as a place. Mounts are crossed, links are not followed.
pub(super) fn open_across(root: BorrowedFd<'_>, path: &RelPath) -> Result<OwnedFd, SysError> {
    /// Well below `PATH_MAX`.
    const CHUNK: usize = 2000;
    let mut here: Option<OwnedFd> = None;
    let bytes = path.as_bytes();
    let mut from = 0;
    loop {
        let rest = &bytes[from..];
        let end = match rest.len() > CHUNK {
            true => rest[..CHUNK]
                .iter()
                .rposition(|&b| b == b'/')
                .unwrap_or(rest.len()),
            false => rest.len(),
        };
        let last = end == rest.len();
        let flags = if last {
            OFlags::PATH
        } else {
            OFlags::PATH | OFlags::DIRECTORY
        };
        let at = here.as_ref().map_or(root, |fd| fd.as_fd());
        let fd = open_chunk(at, &rest[..end], flags)?;
        if last {
            return Ok(fd);
        }
        here = Some(fd);
        from += end + 1;
    }
}

/// What is on top of everything that is stacked on this thread's root directory. ".." does not
/// leave the root, but crosses what is mounted on it.
pub(super) fn open_above_root() -> Result<OwnedFd, SysError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = rustix::fs::openat(CWD, "/..", flags, Mode::empty());
    open.map_err(|errno| SysError::new("open(\"/..\", O_PATH|O_DIRECTORY)", errno))
}

fn open_chunk(at: BorrowedFd<'_>, chunk: &[u8], flags: OFlags) -> Result<OwnedFd, SysError> {
    let name = if chunk.is_empty() { b"." } else { chunk };
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    let opened = rustix::fs::openat2(at, name, flags, Mode::empty(), resolve);
    if let Err(Errno::NOSYS) = opened {
        return sys::walk_across(at, chunk, flags);
    }
    opened.map_err(|errno| {
        let shown = crux_image::path::Escaped(chunk);
        let call =
            format!("openat2(root, \"{shown}\", {flags:?}, RESOLVE_IN_ROOT|RESOLVE_NO_SYMLINKS)");
        SysError::new(call, errno)
    })
}

/// This thread's directory in /proc, opened while this process's own /proc is still in reach.
pub(super) fn own_directory() -> Result<OwnedFd, SysError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = rustix::fs::openat(CWD, "/proc/thread-self", flags, Mode::empty());
    open.map_err(|errno| SysError::new("open(\"/proc/thread-self\", O_PATH|O_DIRECTORY)", errno))
}

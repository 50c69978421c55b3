//! Copies of a container's mount namespace, to read in and to take apart.
//!
//! Kind: effect. KERNEL: in a copy that another user namespace owns than the original every mount is
//! locked to its place. So where the container's user namespace is the owner, a process goes into
//! it to make the copy, and waits there until the copy was taken from it.

use super::inside;
use super::process::{self, Process};
use crux_image::path::RelPath;
use crux_mount::sys::{self, NamespaceKind, SysError};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};

/// Puts this process into a copy of the mount namespace of another; the root directory there.
/// `own` is this process's directory in /proc. The copy is a peer of the original until it is made private.
pub(super) fn enter(process: &Process, own: &OwnedFd) -> Result<OwnedFd, SysError> {
    let owner = crate::sys::owning_user_namespace(&process.mount_namespace)?;
    let is_ours =
        process::identity(&owner)? == process::namespace(own.as_fd(), NamespaceKind::User)?;
    if is_ours {
        inside::enter(process)?;
        sys::unshare_mount_namespace()?;
    } else {
        let (namespace, root) = copy_in(&owner, process, own)?;
        sys::setns(&namespace, NamespaceKind::Mount)?;
        sys::fchdir(&root)?;
        sys::chroot_dot()?;
    }
    inside::open_across(CWD, &RelPath::root())
}

/// A copy made by a process in the user namespace `owner`, and its root directory.
fn copy_in(
    owner: &OwnedFd,
    process: &Process,
    own: &OwnedFd,
) -> Result<(OwnedFd, OwnedFd), SysError> {
    let (result, ready) = pipe()?;
    let (wait, done) = pipe()?;
    let Some(pid) = sys::fork()? else {
        drop((result, done));
        let copied = go_and_copy(owner, process);
        tell(ready, &copied);
        // It ends with the other end: when the copy was taken, or nobody is left to take it.
        let _ = File::from(wait).read(&mut [0]);
        sys::exit_now(0);
    };
    drop((ready, wait));
    let taken = heard(result).and_then(|()| take(pid, own));
    drop(done);
    let ended = waitpid(Some(pid), WaitOptions::empty());
    ended.map_err(|errno| SysError::new("waitpid()", errno))?;
    taken
}

fn go_and_copy(owner: &OwnedFd, process: &Process) -> Result<(), SysError> {
    sys::setns(owner, NamespaceKind::User)?;
    inside::enter(process)?;
    sys::unshare_mount_namespace()
}

fn tell(to: OwnedFd, copied: &Result<(), SysError>) {
    let answer = match copied {
        Ok(()) => 0i32.to_ne_bytes().to_vec(),
        Err(error) => {
            let errno = error.errno().raw_os_error().to_ne_bytes();
            [&errno[..], error.call().as_bytes()].concat()
        }
    };
    // If nobody listens there is nobody to tell.
    let _ = File::from(to).write_all(&answer);
}

fn heard(from: OwnedFd) -> Result<(), SysError> {
    let mut answer = Vec::new();
    let read = File::from(from).read_to_end(&mut answer);
    let words = answer.split_first_chunk();
    let (errno, call) = match (read, words) {
        (Ok(_), Some((errno, call))) => (i32::from_ne_bytes(*errno), call),
        _ => (Errno::SRCH.raw_os_error(), &b"copy the mount namespace"[..]),
    };
    match errno {
        0 => Ok(()),
        errno => {
            let call = String::from_utf8_lossy(call).into_owned();
            Err(SysError::new(call, Errno::from_raw_os_error(errno)))
        }
    }
}

/// The namespace and the root directory of a child.
fn take(pid: Pid, own: &OwnedFd) -> Result<(OwnedFd, OwnedFd), SysError> {
    // `own` is /proc/PID/task/TID, and /proc itself may be out of reach here.
    let path = format!("../../../{}", pid.as_raw_nonzero());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let child = rustix::fs::openat(own, path.as_str(), flags, Mode::empty())
        .map_err(|errno| SysError::new(format!("openat(own, \"{path}\", O_PATH)"), errno))?;
    let namespace = sys::open_process_namespace(child.as_fd(), NamespaceKind::Mount)?;
    Ok((namespace, sys::open_process_root(child.as_fd())?))
}

fn pipe() -> Result<(OwnedFd, OwnedFd), SysError> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|errno| SysError::new("pipe2(O_CLOEXEC)", errno))
}

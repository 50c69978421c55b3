//! Root, working directory and namespaces of the calling thread or process.
//!
//! Kind: effect. The root is only ever changed to ".", which is where fchdir(2)
//! put the caller: no path is resolved.

use super::error::{SysError, call};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::thread::LinkNameSpaceType;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A kind of namespace (namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespaceKind {
    /// `CLONE_NEWCGROUP`
    Cgroup,
    /// `CLONE_NEWIPC`
    Ipc,
    /// `CLONE_NEWNS`
    Mount,
    /// `CLONE_NEWNET`
    Net,
    /// `CLONE_NEWPID`: of children made later.
    Pid,
    /// `CLONE_NEWTIME`: of children made later.
    Time,
    /// `CLONE_NEWUSER`
    User,
    /// `CLONE_NEWUTS`
    Uts,
}

impl NamespaceKind {
    fn flag(self) -> (LinkNameSpaceType, &'static str) {
        use LinkNameSpaceType as Link;
        match self {
            Self::Cgroup => (Link::ControlGroup, "CLONE_NEWCGROUP"),
            Self::Ipc => (Link::InterProcessCommunication, "CLONE_NEWIPC"),
            Self::Mount => (Link::Mount, "CLONE_NEWNS"),
            Self::Net => (Link::Network, "CLONE_NEWNET"),
            Self::Pid => (Link::ProcessID, "CLONE_NEWPID"),
            Self::Time => (Link::Time, "CLONE_NEWTIME"),
            Self::User => (Link::User, "CLONE_NEWUSER"),
            Self::Uts => (Link::HostNameAndNISDomainName, "CLONE_NEWUTS"),
        }
    }
}

/// Goes into a namespace, which must be of the kind that is named (setns(2)). Into a mount namespace it sets root and
/// working directory of the thread to the namespace's root, and wants a thread that shares neither
/// with others (`EINVAL`); into a user namespace it wants a single thread.
pub fn setns(namespace: impl AsFd, kind: NamespaceKind) -> Result<(), SysError> {
    let (fd, (link, name)) = (namespace.as_fd(), kind.flag());
    rustix::thread::move_into_link_name_space(fd, Some(link))
        .map_err(call(|| format!("setns({}, {name})", fd.as_raw_fd())))
}

/// Makes the working directory the root mount; the old root is stacked on it and goes with
/// [`umount_dot_detach`] (pivot_root(2), "pivot_root(".", ".")").
pub fn pivot_root_dot() -> Result<(), SysError> {
    rustix::process::pivot_root(c".", c".").map_err(call(|| "pivot_root(\".\", \".\")".into()))
}

/// Detaches what is mounted on top of the working directory, with all beneath (umount2(2) `MNT_DETACH`).
/// A shared mount takes its copies in other namespaces along.
pub fn umount_dot_detach() -> Result<(), SysError> {
    rustix::mount::unmount(c".", UnmountFlags::DETACH)
        .map_err(call(|| "umount2(\".\", MNT_DETACH)".into()))
}

/// Detaches a mount that may be a file, given a descriptor of its root, with all that is mounted in
/// it. `process` is this thread's directory in /proc: only a magic link leads to a file for sure.
/// It changes the working directory.
pub fn umount_file_detach(process: BorrowedFd<'_>, mount: &OwnedFd) -> Result<(), SysError> {
    umount_file(process, mount, UnmountFlags::DETACH, "MNT_DETACH")
}

/// Whether a mount is locked to the one that it is on (umount2(2) with `MNT_EXPIRE`, which marks the
/// mount, and unmounts none that was not marked before). Not for a process's root directory; of a
/// mount of the caller's namespace alone. It changes the working directory.
pub fn is_locked_in_place(process: BorrowedFd<'_>, mount: &OwnedFd) -> Result<bool, SysError> {
    match umount_file(process, mount, UnmountFlags::EXPIRE, "MNT_EXPIRE") {
        Ok(()) => Ok(false),
        Err(error) if matches!(error.errno(), Errno::BUSY | Errno::AGAIN) => Ok(false),
        // KERNEL: `can_umount` asks for the lock before anything that is said of expiring.
        Err(error) if error.errno() == Errno::INVAL => Ok(true),
        Err(error) => Err(error),
    }
}

fn umount_file(
    process: BorrowedFd<'_>,
    mount: &OwnedFd,
    how: UnmountFlags,
    shown: &str,
) -> Result<(), SysError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptors =
        rustix::fs::openat(process, c"fd", flags, Mode::empty()).map_err(call(|| {
            "openat(\"/proc/thread-self\", \"fd\", O_PATH|O_DIRECTORY)".into()
        }))?;
    fchdir(&descriptors)?;
    let name = mount.as_raw_fd().to_string();
    rustix::mount::unmount(name.as_str(), how).map_err(call(|| {
        format!("umount2(\"/proc/thread-self/fd/{name}\", {shown})")
    }))
}

/// Changes the working directory (fchdir(2)).
pub fn fchdir(directory: impl AsFd) -> Result<(), SysError> {
    let fd = directory.as_fd();
    rustix::process::fchdir(fd).map_err(call(|| format!("fchdir({})", fd.as_raw_fd())))
}

/// Makes the working directory the root directory (chroot(2)).
pub fn chroot_dot() -> Result<(), SysError> {
    rustix::process::chroot(c".").map_err(call(|| "chroot(\".\")".into()))
}

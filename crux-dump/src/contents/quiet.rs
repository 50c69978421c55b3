//! A mount that reading does not change.
//!
//! Kind: effect.

use super::ContentsError;
use crux_mount::sys;
use rustix::fs::{StatVfsMountFlags, fstatvfs};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// A descriptor of the same file through a mount that is read-only or `noatime`: its own where that
/// is so already, or a detached clone (the kernel takes long to end one, so whoever
/// has many trees to record gives quiet mounts).
pub(super) fn quiet(file: BorrowedFd<'_>) -> Result<OwnedFd, ContentsError> {
    if !is_quiet(file) {
        return clone(file);
    }
    let call = "fcntl(root, F_DUPFD_CLOEXEC)";
    rustix::io::fcntl_dupfd_cloexec(file, 0).map_err(|errno| ContentsError::Loud { call, errno })
}

/// Whether the mount leaves access times alone.
pub(super) fn is_quiet(file: BorrowedFd<'_>) -> bool {
    let quiet = StatVfsMountFlags::NOATIME | StatVfsMountFlags::RDONLY;
    fstatvfs(file).is_ok_and(|stat| stat.f_flag.intersects(quiet))
}

fn clone(file: BorrowedFd<'_>) -> Result<OwnedFd, ContentsError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let call = "open_tree(root, \"\", AT_EMPTY_PATH|OPEN_TREE_CLONE)";
    let tree = open_tree(file, c"", flags).map_err(|errno| loud(call, errno))?;
    let call = "mount_setattr(clone, \"\", AT_EMPTY_PATH, RDONLY)";
    // Flags for access times alone may be locked; a read-only mount does not update them either.
    sys::mount_setattr(tree.as_fd(), libc::MOUNT_ATTR_RDONLY, 0, 0, None)
        .map_err(|error| loud(call, error.errno()))?;
    Ok(tree)
}

fn loud(call: &'static str, errno: Errno) -> ContentsError {
    ContentsError::Loud { call, errno }
}

//! Cloning, moving and grouping mounts by descriptor (open_tree(2), move_mount(2)).
//!
//! Kind: effect. No call here takes a path.

use super::error::{SysError, call};
use rustix::mount::{MoveMountFlags, OpenTreeFlags};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Opens what `fd` is again, as an `O_PATH` descriptor. Nothing is cloned.
pub fn open_tree(fd: impl AsFd) -> Result<OwnedFd, SysError> {
    tree(fd, OpenTreeFlags::empty(), "")
}

/// A detached clone of the mount that `fd` lies in, with `fd` as its root, not of what is mounted
/// beneath it. The clone has the propagation of its source: a clone of a shared mount is a peer, so make it
/// private. `EINVAL` also means that the mount is of another namespace, or unbindable.
pub fn open_tree_clone(fd: impl AsFd) -> Result<OwnedFd, SysError> {
    tree(fd, OpenTreeFlags::OPEN_TREE_CLONE, "|OPEN_TREE_CLONE")
}

/// Like [`open_tree_clone`], with all that is mounted beneath (`AT_RECURSIVE`).
pub fn open_tree_clone_recursive(fd: impl AsFd) -> Result<OwnedFd, SysError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE;
    tree(fd, flags, "|OPEN_TREE_CLONE|AT_RECURSIVE")
}

fn tree(fd: impl AsFd, flags: OpenTreeFlags, shown: &str) -> Result<OwnedFd, SysError> {
    let always = OpenTreeFlags::AT_EMPTY_PATH | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let fd = fd.as_fd();
    rustix::mount::open_tree(fd, c"", flags | always).map_err(call(|| {
        let fd = fd.as_raw_fd();
        format!("open_tree({fd}, \"\", AT_EMPTY_PATH|OPEN_TREE_CLOEXEC{shown})")
    }))
}

/// Attaches the mount `from` (detached, or the root of an attached one) at `to`, whatever is mounted there.
pub fn move_mount(from: impl AsFd, to: impl AsFd) -> Result<(), SysError> {
    mover(from, to, MoveMountFlags::empty(), "")
}

/// Gives the mount `to` the peer group and the master of `from` (Linux 5.15). Both must be roots
/// of mounts that are attached in a namespace, of one superblock, `to` private and within what
/// `from` shows. An unbindable `to` silently becomes bindable.
pub fn move_mount_set_group(from: impl AsFd, to: impl AsFd) -> Result<(), SysError> {
    mover(
        from,
        to,
        MoveMountFlags::MOVE_MOUNT_SET_GROUP,
        "|MOVE_MOUNT_SET_GROUP",
    )
}

fn mover(
    from: impl AsFd,
    to: impl AsFd,
    flags: MoveMountFlags,
    shown: &str,
) -> Result<(), SysError> {
    let always = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    let (from, to) = (from.as_fd(), to.as_fd());
    rustix::mount::move_mount(from, c"", to, c"", flags | always).map_err(call(|| {
        let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
        format!(
            "move_mount({from}, \"\", {to}, \"\", \
             MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_EMPTY_PATH{shown})"
        )
    }))
}

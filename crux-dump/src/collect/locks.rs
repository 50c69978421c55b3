//! What of a user namespace's mounts is locked.
//!
//! Kind: effect. No table shows it, so it is tried out, in a copy that nobody else sees: of a mount
//! that is locked the kernel refuses to change the access time flags, and to unmount it.

use super::DumpError;
use super::inside::{self, Home};
use super::peel::{Copy, PeelError};
use super::process::Process;
use crate::judge::Tree;
use crux_image::mounts::Lock;
use crux_mount::ids::MountId;
use crux_mount::mountinfo::Entry;
use crux_mount::sys::{self, SysError};
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// The locks of the mounts in a namespace that a user namespace of the container's owns.
pub(super) fn probe(
    process: &Process,
    home: &Home,
    table: &[Entry],
) -> Result<HashMap<MountId, Lock>, DumpError> {
    let mut locks = HashMap::new();
    // A table that is no tree is for the judge to refuse.
    let Ok(tree) = Tree::new(process.pid, table) else {
        return Ok(locks);
    };
    // From those attached last: a mount is tried before what it covers is uncovered.
    let mut open: Vec<usize> = (0..tree.nodes.len()).collect();
    open.sort_unstable_by_key(|&node| std::cmp::Reverse(tree.nodes[node].entry));
    while !open.is_empty() {
        let found = home.leave_for(|| in_a_copy(process, &tree, &open))?;
        let found = found.map_err(|error| DumpError::Locks {
            pid: process.pid,
            error,
        })?;
        open.retain(|node| !found.contains_key(node));
        let by_id = found.into_iter();
        locks.extend(by_id.map(|(node, lock)| (table[tree.nodes[node].entry].id, lock)));
    }
    Ok(locks)
}

/// As many as one copy allows: at least the first.
fn in_a_copy(
    process: &Process,
    tree: &Tree,
    wanted: &[usize],
) -> Result<HashMap<usize, Lock>, PeelError> {
    let mut copy = Copy::new(process, inside::own_directory()?)?;
    let mut found = HashMap::new();
    for &node in wanted {
        let Some(target) = copy.counterpart(tree, node) else {
            continue;
        };
        let lock = match copy.uncover(target) {
            Ok(mount) => lock_of(copy.process_directory(), &mount, node)?,
            // What covers it is locked, and came together with it.
            Err(PeelError::Sys(error)) if error.errno() == Errno::INVAL => Lock::Place,
            Err(error) => return Err(error),
        };
        found.insert(node, lock);
    }
    match found.is_empty() {
        true => Err(PeelError::Copy("does not have its mounts")),
        false => Ok(found),
    }
}

fn lock_of(process: BorrowedFd<'_>, mount: &OwnedFd, node: usize) -> Result<Lock, SysError> {
    // The root directory of a process cannot be unmounted in any case.
    let in_place = node != 0 && sys::is_locked_in_place(process, mount)?;
    match in_place {
        true => Ok(Lock::Place),
        false if are_flags_locked(mount)? => Ok(Lock::Flags),
        false => Ok(Lock::Free),
    }
}

/// Whether the kernel refuses to change how access times are updated.
fn are_flags_locked(mount: &OwnedFd) -> Result<bool, SysError> {
    let clear = libc::MOUNT_ATTR__ATIME;
    for set in [libc::MOUNT_ATTR_NOATIME, libc::MOUNT_ATTR_STRICTATIME] {
        match sys::mount_setattr(mount.as_fd(), set, clear, 0, None) {
            Ok(()) => {}
            Err(error) if error.errno() == Errno::PERM => return Ok(true),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

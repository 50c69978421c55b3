//! Proc file systems of pid namespaces within the container's: a record of mounts has none of them.
//!
//! Kind: effect. A proc shows its pid namespace by the first process of it.

use super::namespaces::Namespaces;
use super::target::Target;
use super::{Part, TaskCause, TaskObstacle};
use crate::judge::SeenNamespace;
use crux_image::path::Escaped;
use crux_mount::ids::MountId;
use crux_mount::sys;
use rustix::fs::{AtFlags, Mode, OFlags, openat, statat};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

/// Names all that a process can see at its place.
pub(super) fn refuse(
    targets: &[Target],
    spaces: &[SeenNamespace],
    namespaces: &Namespaces<'_>,
    obstacles: &mut Vec<TaskObstacle>,
) {
    for space in spaces {
        let Some(target) = targets.iter().find(|target| target.pid == space.pid) else {
            continue;
        };
        for entry in space.table.iter().filter(|it| it.fs_type == b"proc") {
            let shown = shown(target, &entry.mountpoint, entry.id);
            let shown = shown.and_then(|inode| namespaces.pid_with_inode(inode));
            if shown.is_some_and(|at| at.at() > 0) {
                let what = format!(
                    "the proc on \"{}\" is that of a pid namespace within the container's, which cannot be dumped yet",
                    Escaped(&entry.mountpoint)
                );
                obstacles.push(TaskObstacle {
                    pid: space.pid,
                    part: Part::Process,
                    cause: TaskCause::Other(what),
                });
            }
        }
    }
}

/// The pid namespace of the first process that a proc shows. None where other mounts hide it.
fn shown(target: &Target, mountpoint: &[u8], mount: MountId) -> Option<u64> {
    let proc = open(target, mountpoint)?;
    let found = sys::statx(&proc).ok()?.mount;
    let stat = statat(&proc, "1/ns/pid", AtFlags::empty()).ok()?;
    (found == mount).then_some(stat.st_ino)
}

fn open(target: &Target, mountpoint: &[u8]) -> Option<OwnedFd> {
    let path = [b"root", mountpoint].concat();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(
        &target.directory,
        OsStr::from_bytes(&path),
        flags,
        Mode::empty(),
    )
    .ok()
}

//! Pid and time namespaces that a process has set aside for its children (unshare(2), setns(2)).
//!
//! Kind: effect.

use super::namespaces::Namespaces;
use super::target::Target;
use super::{Part, TaskCause, TaskObstacle};
use crux_image::tasks::PidForChildren;
use crux_mount::sys::SysError;
use rustix::fs::{AtFlags, statat};
use rustix::io::Errno;

/// Where they are others than the process's own. To be called when all processes have been looked at.
pub(super) fn capture(
    targets: &[Target],
    namespaces: &Namespaces<'_>,
    obstacles: &mut Vec<TaskObstacle>,
) -> Result<Vec<PidForChildren>, (u32, SysError)> {
    let mut all = Vec::new();
    for (at, target) in targets.iter().enumerate().filter(|(_, it)| !it.zombie) {
        let failed = |error| (target.pid, error);
        let mut refuse = |what: &str| {
            obstacles.push(TaskObstacle {
                pid: target.pid,
                part: Part::Process,
                cause: TaskCause::Other(what.to_owned()),
            });
        };
        if differ(target, "ns/time", "ns/time_for_children").map_err(failed)? {
            refuse(
                "its children are to be in a time namespace that it is not in, which cannot be dumped yet",
            );
        }
        if !differ(target, "ns/pid", "ns/pid_for_children").map_err(failed)? {
            continue;
        }
        let inode = inode(target, "ns/pid_for_children").map_err(failed)?;
        match inode.and_then(|inode| namespaces.pid_with_inode(inode)) {
            Some(namespace) => all.push(PidForChildren {
                process: at.into(),
                namespace,
            }),
            None => refuse(
                "its children are to be in a pid namespace that no process is in yet, which cannot be dumped yet",
            ),
        }
    }
    Ok(all)
}

fn differ(target: &Target, own: &str, children: &str) -> Result<bool, SysError> {
    let (own, children) = (inode(target, own)?, inode(target, children)?);
    Ok(own.is_some() && own != children)
}

/// None where the kernel has none: no such kind, or nobody has been in it yet.
fn inode(target: &Target, name: &str) -> Result<Option<u64>, SysError> {
    match statat(&target.directory, name, AtFlags::empty()) {
        Ok(stat) => Ok(Some(stat.st_ino)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(SysError::new(format!("stat(\"{name}\")"), errno)),
    }
}

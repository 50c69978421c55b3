//! Mounts that a namespace has and a process in it does not see: those above a chroot.
//!
//! Kind: effect. Who enters a mount namespace comes out at its top, whatever the root
//! directory of its processes is, and then sees the mounts above a chroot. What another mount
//! covers there stays unseen.

use super::DumpError;
use super::inside::{self, Home};
use super::peel::{PeelError, read_table};
use super::process::Process;
use crux_image::path::RelPath;
use crux_mount::ids::MountId;
use crux_mount::mountinfo::Entry;
use crux_mount::sys::{self, NamespaceKind, SysError};
use rustix::fs::{Mode, OFlags, openat, readlinkat};
use std::collections::HashSet;

/// Whether the root directory of a process is what everybody sees who enters its namespace:
/// there is nothing above it. Seen from outside, ".." of a root directory is what it is mounted on.
pub(super) fn is_top(process: &Process) -> Result<bool, DumpError> {
    let pid = process.pid;
    let fail = |error| DumpError::Process { pid, error };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let above = openat(&process.root, "..", flags, Mode::empty());
    let above = above.map_err(|errno| {
        fail(SysError::new(
            "openat(root, \"..\", O_PATH|O_DIRECTORY)",
            errno,
        ))
    })?;
    let above = sys::statx(above).map_err(fail)?;
    let root = sys::statx(&process.root).map_err(fail)?;
    Ok(root.is_mount_root && (above.mount, above.ino) == (root.mount, root.ino))
}

/// The mounts beyond the table of a process, each with its parent.
pub(super) fn beyond(
    process: &Process,
    home: &Home,
    table: &[Entry],
) -> Result<Vec<(MountId, MountId)>, DumpError> {
    let seen: HashSet<MountId> = table.iter().map(|entry| entry.id).collect();
    let whole = whole(process, home)?;
    let unseen = whole.iter().filter(|entry| !seen.contains(&entry.id));
    Ok(unseen.map(|entry| (entry.id, entry.parent)).collect())
}

/// The table of a process's namespace as its top sees it.
fn whole(process: &Process, home: &Home) -> Result<Vec<Entry>, DumpError> {
    let pid = process.pid;
    let read = || {
        let own = inside::own_directory()?;
        sys::setns(&process.mount_namespace, NamespaceKind::Mount)?;
        read_table(&own)
    };
    let table: Result<_, PeelError> = home.leave_for(read)?;
    table.map_err(|error| DumpError::Beyond { pid, error })
}

/// A root directory that is not the root of a mount (chroot(2) into a plain directory), as
/// the mount that its tasks could take it for: of that directory, with nothing above.
pub(super) fn chrooted(
    process: &Process,
    home: &Home,
    on: MountId,
) -> Result<Option<Entry>, DumpError> {
    let Some(mut entry) = whole(process, home)?
        .into_iter()
        .find(|entry| entry.id == on)
    else {
        return Ok(None);
    };
    // The path of another namespace's file is that from the top of its namespace.
    let Ok(path) = readlinkat(process.directory(), "root", Vec::new()) else {
        return Ok(None);
    };
    let beneath = |path: &[u8], above: &[u8]| {
        let above = RelPath::from_absolute(above).ok()?;
        RelPath::from_absolute(path).ok()?.strip_prefix(&above)
    };
    let Some(within) = beneath(path.as_bytes(), &entry.mountpoint) else {
        return Ok(None);
    };
    let Ok(root) = RelPath::from_absolute(&entry.root.path) else {
        return Ok(None);
    };
    entry.root.path = root.join(&within).to_absolute();
    entry.mountpoint = b"/".to_vec();
    Ok(Some(entry))
}

//! Mounts that a namespace has and a process in it does not see: those above a chroot.
//!
//! Kind: effect. Who enters a mount namespace comes out at its top, whatever the root
//! directory of its processes is, and then sees the mounts above a chroot. What another mount
//! covers there stays unseen.

use super::inside;
use super::peel::{PeelError, read_table};
use super::process::Process;
use crux_image::path::RelPath;
use crux_mount::ids::MountId;
use crux_mount::mountinfo::Entry;
use crux_mount::sys::{self, NamespaceKind};
use rustix::fs::readlinkat;
use std::collections::HashSet;

/// The mounts beyond the table of a process, each with its parent.
pub(super) fn beyond(
    process: &Process,
    table: &[Entry],
) -> Result<Vec<(MountId, MountId)>, PeelError> {
    let seen: HashSet<MountId> = table.iter().map(|entry| entry.id).collect();
    let whole = whole(process)?;
    let unseen = whole.iter().filter(|entry| !seen.contains(&entry.id));
    Ok(unseen.map(|entry| (entry.id, entry.parent)).collect())
}

/// The table of a process's namespace as its top sees it.
fn whole(process: &Process) -> Result<Vec<Entry>, PeelError> {
    inside::apart(|| -> Result<Vec<Entry>, PeelError> {
        let own = inside::own_directory()?;
        sys::setns(&process.mount_namespace, NamespaceKind::Mount)?;
        read_table(&own)
    })?
}

/// A root directory that is not the root of a mount (chroot(2) into a plain directory), as
/// the mount that its tasks could take it for: of that directory, with nothing above.
pub(super) fn chrooted(process: &Process, on: MountId) -> Result<Option<Entry>, PeelError> {
    let Some(mut entry) = whole(process)?.into_iter().find(|entry| entry.id == on) else {
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

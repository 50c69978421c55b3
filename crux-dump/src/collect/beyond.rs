//! Mounts that a namespace has and a process in it does not see, on kernels that cannot
//! be asked for them (before Linux 6.11).
//!
//! Kind: effect. Who enters a mount namespace comes out at its top, whatever the root
//! directory of its processes is, and then sees the mounts above a chroot. What another mount
//! covers there stays unseen.

use super::inside;
use super::peel::{PeelError, read_table};
use super::process::Process;
use crux_mount::ids::MountId;
use crux_mount::mountinfo::Entry;
use crux_mount::sys::{self, NamespaceKind};
use std::collections::HashSet;

/// The mounts beyond the table of a process, each with its parent.
pub(super) fn beyond(
    process: &Process,
    table: &[Entry],
) -> Result<Vec<(MountId, MountId)>, PeelError> {
    let whole = inside::apart(|| -> Result<Vec<Entry>, PeelError> {
        let own = inside::own_directory()?;
        sys::setns(&process.mount_namespace, NamespaceKind::Mount)?;
        read_table(&own)
    })??;
    let seen: HashSet<MountId> = table.iter().map(|entry| entry.id).collect();
    let unseen = whole.iter().filter(|entry| !seen.contains(&entry.id));
    Ok(unseen.map(|entry| (entry.id, entry.parent)).collect())
}

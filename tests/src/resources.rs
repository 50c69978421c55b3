//! What the processes of a measurement use and need.
//!
//! Kind: effect.

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{UsageWho, getrusage};

/// The most memory, in bytes, that any child waited for has had at once.
/// What a child had between fork and exec counts, so this is at least the caller's own.
pub fn peak_of_children() -> Result<u64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage")?;
    Ok(usage.max_rss().unsigned_abs() * 1024)
}

/// Moves the calling process into a mount namespace of its own.
pub fn new_mount_namespace() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("unshare(CLONE_NEWNS)")
}

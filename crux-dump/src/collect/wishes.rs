//! Wishes, held against what the host's paths lead to.
//!
//! Kind: effect.

use super::inside;
use crate::judge::WishCheck;
use crux_image::mounts::OriginIndex;
use crux_mount::sys;
use rustix::fs::{CWD, Mode, OFlags};
use std::os::fd::AsFd;

/// The wishes whose paths lead elsewhere, or nowhere: a restore would be offered the wrong thing.
pub(crate) fn unfulfilled(checks: &[WishCheck]) -> Vec<OriginIndex> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(root) = rustix::fs::openat(CWD, "/", flags, Mode::empty()) else {
        return Vec::new();
    };
    let leads_there = |check: &&WishCheck| {
        inside::open_across(root.as_fd(), check.path.as_rel())
            .and_then(sys::statx)
            .is_ok_and(|stat| {
                check
                    .inode
                    .map_or(stat.device == check.device, |inode| inode == stat.ino)
            })
    };
    let others = checks.iter().filter(|check| !leads_there(check));
    others.map(|check| check.origin).collect()
}

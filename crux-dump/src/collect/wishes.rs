//! Wishes, held against what the host's paths lead to.
//!
//! Kind: effect.

use super::inside;
use crate::judge::WishCheck;
use crux_image::mounts::{Mounts, Origin};
use crux_mount::sys;
use rustix::fs::{CWD, Mode, OFlags};
use std::os::fd::AsFd;

/// Takes out the wishes whose paths lead elsewhere, or nowhere: a restore would be offered the wrong thing.
pub fn check(mounts: &mut Mounts, checks: &[WishCheck]) {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(root) = rustix::fs::openat(CWD, "/", flags, Mode::empty()) else {
        return;
    };
    for check in checks {
        let leads_there = inside::open_across(root.as_fd(), check.path.as_rel())
            .and_then(sys::statx)
            .is_ok_and(|stat| {
                check
                    .inode
                    .map_or(stat.device == check.device, |inode| inode == stat.ino)
            });
        if let (false, Some(Origin::External(external))) =
            (leads_there, mounts.origins.get_mut(check.origin.at()))
        {
            external.wish = None;
        }
    }
}

//! Every feature of the kernel that crux uses, each tried: the rows of docs/kernel-features.md.
//!
//! Kind: effect ([`survey`]); [`ROWS`] is data, and a test holds the document to it. This is
//! for people who ask what a machine can do; what a dump or a restore goes by is
//! [`crate::features::Features`].

use crate::exec::own_user_namespace;
use crate::features::{Features, detached_tmpfs};
use crate::sys;
use linux_raw_sys::general as nr;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use std::os::fd::{AsFd as _, AsRawFd as _};

/// A feature of the kernel.
#[derive(Debug)]
pub struct Row {
    /// What it is called.
    pub name: &'static str,
    /// The release of Linux that brought it.
    pub since: &'static str,
    /// What crux does with it.
    pub used_for: &'static str,
    /// What becomes of that where it is absent; nothing where nothing does.
    pub without: &'static str,
    /// Whether crux can do without.
    pub need: Need,
    /// Calls to do without which is tested (`cargo xtask test --without CALL`).
    pub calls: &'static [Call],
    find: fn(&Tried) -> State,
}

/// A system call, or one request of ioctl(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// What it is called.
    pub name: &'static str,
    /// As in `linux/unistd.h`.
    pub number: u32,
    /// The second argument, where only that is meant.
    pub request: Option<u32>,
}

impl Call {
    const fn all(name: &'static str, number: u32) -> Self {
        Self {
            name,
            number,
            request: None,
        }
    }
}

/// Whether crux can do without a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// No.
    Required,
    /// Yes; the row says how.
    Optional,
}

/// Whether a feature is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is.
    Present,
    /// It is not.
    Absent,
    /// It cannot be tried with what this process holds.
    Unknown,
}

/// What was tried together.
struct Tried {
    features: Features,
    rights: Rights,
}

/// Without CAP_SYS_ADMIN much cannot be tried.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rights {
    Mounts,
    None,
}

impl Tried {
    /// An answer that a process without rights gets as well.
    fn plainly(there: bool) -> State {
        match there {
            true => State::Present,
            false => State::Absent,
        }
    }

    /// An answer that is "no" for a process without rights.
    fn with_rights(&self, there: bool) -> State {
        match (there, self.rights) {
            (true, _) => State::Present,
            (false, Rights::Mounts) => State::Absent,
            (false, Rights::None) => State::Unknown,
        }
    }
}

/// Tries every feature. What is made for that goes at once.
pub fn survey() -> Vec<(&'static Row, State)> {
    let held = rustix::thread::capabilities(None).map(|sets| sets.effective);
    let admin = rustix::thread::CapabilitySet::SYS_ADMIN;
    let tried = Tried {
        features: Features::probe(),
        rights: match held.is_ok_and(|held| held.contains(admin)) {
            true => Rights::Mounts,
            false => Rights::None,
        },
    };
    ROWS.iter().map(|row| (row, (row.find)(&tried))).collect()
}

/// All of them, the oldest first.
pub const ROWS: &[Row] = &[
    Row {
        name: "fsopen, fsconfig, fsmount, fspick, move_mount, open_tree",
        since: "5.2",
        used_for: "making, cloning and attaching mounts by descriptor",
        without: "not supported",
        need: Need::Required,
        calls: &[],
        find: |_| {
            Tried::plainly(knows_all(&[
                nr::__NR_fsopen,
                nr::__NR_fsconfig,
                nr::__NR_fsmount,
                nr::__NR_fspick,
                nr::__NR_move_mount,
                nr::__NR_open_tree,
            ]))
        },
    },
    Row {
        name: "openat2 with RESOLVE_IN_ROOT, NO_XDEV, NO_SYMLINKS",
        since: "5.6",
        used_for: "every path beneath a mount's root",
        without: "walked name by name with O_NOFOLLOW, the mount id compared at each",
        need: Need::Optional,
        calls: &[Call::all("openat2", nr::__NR_openat2)],
        find: |tried| Tried::plainly(tried.features.openat2),
    },
    Row {
        name: "clone3 with set_tid, pidfd_getfd",
        since: "5.6",
        used_for: "tasks: their numbers, copies of their descriptors",
        without: "not supported",
        need: Need::Required,
        calls: &[],
        find: |_| Tried::plainly(knows_all(&[nr::__NR_clone3, nr::__NR_pidfd_getfd])),
    },
    Row {
        name: "statx: STATX_MNT_ID, STATX_ATTR_MOUNT_ROOT",
        since: "5.8",
        used_for: "which mount a descriptor lies in, whether a task is chrooted",
        without: "not supported",
        need: Need::Required,
        calls: &[],
        find: |_| Tried::plainly(statx_tells_mounts()),
    },
    Row {
        name: "close_range",
        since: "5.9",
        used_for: "closing all descriptors that a process is not to have",
        without: "each that /proc/self/fd lists is closed, under Landlock each up to the limit; for \
                  COMMAND each up to the limit is marked close-on-exec",
        need: Need::Optional,
        calls: &[Call::all("close_range", nr::__NR_close_range)],
        find: |_| Tried::plainly(sys::knows(nr::__NR_close_range)),
    },
    Row {
        name: "mount_setattr, id-mapped mounts",
        since: "5.12",
        used_for: "attributes, propagation and id-maps of mounts",
        without: "not supported",
        need: Need::Required,
        calls: &[],
        find: |_| Tried::plainly(sys::knows(nr::__NR_mount_setattr)),
    },
    Row {
        name: "Landlock",
        since: "5.13, 6.x for all of it",
        used_for: "the encoder makes files beneath the image directory only, the planner opens none, \
                   the role for cgroups hierarchies only",
        without: "their filters alone: the encoder can only make new files",
        need: Need::Optional,
        calls: &[Call::all(
            "landlock_create_ruleset",
            nr::__NR_landlock_create_ruleset,
        )],
        find: |_| Tried::plainly(sys::has_landlock()),
    },
    Row {
        name: "MOVE_MOUNT_SET_GROUP",
        since: "5.15",
        used_for: "joining a mount to a peer group or to a master",
        without: "not supported",
        need: Need::Required,
        calls: &[],
        find: |tried| tried.with_rights(tried.features.set_group),
    },
    Row {
        name: "id-mapped tmpfs",
        since: "6.3",
        used_for: "restoring a tmpfs of the container's own whose mount is id-mapped",
        without: "mount_setattr is EINVAL: the restore fails and is undone",
        need: Need::Optional,
        calls: &[],
        find: |tried| tried.with_rights(maps_tmpfs()),
    },
    Row {
        name: "MOVE_MOUNT_BENEATH",
        since: "6.5",
        used_for: "not needed: stacks are built from the bottom",
        without: "",
        need: Need::Optional,
        calls: &[],
        find: |tried| tried.with_rights(tried.features.move_beneath),
    },
    Row {
        name: "eventfd-semaphore in fdinfo",
        since: "6.5",
        used_for: "tasks: whether an eventfd with a count is a semaphore",
        without: "an eventfd with a count is an obstacle",
        need: Need::Optional,
        calls: &[],
        find: |_| Tried::plainly(tells_semaphores()),
    },
    Row {
        name: "PAGEMAP_SCAN",
        since: "6.7",
        used_for: "which pages of a task are its own",
        without: "pagemap is read entry by entry",
        need: Need::Optional,
        calls: &[Call {
            name: "PAGEMAP_SCAN",
            number: nr::__NR_ioctl,
            request: Some(sys::PAGEMAP_SCAN),
        }],
        find: |_| Tried::plainly(sys::scans_pagemap()),
    },
    Row {
        name: "STATX_MNT_ID_UNIQUE",
        since: "6.8",
        used_for: "asking statmount about a mount",
        without: "mount ids of mountinfo",
        need: Need::Optional,
        calls: &[],
        find: |tried| Tried::plainly(tried.features.unique_mount_ids),
    },
    Row {
        name: "statmount, listmount",
        since: "6.8",
        used_for: "see the next two lines",
        without: "",
        need: Need::Optional,
        calls: &[
            Call::all("statmount", nr::__NR_statmount),
            Call::all("listmount", nr::__NR_listmount),
        ],
        find: |tried| Tried::plainly(tried.features.statmount && tried.features.listmount),
    },
    Row {
        name: "NS_GET_MNTNS_ID, both calls on another namespace",
        since: "6.11",
        used_for: "mounts that /proc/PID/mountinfo does not show because the process is chrooted",
        without: "Hidden::Unknown, also without CAP_SYS_ADMIN: .. of the root directory says from \
                  outside whether anything is above it; if so, crux-dump enters the namespace, \
                  which ends at its top, and compares what mountinfo shows there; mounts beneath \
                  one that covers the root of all are not found",
        need: Need::Optional,
        calls: &[Call {
            name: "NS_GET_MNTNS_ID",
            number: nr::__NR_ioctl,
            request: Some(sys::NS_GET_MNTNS_ID),
        }],
        find: |tried| tried.with_rights(tried.features.mount_namespace_ids),
    },
    Row {
        name: "statmount: id-maps",
        since: "6.15",
        used_for: "the map of an id-mapped mount",
        without: "mountinfo says that a mount is id-mapped but not how: an obstacle",
        need: Need::Optional,
        calls: &[],
        find: |tried| Tried::plainly(tried.features.statmount_idmap),
    },
    Row {
        name: "open_tree CLONE of a detached mount",
        since: "6.15",
        used_for: "not relied on",
        without: "helpers are attached in the yard, then cloned",
        need: Need::Optional,
        calls: &[],
        find: |tried| tried.with_rights(tried.features.clone_detached),
    },
    Row {
        name: "move_mount onto a detached mount",
        since: "6.15",
        used_for: "not relied on",
        without: "trees are built where they are attached",
        need: Need::Optional,
        calls: &[],
        find: |tried| tried.with_rights(tried.features.attach_to_detached),
    },
];

fn knows_all(calls: &[u32]) -> bool {
    calls.iter().all(|call| sys::knows(*call))
}

fn statx_tells_mounts() -> bool {
    let Ok(answer) = rustix::fs::statx(CWD, c".", AtFlags::empty(), StatxFlags::MNT_ID) else {
        return false;
    };
    let attributes = answer
        .stx_attributes_mask
        .contains(StatxAttributes::MOUNT_ROOT);
    attributes && answer.stx_mask & StatxFlags::MNT_ID.bits() != 0
}

fn tells_semaphores() -> bool {
    let Ok(event) = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC) else {
        return false;
    };
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", event.as_raw_fd()));
    info.is_ok_and(|info| info.contains("eventfd-semaphore:"))
}

fn maps_tmpfs() -> bool {
    let (Some(mount), Some(namespace)) = (detached_tmpfs(), own_user_namespace()) else {
        return false;
    };
    sys::mount_setattr(mount.as_fd(), 0, 0, 0, Some(namespace.as_fd())).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../docs/kernel-features.md");

    #[test]
    fn the_document_has_the_rows_that_are_tried() {
        let written = ROWS
            .iter()
            .map(|row| [row.name, row.since, row.used_for, row.without].map(str::to_owned));
        let table = DOCUMENT
            .lines()
            .filter(|line| line.starts_with("| "))
            .skip(1);
        let read = table.map(|line| {
            let line = line.replace('`', "");
            let mut cells = line
                .trim_matches('|')
                .split('|')
                .map(|it| it.trim().to_owned());
            std::array::from_fn(|_| cells.next().unwrap_or_default())
        });
        let (written, read): (Vec<[String; 4]>, Vec<[String; 4]>) =
            (written.collect(), read.collect());
        assert_eq!(read, written);
    }

    #[test]
    fn a_supported_kernel_has_all_that_is_required() {
        for (row, state) in survey() {
            assert!(
                row.need == Need::Optional || state != State::Absent,
                "{}",
                row.name
            );
        }
    }
}

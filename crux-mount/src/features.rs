//! What this kernel lets this process do, found by trying, as plain data.
//!
//! Kind: effect ([`Features::probe`]); the struct is data that plans and readers are
//! given. It probes features, not versions: distributions backport, filters take away.
//! `docs/kernel-features.md` says what each is for and what happens without it.

use crate::sys::{self, MoveMountFlag, NamespaceKind, StatMask};
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd, OwnedFd};

/// Features of the kernel. The default is none: the oldest kernel that one can think of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// openat2(2), Linux 5.6.
    pub openat2: bool,
    /// `MOVE_MOUNT_SET_GROUP`, Linux 5.15.
    pub set_group: bool,
    /// `MOVE_MOUNT_BENEATH`, Linux 6.5.
    pub move_beneath: bool,
    /// `STATX_MNT_ID_UNIQUE`, Linux 6.8.
    pub unique_mount_ids: bool,
    /// statmount(2), Linux 6.8.
    pub statmount: bool,
    /// listmount(2), Linux 6.8.
    pub listmount: bool,
    /// statmount(2) and listmount(2) of another namespace, and `NS_GET_MNTNS_ID`, Linux 6.11.
    pub mount_namespace_ids: bool,
    /// statmount(2) gives id-maps, Linux 6.15.
    pub statmount_idmap: bool,
    /// open_tree(2) clones a mount that is detached, Linux 6.15.
    pub clone_detached: bool,
    /// move_mount(2) attaches onto a mount that is detached, Linux 6.15.
    pub attach_to_detached: bool,
}

impl Features {
    /// Tries each. What needs a capability that is not held counts as absent. Only
    /// the two last make something, a detached tmpfs that goes at once.
    pub fn probe() -> Self {
        let mut found = Self {
            openat2: sys::knows_openat2(),
            set_group: sys::knows_move_mount_flag(MoveMountFlag::SetGroup),
            move_beneath: sys::knows_move_mount_flag(MoveMountFlag::Beneath),
            ..Self::default()
        };
        if let Some(root) = open_directory("/") {
            found.probe_statmount(&root);
        }
        if let Some(mount) = detached_tmpfs() {
            found.clone_detached = sys::open_tree_clone(&mount).is_ok();
            found.attach_to_detached = attaches_to(&mount);
        }
        found
    }

    /// Tries only what reading uses. Nothing is made.
    pub fn probe_reading() -> Self {
        let mut found = Self::default();
        if let Some(root) = open_directory("/") {
            found.probe_statmount(&root);
        }
        found
    }

    fn probe_statmount(&mut self, root: &OwnedFd) {
        let Ok(id) = sys::unique_mount_id(root) else {
            return;
        };
        self.unique_mount_ids = true;
        let mask = StatMask::BASIC.with(StatMask::SUPPORTED);
        if let Ok(answer) = sys::stat_mount(id, None, mask) {
            self.statmount = true;
            self.statmount_idmap = answer
                .supported
                .is_some_and(|all| all.contains(StatMask::IDMAP));
        }
        self.listmount = sys::list_mounts(None).is_ok();
        self.mount_namespace_ids = self.statmount && own_namespace_has_an_id(id);
    }
}

fn own_namespace_has_an_id(root: sys::UniqueMountId) -> bool {
    let namespace = open_directory("/proc/thread-self")
        .and_then(|own| sys::open_process_namespace(own.as_fd(), NamespaceKind::Mount).ok());
    let id = namespace.and_then(|namespace| sys::mount_namespace_id(namespace).ok());
    id.is_some_and(|id| sys::stat_mount(root, Some(id), StatMask::BASIC).is_ok())
}

fn open_directory(path: &str) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty()).ok()
}

pub(crate) fn detached_tmpfs() -> Option<OwnedFd> {
    let context = sys::fsopen("tmpfs").ok()?;
    sys::fsconfig_create(&context).ok()?;
    sys::fsmount(&context).ok()
}

fn attaches_to(mount: &OwnedFd) -> bool {
    detached_tmpfs().is_some_and(|child| sys::move_mount(child, mount).is_ok())
}

//! User namespaces: owners of mount namespaces, and carriers of id-maps.
//!
//! Kind: effect.

use super::child::Child;
use super::error::{StepError, named};
use crate::sys::{self, NamespaceKind};
use crux_image::mounts::{IdMap, IdRange, UserNamespace, UserNsIndex};
use rustix::fs::{Mode, OFlags, openat};
use std::fmt::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The user namespaces of a container, made anew.
pub(super) struct UserNamespaces(Vec<(OwnedFd, Identity)>);

/// Ids, as the executor's own user namespace has them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl UserNamespaces {
    /// Parents before children, as in the image.
    pub(super) fn make(records: &[UserNamespace], proc: BorrowedFd<'_>) -> Result<Self, StepError> {
        let mut made: Vec<(OwnedFd, Identity)> = Vec::new();
        for record in records {
            let parent = record.parent.map(|parent| made[parent.at()].0.as_fd());
            let namespace = make(parent, &record.uid_map, &record.gid_map, proc)?;
            let first = |map: &[IdRange]| map.first().map_or(0, |range| range.outside);
            let identity = Identity {
                uid: first(&record.uid_map),
                gid: first(&record.gid_map),
            };
            made.push((namespace, identity));
        }
        Ok(Self(made))
    }

    pub(super) fn get(&self, at: UserNsIndex) -> BorrowedFd<'_> {
        self.0[at.at()].0.as_fd()
    }

    /// An id that is mapped there: files of a superblock that belongs to the
    /// namespace can be made only by such a one.
    pub(super) fn root_of(&self, at: UserNsIndex) -> Identity {
        self.0[at.at()].1
    }
}

/// A user namespace whose maps are the id-map of a mount.
pub(super) fn of_map(map: &IdMap, proc: BorrowedFd<'_>) -> Result<OwnedFd, StepError> {
    make(None, &map.uids, &map.gids, proc)
}

fn make(
    parent: Option<BorrowedFd<'_>>,
    uids: &[IdRange],
    gids: &[IdRange],
    proc: BorrowedFd<'_>,
) -> Result<OwnedFd, StepError> {
    let child = Child::start(|| {
        if let Some(parent) = parent {
            sys::setns(parent, NamespaceKind::User)?;
        }
        sys::unshare_user_namespace()?;
        openat(
            proc,
            "thread-self/ns/user",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(named("openat(proc, \"thread-self/ns/user\")"))
    })?;
    let pid = child.pid().as_raw_nonzero();
    // Both are written from outside, by one that holds SETUID and SETGID over the
    // parent: a map of more than one id is not the namespace's own to choose.
    let written = write(proc, &format!("{pid}/gid_map"), gids)
        .and_then(|()| write(proc, &format!("{pid}/uid_map"), uids));
    let namespace = child.finish()?;
    written.map(|()| namespace)
}

fn write(proc: BorrowedFd<'_>, path: &str, map: &[IdRange]) -> Result<(), StepError> {
    let mut lines = String::new();
    for IdRange {
        inside,
        outside,
        count,
    } in map
    {
        let _ = writeln!(lines, "{inside} {outside} {count}");
    }
    let describe = |call: &str| format!("{call}(\"/proc/{path}\", {lines:?})");
    let file = openat(proc, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(named(&describe("open")))?;
    // One write: the kernel takes a map whole or not at all.
    rustix::io::write(file, lines.as_bytes())
        .map(drop)
        .map_err(named(&describe("write")))
}

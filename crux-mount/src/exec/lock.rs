//! Mounts as the owner of a namespace has them: locked.
//!
//! Kind: effect. What is locked is put together in the yard; a copy of the yard that another user
//! namespace owns has it locked (`lock_mnt_tree`, fs/namespace.c), and so have clones of the copy.

use super::Executor;
use super::error::{StepError, named};
use super::place;
use crate::plan::Held;
use crate::sys::{self, NamespaceKind, Open};
use crux_image::mounts::NamespaceIndex;
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::os::fd::{AsFd as _, OwnedFd};

impl Executor<'_> {
    pub(super) fn lock(
        &mut self,
        namespace: NamespaceIndex,
        held: &[Held],
    ) -> Result<(), StepError> {
        let owner = self.setup.mounts.namespaces[namespace.at()].owner;
        let owner = owner.ok_or(StepError::NotGranted)?;
        let (locker, name) = self.place.locker()?;
        let tops = self.put_together(held, &locker)?;
        let copy = self.place.copy_of_yard(Some(self.users.get(owner)))?;
        sys::setns(&copy, NamespaceKind::Mount)?;
        let clones: Result<Vec<_>, _> = (0..tops).map(|at| clone_of(&name, at)).collect();
        self.place.return_to_yard()?;
        // Nothing of the yard may be in the way of names that are still to be removed.
        sys::fchdir(&locker)?;
        sys::umount_dot_detach()?;
        let mut clones = clones?.into_iter();
        for Held { mount, onto } in held {
            let found = match onto {
                None => clones.next().ok_or(StepError::EmptySlot(*mount))?,
                Some((parent, at)) => sys::open_on(self.slot(*parent)?.as_fd(), at)?,
            };
            self.slots.fill(*mount, found)?;
        }
        Ok(())
    }

    /// Puts those that are on no other into `locker`, by their numbers; how many there are.
    fn put_together(&mut self, held: &[Held], locker: &OwnedFd) -> Result<usize, StepError> {
        let mut tops = 0;
        for Held { mount, onto } in held {
            let target = match onto {
                None => {
                    let kind = sys::file_kind(&sys::statx(self.slot(*mount)?)?);
                    let directory = kind.is_some_and(|kind| kind.is_directory());
                    tops += 1;
                    place::mountpoint(locker, &(tops - 1).to_string(), directory)?
                }
                Some((parent, at)) => {
                    sys::open_beneath(self.slot(*parent)?.as_fd(), at, Open::Any)?
                }
            };
            sys::move_mount(self.slot(*mount)?, target)?;
        }
        Ok(tops)
    }
}

/// A detached clone of a tree in the copy of the yard that this process is in.
fn clone_of(locker: &str, at: usize) -> Result<OwnedFd, StepError> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = openat(CWD, format!("/{locker}/{at}"), flags, Mode::empty())
        .map_err(named("openat(copy of the yard, O_PATH)"))?;
    Ok(sys::open_tree_clone_recursive(top)?)
}

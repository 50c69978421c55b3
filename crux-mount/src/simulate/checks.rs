//! The conditions of steps, each by itself.
//!
//! Kind: pure. Nothing here changes anything.

use super::files::Way;
use super::kernel::{Attributes, MountId, MountState, Shown};
use super::run::{Made, Propagation, Run};
use super::{Place, Rule};
use crate::plan::Slot;
use crux_image::mounts::{External, FileKind, NamespaceIndex, Origin, OriginIndex, OwnFileSystem};
use crux_image::path::RelPath;

impl<'a> Run<'a> {
    pub(super) fn must_be_in(&self, place: Place, needed: &'static str) -> Result<(), Rule> {
        match self.place == place {
            true => Ok(()),
            false => Err(Rule::WrongPlace {
                current: self.place,
                needed,
            }),
        }
    }

    pub(super) fn container(&self) -> Result<NamespaceIndex, Rule> {
        match self.place {
            Place::Container(namespace) => Ok(namespace),
            current => Err(Rule::WrongPlace {
                current,
                needed: "a namespace of the container",
            }),
        }
    }

    pub(super) fn must_not_propagate_yet(&self) -> Result<(), Rule> {
        match self.propagation {
            Propagation::None => Ok(()),
            Propagation::Begun => Err(Rule::TooLate),
        }
    }

    pub(super) fn must_be_ours(&self, slot: Slot) -> Result<(), Rule> {
        match slot {
            Slot::Outside(_) => Err(Rule::OutsideChanged(slot)),
            Slot::Mount(..) | Slot::Helper(_) | Slot::Carrier(_) => Ok(()),
        }
    }

    pub(super) fn must_belong(&self, slot: Slot, namespace: NamespaceIndex) -> Result<(), Rule> {
        match slot {
            Slot::Mount(of, _) if of == namespace => Ok(()),
            _ => Err(Rule::WrongSlot(slot)),
        }
    }

    /// A new mount goes into the slot of a mount, or of its own origin's helper.
    pub(super) fn receives(&mut self, into: Slot, origin: OriginIndex) -> Result<(), Rule> {
        self.slots.free(into)?;
        match into {
            Slot::Mount(..) => Ok(()),
            Slot::Helper(of) if of == origin => Ok(()),
            _ => Err(Rule::WrongSlot(into)),
        }
    }

    pub(super) fn own(&self, origin: OriginIndex) -> Result<&'a OwnFileSystem, Rule> {
        match self
            .image
            .origins
            .get(origin.at())
            .ok_or(Rule::NoSuchOrigin(origin))?
        {
            Origin::Own(own) => Ok(own),
            Origin::External(_) => Err(Rule::OriginKind {
                origin,
                kind: "external",
            }),
        }
    }

    pub(super) fn external(&self, origin: OriginIndex) -> Result<&'a External, Rule> {
        match self
            .image
            .origins
            .get(origin.at())
            .ok_or(Rule::NoSuchOrigin(origin))?
        {
            Origin::External(external) => Ok(external),
            Origin::Own(_) => Err(Rule::OriginKind {
                origin,
                kind: "the container's own",
            }),
        }
    }

    pub(super) fn made(&mut self, namespace: NamespaceIndex) -> Result<&mut Made, Rule> {
        self.namespaces
            .get_mut(namespace.at())
            .ok_or(Rule::NoSuchNamespace(namespace))
    }

    pub(super) fn detached(&mut self, slot: Slot) -> Result<MountId, Rule> {
        let mount = self.slots.get(slot)?;
        let state = self.kernel.get(mount);
        match state.place.is_none() && state.parent.is_none() {
            true => Ok(mount),
            false => Err(Rule::Attached(slot)),
        }
    }

    pub(super) fn attached(&mut self, slot: Slot) -> Result<MountId, Rule> {
        let mount = self.slots.get(slot)?;
        match self.kernel.get(mount).place {
            Some(_) => Ok(mount),
            None => Err(Rule::NotAttached(slot)),
        }
    }

    pub(super) fn attached_here(&mut self, slot: Slot) -> Result<MountId, Rule> {
        let mount = self.attached(slot)?;
        match self.kernel.get(mount).place {
            Some(holder) if holder != self.place => Err(Rule::ForeignNamespace {
                mount: slot,
                holder,
                current: self.place,
            }),
            _ => Ok(mount),
        }
    }

    pub(super) fn kind_of(&self, mount: &MountState<'_>) -> Option<FileKind> {
        match &mount.root {
            Shown::Within(root) => Some(self.files.get(mount.origin, root)?.kind),
            Shown::Around => None,
        }
    }

    /// The file of an origin that a path from the root of a mount leads to.
    pub(super) fn beneath(
        &self,
        mount: MountId,
        path: &RelPath,
    ) -> Result<(OriginIndex, RelPath), Rule> {
        let mount = self.kernel.get(mount);
        match &mount.root {
            Shown::Within(root) => Ok((mount.origin, root.join(path))),
            Shown::Around => Err(Rule::UnknownPart(mount.origin)),
        }
    }

    /// Checks a path against what is known of the file system. The root of a mount
    /// needs no name, so it is there even if it was unlinked.
    pub(super) fn must_lead_somewhere(
        &self,
        slot: Slot,
        mount: MountId,
        path: &RelPath,
    ) -> Result<(), Rule> {
        if path.is_root() {
            return Ok(());
        }
        let (origin, file) = self.beneath(mount, path)?;
        match self.files.nearest(origin, &file) {
            Some((found, _)) if found.unlinked => Err(Rule::Unlinked {
                mount: slot,
                path: path.clone(),
            }),
            Some((found, Way::Part)) if !found.kind.is_directory() => Err(Rule::ThroughFile {
                mount: slot,
                path: path.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Mounting on a file that was unlinked is `ENOENT` also where a descriptor leads to it.
    pub(super) fn kinds_must_fit(
        &self,
        slot: Slot,
        mount: MountId,
        origin: OriginIndex,
        onto: &RelPath,
    ) -> Result<(), Rule> {
        let Some(target) = self.files.get(origin, onto) else {
            return Ok(());
        };
        if target.unlinked {
            return Err(Rule::Unlinked {
                mount: slot,
                path: onto.clone(),
            });
        }
        let Some(kind) = self.kind_of(self.kernel.get(mount)) else {
            return Ok(());
        };
        match (kind.is_directory(), target.kind.is_directory()) {
            (true, false) => Err(Rule::KindMismatch {
                mount: slot,
                kind: "a directory",
            }),
            (false, true) => Err(Rule::KindMismatch {
                mount: slot,
                kind: "no directory",
            }),
            (true, true) | (false, false) => Ok(()),
        }
    }

    pub(super) fn must_be_writable(&self, slot: Slot, mount: MountId) -> Result<(), Rule> {
        let mount = self.kernel.get(mount);
        let mount_readonly =
            matches!(mount.attributes, Attributes::Set(attributes) if attributes.readonly);
        let superblock_readonly = self.own(mount.origin).is_ok_and(|own| own.flags.readonly);
        match mount_readonly || superblock_readonly {
            true => Err(Rule::ReadOnly(slot)),
            false => Ok(()),
        }
    }
}

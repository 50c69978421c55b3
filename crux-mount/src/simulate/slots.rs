//! Which mount each slot of a plan holds.
//!
//! Kind: pure. Slots are filled once and never emptied.

use super::Rule;
use super::kernel::MountId;
use crate::plan::Slot;
use crux_image::mounts::Mounts;

/// Room for every slot that an image can have.
#[derive(Debug)]
pub(super) struct Slots {
    mounts: Vec<Vec<Option<MountId>>>,
    helpers: Vec<Option<MountId>>,
    carriers: Vec<Option<MountId>>,
    outside: Vec<Option<MountId>>,
}

impl Slots {
    pub(super) fn new(image: &Mounts) -> Self {
        let origins = vec![None; image.origins.len()];
        Self {
            mounts: image
                .namespaces
                .iter()
                .map(|ns| vec![None; ns.mounts.len()])
                .collect(),
            helpers: origins.clone(),
            carriers: vec![None; image.groups.len()],
            outside: origins,
        }
    }

    fn cell(&mut self, slot: Slot) -> Result<&mut Option<MountId>, Rule> {
        let cell = match slot {
            Slot::Mount(ns, mount) => self
                .mounts
                .get_mut(ns.at())
                .and_then(|mounts| mounts.get_mut(mount.at())),
            Slot::Helper(origin) => self.helpers.get_mut(origin.at()),
            Slot::Carrier(group) => self.carriers.get_mut(group.at()),
            Slot::Outside(origin) => self.outside.get_mut(origin.at()),
        };
        cell.ok_or(Rule::NoSuchSlot(slot))
    }

    /// Checks that a slot can be filled.
    pub(super) fn free(&mut self, slot: Slot) -> Result<(), Rule> {
        match self.cell(slot)? {
            Some(_) => Err(Rule::SlotFilled(slot)),
            None => Ok(()),
        }
    }

    pub(super) fn fill(&mut self, slot: Slot, mount: MountId) -> Result<(), Rule> {
        self.free(slot)?;
        *self.cell(slot)? = Some(mount);
        Ok(())
    }

    pub(super) fn get(&mut self, slot: Slot) -> Result<MountId, Rule> {
        (*self.cell(slot)?).ok_or(Rule::SlotEmpty(slot))
    }
}

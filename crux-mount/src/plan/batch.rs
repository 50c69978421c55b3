//! Steps on their way out of the planner, as soon as some have come together.
//!
//! Kind: pure.

use super::Step;

/// How many go together. A builder that checks them meanwhile is not to wait long for the first, nor to be asked often.
const BATCH: usize = 512;

/// Where the planner puts its steps.
pub(super) struct Batches<'a> {
    batch: Vec<Step>,
    give: &'a mut dyn FnMut(Vec<Step>),
}

impl<'a> Batches<'a> {
    pub(super) fn new(give: &'a mut dyn FnMut(Vec<Step>)) -> Self {
        Self {
            batch: Vec::with_capacity(BATCH),
            give,
        }
    }

    pub(super) fn push(&mut self, step: Step) {
        if self.batch.len() == BATCH {
            let full = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
            (self.give)(full);
        }
        self.batch.push(step);
    }

    /// The step before the next.
    pub(super) fn last(&self) -> Option<&Step> {
        // A full batch goes with the step after it, so that there is one.
        self.batch.last()
    }

    pub(super) fn end(self) {
        (self.give)(self.batch);
    }
}

impl Extend<Step> for Batches<'_> {
    fn extend<T: IntoIterator<Item = Step>>(&mut self, steps: T) {
        steps.into_iter().for_each(|step| self.push(step));
    }
}

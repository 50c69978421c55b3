//! Plans: what the executor will do, as data.
//!
//! Kind: pure. A plan is a list of steps from a closed vocabulary over symbolic
//! slots. Only the planner can make one; anyone can print, simulate or run it.

mod batch;
mod create;
mod lock;
mod planner;
mod propagate;
mod step;

pub use lock::{Held, settle_locks};
pub use planner::{PlanError, Planning, attach_order, plan};
pub use step::{Slot, Step};

use crate::simulate::{Simulation, SimulationError, simulate};
use crux_image::diff::{Difference, diff};
use crux_image::mounts::Mounts;
use elsa::FrozenVec;
use std::fmt;

/// A mount plan. The planner makes them ([`plan()`]); one that comes from another
/// process is taken only if it makes the record on the simulator ([`Plan::received`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The steps, as they came.
    batches: Vec<Vec<Step>>,
}

/// Why steps are no plan for a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// A rule of the simulator is broken.
    #[error("simulate the plan: {0}")]
    Simulation(#[from] SimulationError),
    /// The mounts that come of it are others.
    #[error("plan the restore: {first} (and {more} more differences)")]
    Differs {
        /// In what.
        first: Box<Difference>,
        /// How many differences there are besides.
        more: usize,
    },
}

impl Plan {
    /// Takes the steps that a planner in another process makes for `mounts`, which
    /// has passed [`Mounts::check`], and looks at each batch while that one makes the next. TRUST: that process may have
    /// been taken over by an image. Whatever the steps are, they have to keep every rule of the simulator (each
    /// index and slot is one of this record, nothing of the host's is changed or moved), and
    /// what comes of them has to be the record. All of them are taken in any case.
    ///
    /// # Errors
    /// Those of `next`, besides those of the steps.
    pub fn received<E>(
        mounts: &Mounts,
        mut next: impl FnMut() -> Result<Option<Vec<Step>>, E>,
    ) -> Result<Result<Self, CheckError>, E> {
        let batches = FrozenVec::new();
        let mut simulation = Simulation::new(mounts);
        let mut kept = Ok(());
        while let Some(batch) = next()? {
            let mut steps = batches.push_get(batch).iter();
            kept = kept.and_then(|()| steps.try_for_each(|step| simulation.step(step)));
        }
        let checked = kept
            .and_then(|()| simulation.end())
            .map_err(CheckError::from)
            .and_then(|made| same(mounts, &made));
        Ok(checked.map(|()| Self {
            batches: batches.into_vec(),
        }))
    }

    /// Whether it makes `mounts`, as far as a model of the kernel can tell.
    pub fn check(&self, mounts: &Mounts) -> Result<(), CheckError> {
        same(mounts, &simulate(mounts, self.steps())?)
    }

    /// The steps, in the order in which they are run.
    pub fn steps(&self) -> impl Iterator<Item = &Step> + Clone {
        self.batches.iter().flatten()
    }
}

fn same(mounts: &Mounts, made: &Mounts) -> Result<(), CheckError> {
    let mut differences = diff(mounts, made).into_iter();
    match differences.next() {
        None => Ok(()),
        Some(first) => Err(CheckError::Differs {
            first: Box::new(first),
            more: differences.len(),
        }),
    }
}

impl fmt::Display for Plan {
    /// One step a line, numbered from 1.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut numbered = self.steps().enumerate();
        numbered.try_for_each(|(at, step)| writeln!(f, "{:>5}  {step}", at + 1))
    }
}

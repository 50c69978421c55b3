//! Plans: what the executor will do, as data.
//!
//! Kind: pure. A plan is a list of steps from a closed vocabulary over symbolic
//! slots. Only the planner can make one; anyone can print, simulate or run it.

mod create;
mod lock;
mod planner;
mod propagate;
mod step;

pub use lock::{Held, settle_locks};
pub use planner::{PlanError, attach_order, plan};
pub use step::{Slot, Step};

use crate::simulate::{SimulationError, simulate};
use crux_image::diff::{Difference, diff};
use crux_image::mounts::Mounts;
use std::fmt;

/// A mount plan. The planner makes them ([`plan()`]); one that comes from another
/// process is taken only if it makes the record on the simulator ([`Plan::received`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<Step>,
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
    /// Takes the steps that a planner in another process has made for `mounts`, which
    /// has passed [`Mounts::check`]. TRUST: that process may have been taken over by an
    /// image. Whatever the steps are, they have to keep every rule of the simulator (each
    /// index and slot is one of this record, nothing of the host's is changed or moved), and
    /// what comes of them has to be the record.
    pub fn received(mounts: &Mounts, steps: Vec<Step>) -> Result<Self, CheckError> {
        let plan = Self { steps };
        plan.check(mounts)?;
        Ok(plan)
    }

    /// Whether it makes `mounts`, as far as a model of the kernel can tell.
    pub fn check(&self, mounts: &Mounts) -> Result<(), CheckError> {
        let made = simulate(mounts, &self.steps)?;
        let mut differences = diff(mounts, &made).into_iter();
        match differences.next() {
            None => Ok(()),
            Some(first) => Err(CheckError::Differs {
                first: Box::new(first),
                more: differences.len(),
            }),
        }
    }

    /// The steps, for another process.
    pub fn into_steps(self) -> Vec<Step> {
        self.steps
    }

    /// The steps, in the order in which they are run.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

impl fmt::Display for Plan {
    /// One step a line, numbered from 1.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut numbered = self.steps.iter().enumerate();
        numbered.try_for_each(|(at, step)| writeln!(f, "{:>5}  {step}", at + 1))
    }
}

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
use crux_image::mounts::Mounts;
use std::fmt;

/// A mount plan. The planner makes them ([`plan()`]); one that comes from another
/// process is taken only if the simulator accepts it ([`Plan::received`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<Step>,
}

impl Plan {
    /// Takes the steps that a planner in another process has made for `mounts`, which
    /// has passed [`Mounts::check`]. TRUST: that process may have been taken over by an
    /// image. Whatever the steps are, they have to keep every rule of the simulator: each
    /// index and slot is one of this record, nothing of the host's is changed or moved.
    pub fn received(mounts: &Mounts, steps: Vec<Step>) -> Result<Self, SimulationError> {
        simulate(mounts, &steps)?;
        Ok(Self { steps })
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

//! Plans: what the executor will do, as data.
//!
//! Kind: pure. A plan is a list of steps from a closed vocabulary over symbolic
//! slots. Only the planner can make one; anyone can print, simulate or run it.

mod create;
mod planner;
mod propagate;
mod step;

pub use planner::{PlanError, attach_order, plan};
pub use step::{Slot, Step};

use std::fmt;

/// A mount plan. There is no way to make one but [`plan()`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<Step>,
}

impl Plan {
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

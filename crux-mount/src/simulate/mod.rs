//! Mount plans, run on a model of the kernel instead of on a kernel.
//!
//! Kind: pure. The model follows fs/namespace.c and fs/pnode.c
//! (mount_namespaces(7), move_mount(2), pivot_root(2)), not the planner, so that
//! it checks the planner: for every image `simulate(plan(mounts)) == mounts` up
//! to ids. What it cannot know is left to the executor's verifier: whether names
//! exist in file systems, what a granted source really is.

mod checks;
mod error;
mod files;
mod groups;
mod kernel;
mod outcome;
mod run;
mod slots;

#[cfg(test)]
mod kernel_rules_test;
#[cfg(test)]
mod kernel_test;
#[cfg(test)]
mod plan_test;
#[cfg(test)]
mod propagation_test;
#[cfg(test)]
mod rules_test;
#[cfg(test)]
mod scene;

pub use error::{Place, Rule, SimulationError};

use crate::plan::Step;
use crux_image::mounts::Mounts;

/// Runs `steps` on the model and yields the mounts of the container that come of it.
///
/// `mounts` is where facts come from: what the origins are, of what kind the
/// files are that mounts show, which process roots and owners there are. Parents,
/// mountpoints, what a mount shows, attributes and propagation come from the steps alone.
///
/// # Errors
/// The first step that the kernel would refuse, or that does something that plans
/// must not do, or what is missing at the end.
pub fn simulate<'a>(
    mounts: &'a Mounts,
    steps: impl IntoIterator<Item = &'a Step>,
) -> Result<Mounts, SimulationError> {
    let mut simulation = Simulation::new(mounts);
    let mut steps = steps.into_iter();
    steps.try_for_each(|step| simulation.step(step))?;
    simulation.end()
}

/// The same, for a plan that comes little by little.
#[derive(Debug)]
pub struct Simulation<'a> {
    run: run::Run<'a>,
    /// How many steps were run.
    steps: usize,
}

impl<'a> Simulation<'a> {
    /// At the beginning of a plan for `mounts`.
    pub fn new(mounts: &'a Mounts) -> Self {
        Self {
            run: run::Run::new(mounts),
            steps: 0,
        }
    }

    /// Runs the next step.
    pub fn step(&mut self, step: &'a Step) -> Result<(), SimulationError> {
        self.run.step(step).map_err(|rule| SimulationError {
            step: self.steps,
            what: step.to_string(),
            rule,
        })?;
        self.steps += 1;
        Ok(())
    }

    /// The mounts of the container that have come of the steps.
    pub fn end(self) -> Result<Mounts, SimulationError> {
        outcome::read(self.run).map_err(|rule| SimulationError {
            step: self.steps,
            what: "the end of the plan".into(),
            rule,
        })
    }
}

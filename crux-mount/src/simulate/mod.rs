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
pub fn simulate(mounts: &Mounts, steps: &[Step]) -> Result<Mounts, SimulationError> {
    let mut run = run::Run::new(mounts);
    for (at, step) in steps.iter().enumerate() {
        run.step(step).map_err(|rule| SimulationError {
            step: at,
            what: step.to_string(),
            rule,
        })?;
    }
    outcome::read(run).map_err(|rule| SimulationError {
        step: steps.len(),
        what: "the end of the plan".into(),
        rule,
    })
}

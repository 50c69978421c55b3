//! Plans: what the executor will do, as data.
//!
//! Kind: pure. A plan is a list of steps from a closed vocabulary over symbolic
//! slots. Only the planner can make one; anyone can print, simulate or run it.

mod step;

pub use step::{Slot, Step};

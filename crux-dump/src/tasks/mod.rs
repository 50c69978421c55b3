//! Capturing processes: what a frozen task tree is made of, as the record of tasks has it.
//!
//! Kind: effect. The tasks are stopped while this runs; nothing is decided about
//! them here but what the record can hold.

pub mod files;
pub mod memory;
mod objects;
mod obstacle;
mod places;
mod same;
mod target;

pub use objects::Objects;
pub use obstacle::{Part, TaskCause, TaskObstacle};
pub use places::Places;
pub use same::{Distinct, Shared};
pub use target::Target;

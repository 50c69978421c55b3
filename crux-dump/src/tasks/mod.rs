//! Capturing processes: what a frozen task tree is made of, as the record of tasks has it.
//!
//! Kind: effect. The tasks are stopped while this runs; nothing is decided about
//! them here but what the record can hold.

mod ask;
mod attributes;
mod calls;
mod capture;
mod cgroups;
pub mod files;
mod for_children;
mod freeze;
mod interview;
mod ipc;
pub mod memory;
mod namespaces;
mod objects;
mod obstacle;
mod original;
mod places;
mod proc_text;
mod processes;
mod procs;
mod programs;
mod questions;
mod removed;
mod same;
mod seccomp;
mod signals;
mod target;
mod threads;
mod users;

pub use ask::AskError;
pub use capture::{CaptureError, Captured, Surroundings, capture};
pub(crate) use freeze::stop_one;
pub use freeze::{FreezeError, Frozen, Held, Release, freeze};
pub use interview::interview;
pub use ipc::Ipc;
pub use objects::Objects;
pub use obstacle::{Part, TaskCause, TaskObstacle};
pub use places::Places;
pub use same::{Distinct, Shared};
pub use seccomp::Filters;
pub use target::Target;
pub use threads::ThreadError;

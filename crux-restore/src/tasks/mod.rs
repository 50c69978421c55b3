//! Tasks: from the record of an image to processes that run.
//!
//! `plan` is what the planner makes, and the roles carry out; `compile` (pure) makes it.

pub mod compile;
pub mod plan;

//! Tasks: from the record of an image to processes that run.
//!
//! `plan` is what the planner makes, and the roles carry out; `compile` (pure) makes it.
//! `birth` is the forker's part, `memory` and `trace` are the tracer's (effects).

pub(crate) mod birth;
pub mod compile;
pub(crate) mod memory;
pub mod plan;
pub(crate) mod sys;
pub(crate) mod trace;

#[cfg(test)]
mod tests;

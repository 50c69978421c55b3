//! Tasks: from the record of an image to processes that run.
//!
//! `plan` is what the planner makes, and the roles carry out; `compile` (pure) makes it, knowing
//! of the `machine` what is observed. `restore` is the supervisor's part, `birth` the forker's,
//! `memory` and `trace` are the tracer's (effects); `verify` (pure) compares what came of it; `wanted` (pure) is what
//! they had from outside.

pub(crate) mod birth;
pub(crate) mod cgroups;
pub mod compile;
pub(crate) mod machine;
pub(crate) mod memory;
pub(crate) mod needs;
pub mod plan;
pub(crate) mod restore;
pub(crate) mod sys;
pub(crate) mod trace;
pub(crate) mod verify;
pub(crate) mod wanted;

#[cfg(test)]
mod tests;

//! The processes of a restore, each with one job (docs/privileges.md).
//!
//! `spec` (pure) is what each holds, `message` what they say to each other;
//! `planner` decodes the image and judges what came of it, `builder` changes the
//! kernel, `forker` makes COMMAND or the first task, `tracer` follows tasks. The supervisor is `restore`.

pub(crate) mod builder;
pub(crate) mod cgroups;
pub(crate) mod forker;
pub(crate) mod hierarchies;
pub(crate) mod message;
pub(crate) mod planner;
pub mod spec;
pub(crate) mod tracer;

pub use planner::plan_here;

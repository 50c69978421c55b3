//! Writes a running container to an image directory: collect, judge, write.
//!
//! The executable is a thin shell around this library; tests drive the parts.

pub mod cli;
pub mod collect;
pub mod contents;
mod dump;
pub mod failure;
pub mod judge;
pub mod network;
mod privilege;
pub mod report;
pub mod roles;
mod sys;
pub mod tasks;

pub use dump::run;

//! Writes a running container to an image directory: collect, judge, write.
//!
//! The executable is a thin shell around this library; tests drive the parts.

pub mod collect;
pub mod contents;
mod dump;
pub mod judge;
mod sys;
mod write;

pub use dump::{Dumped, dump, look};

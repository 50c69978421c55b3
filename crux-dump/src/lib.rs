//! Writes a running container to an image directory: collect, judge, write.
//!
//! The executable is a thin shell around this library; tests drive the parts.

pub mod contents;
pub mod judge;

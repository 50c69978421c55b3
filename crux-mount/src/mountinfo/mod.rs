//! `/proc/PID/mountinfo` (proc_pid_mountinfo(5)) as observed mounts.
//!
//! Kind: pure. It takes bytes and gives [`Entry`]s; [`parse`] drops nothing: what it does not know it
//! keeps by name, for the judge to refuse. It does not say whether the
//! entries make sense together, and it reads no file (`observe` does).

mod entry;
mod escape;
mod format;
mod parse;
#[cfg(test)]
mod tests;

pub use entry::{Entry, Root, SuperOption, Unknown};
pub use format::format;
pub use parse::{ParseError, Problem, parse};

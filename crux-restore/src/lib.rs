//! crux-restore: load, plan, execute, verify, release.
//!
//! `restore` is the frame; what it calls is in the order in which it happens:
//! `grants` (pure), `sources` (effect), `builder` (effect), `release` (effect).

pub mod cli;
pub mod failure;
mod grants;
pub mod restore;

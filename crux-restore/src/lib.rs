//! crux-restore: load, plan, execute, verify, release.
//!
//! `restore` is the frame; what it calls is in the order in which it happens:
//! `grants` (pure), `sources`, `builder` and `contents`, `release` (effects).

pub mod capabilities;
pub mod cli;
pub mod contents;
pub mod failure;
mod grants;
mod host;
mod privilege;
mod release;
mod report;
pub mod restore;
pub mod roles;
mod sources;
pub mod tasks;
mod terminal;

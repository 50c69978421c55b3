//! crux-restore: load, plan, execute, verify, release.
//!
//! `restore` is the frame; what it calls is in the order in which it happens:
//! `grants` (pure), `sources` and `files`, `builder` and `contents`, `console`, `release` (effects).

pub mod capabilities;
pub mod cli;
mod console;
pub mod contents;
pub mod failure;
mod files;
mod grants;
mod host;
mod inward;
mod privilege;
mod release;
mod report;
pub mod restore;
pub mod roles;
mod sources;
pub mod tasks;
mod terminal;

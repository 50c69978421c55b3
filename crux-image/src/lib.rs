//! The image format of crux: the records, and the only code that encodes and
//! decodes them.
//!
//! An image is a directory. Readers treat it as hostile: bounds, then meaning,
//! then effect. This crate depends on nothing of ours; `docs/format.md` is normative.

pub mod codec;
pub mod contents;
pub mod diff;
pub mod directory;
pub mod error;
pub mod inventory;
pub mod member;
pub mod mounts;
pub mod path;
pub mod render;
pub mod tasks;

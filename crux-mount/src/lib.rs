//! Mount tables: read, modelled, planned, simulated, executed and verified.
//!
//! Types are separate for each phase: *observed* (`mountinfo`, `observe`),
//! *recorded* (`crux_image::mounts`), *planned* (`plan`), *live* (`verify`).
//! `docs/mounts.md` is the long form.

#[cfg(any(test, feature = "arbitrary"))]
pub mod arbitrary;
pub mod exec;
pub mod features;
pub mod filesystems;
pub mod hierarchies;
pub mod ids;
pub mod mountinfo;
pub mod observe;
pub mod plan;
pub mod simulate;
pub mod survey;
pub mod sys;
pub mod verify;

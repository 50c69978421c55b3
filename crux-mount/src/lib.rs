//! Mount tables: read, modelled, planned, simulated, executed and verified.
//!
//! Types are separate for each phase: *observed* (`mountinfo`, `statmount`),
//! *recorded* (`crux_image::mounts`), *model* (`model`: recorded and checked),
//! *planned* (`plan`), *live* (`verify`). `docs/mounts.md` is the long form.

pub mod features;
pub mod ids;
pub mod mountinfo;
pub mod observe;
pub mod plan;
pub mod sys;

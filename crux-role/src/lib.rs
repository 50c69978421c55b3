//! Processes with one job each, and no more privilege than that job takes.
//!
//! A [`Role`] is forked before anything untrusted is opened. It keeps the
//! capabilities of its list, its own descriptors, and the system calls of its
//! [`Filter`]; it speaks over a [`Channel`] in typed, bounded messages. What each
//! role of crux holds is in `docs/privileges.md`; this crate only puts it in force.

mod capabilities;
mod channel;
mod check;
mod filter;
mod grounds;
mod landlock;
mod need;
mod role;
mod sys;

pub use capabilities::{Bounding, Capability, CapsError, Held, confine, lower, without};
pub use channel::{Bound, Channel, ChannelError};
pub use check::{CapabilityRow, FeatureRow, Report};
pub use filter::{Condition, Filter, FilterError, Program};
pub use grounds::Grounds;
pub use need::{Need, Without, file_capabilities, lacking, named};
pub use role::{Access, Beneath, Files, Role, RoleError, Spec, Stdio, close_inherited};

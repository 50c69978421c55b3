//! Real containers for the tests and for the demo, and what judges them.
//!
//! A [`Lab`] is a process of its own that plays the host: a private copy of the
//! machine's mounts, in which the executables run. A [`Container`] lives in it.
//! [`Table`] and [`reach`] compare containers without any of crux's own code, so a
//! mistake there cannot hide itself here. Nothing in this crate is part of the product.

pub mod blueprint;
mod cgroups;
mod compare;
mod container;
mod debian;
mod detached;
mod lab;
mod lingering;
pub mod looks;
mod lxc;
pub mod mounting;
mod patience;
pub mod privileges;
mod probe;
mod programs;
pub mod random;
mod resources;
mod rootfs;
mod runc;
pub mod scenario;
mod sys;
mod table;
pub mod terminals;
pub mod tracing;
pub mod workload;

pub use cgroups::{CGROUP_ROOT, Cgroups};
pub use compare::{differences, differences_of_all};
pub use container::{Container, Enter, Program, Site, Spec};
pub use detached::Detached;
pub use lab::{Lab, Rights, Setup, Sharing};
pub use lxc::{Lxc, busybox_is_up, child_on};
pub use patience::patience;
pub use probe::{Reach, reach, reach_all};
pub use programs::{Output, Programs, Running, children, until_said};
pub use resources::{new_mount_namespace, peak_of_children};
pub use runc::Runc;
pub use sys::{in_child, keep_to_streams};
pub use table::{Entry, Table};
pub use terminals::Terminals;

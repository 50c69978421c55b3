//! Tracing the tasks of a restore, from the birth of the first to the release of all.
//!
//! `follow` brings them through their scripts, `thread` does from outside what no script can
//! (`remote` makes the calls that this takes), `settings` is what goes through /proc,
//! `run` is the order of it all.

mod error;
mod follow;
mod remote;
mod run;
mod seccomp;
mod settings;
mod stopped;
mod thread;

pub(crate) use error::TaskError;
#[cfg(test)]
pub(crate) use follow::Tasks;
pub(crate) use run::{Finished, carry_out};
pub(crate) use thread::Leaving;
#[cfg(test)]
pub(crate) use thread::{Extent, finish};

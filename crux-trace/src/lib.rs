//! Living tasks, as their tracer sees them.
//!
//! A thread that is traced is either [`Running`] or [`Stopped`], and only a stopped one
//! has registers. Each stop says what it is ([`Stop`]): one stop for one request does not
//! hold. All requests of one thread come from the thread that seized it (ptrace(2)).
//!
//! This crate decides nothing about a task; it depends on nothing of ours.

mod error;
mod memory;
mod options;
mod pidfd;
mod running;
mod state;
mod stop;
mod stopped;
mod sys;

pub use error::TraceError;
pub use memory::{Memory, read_memory, write_memory};
pub use options::Options;
pub use pidfd::Pidfd;
pub use running::{Running, Waited, wait_any};
pub use state::{InstalledFilter, Queue, Registers, RseqConfiguration, SIGINFO_BYTES, SigInfo};
pub use stop::{Ended, Stop, Tid};
pub use stopped::{Resume, Stopped};

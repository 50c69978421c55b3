//! How a plan fails.
//!
//! Kind: pure.

use crate::plan::Slot;
use crate::sys::SysError;
use crux_image::path::{Escaped, RelPath};
use rustix::io::Errno;

/// Which part of running a plan failed.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// Before the first step.
    #[error("prepare the mount plan: {0}")]
    Prepare(StepError),
    /// A step.
    #[error("run step {number} ({step}): {error}")]
    Step {
        /// From 1, as the plan is printed.
        number: usize,
        /// The step in words.
        step: String,
        /// Why.
        error: StepError,
    },
    /// After the last step.
    #[error("take over the restored namespaces: {0}")]
    Finish(StepError),
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A system call.
    #[error(transparent)]
    Sys(#[from] SysError),
    /// A call outside `sys`.
    #[error("{call}: {}", std::io::Error::from(*.errno))]
    Call {
        /// Name and object.
        call: String,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The planner's invariant that a slot is filled before it is used.
    #[error("{0} holds no mount")]
    EmptySlot(Slot),
    /// The invariant that every external origin has a source.
    #[error("no source was granted")]
    NotGranted,
    /// The contents.
    #[error("fill the file system: {0}")]
    Fill(String),
    /// A process that was made for one step.
    #[error("in a process made for this step: {0}")]
    Child(String),
    /// The wrong tree was detached, or none.
    #[error("pivot: {0}")]
    Pivot(&'static str),
    /// A pty number that is taken by something else.
    #[error("make pty {0}: the instance gave out other numbers")]
    Terminal(u32),
}

/// For `map_err` on calls of rustix that take a path.
pub(super) fn call(name: &str, path: &RelPath) -> impl FnOnce(Errno) -> StepError {
    let call = format!("{name}(\"{}\")", Escaped(path.as_bytes()));
    move |errno| StepError::Call { call, errno }
}

/// For `map_err` on calls with nothing to show but their name.
pub(super) fn named(call: &str) -> impl FnOnce(Errno) -> StepError {
    let call = call.to_owned();
    move |errno| StepError::Call { call, errno }
}

//! What goes wrong with tasks on their way.
//!
//! Kind: pure.

use crux_script::ScriptId;
use crux_trace::{Ended, TraceError};
use rustix::io::Errno;

/// Why tasks are not restored. All of them are ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    /// A line did not give what was expected.
    #[error("restore tasks: {0}")]
    Failed(String),
    /// A task has gone.
    #[error("restore tasks: {task} {how}")]
    Ended {
        /// Which.
        task: String,
        /// How.
        how: String,
    },
    /// A task got a signal that no script raises.
    #[error("restore tasks: {task} got signal {signal} at {place}")]
    Signal {
        /// Which.
        task: String,
        /// Which signal.
        signal: i32,
        /// What it was doing.
        place: String,
    },
    /// There are no tasks left.
    #[error("restore tasks: they have all ended")]
    Nobody,
    /// The plan asks for something about a script that no task runs.
    #[error("restore tasks: no task runs script {}", .0.0)]
    Missing(ScriptId),
    /// A call in a task, when all its lines had run.
    #[error("finish {task}: {call}: {errno}")]
    Call {
        /// Which.
        task: String,
        /// Which call.
        call: String,
        /// Why not.
        errno: crux_script::Errno,
    },
    /// A process runs on.
    #[error("finish {task}: signal {signal} did not stop it")]
    NotStopped {
        /// Which.
        task: String,
        /// By which signal it was to be stopped.
        signal: i32,
    },
    /// Something that is set from outside.
    #[error("restore tasks: {call}: {}", std::io::Error::from(*.errno))]
    Setting {
        /// Which call.
        call: String,
        /// Why not.
        errno: Errno,
    },
    /// A call of the tracer's.
    #[error("trace tasks: {0}")]
    Trace(#[from] TraceError),
    /// Likewise.
    #[error("trace tasks: {call}: {}", std::io::Error::from(*.errno))]
    Own {
        /// Which call.
        call: &'static str,
        /// Why not.
        errno: Errno,
    },
}

impl TaskError {
    pub(super) fn ended(task: String, ended: Ended) -> Self {
        let how = match ended {
            Ended::Exited(status) => format!("ended early, with status {status}"),
            Ended::Killed(signal) => format!("was ended by signal {signal}"),
        };
        Self::Ended { task, how }
    }
}

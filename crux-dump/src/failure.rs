//! How a dump fails: the exit codes of `docs/exit-codes.md`, one line on stderr, and
//! obstacles with the options that would help.
//!
//! Kind: pure.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why there is no image.
#[derive(Debug)]
pub struct Failure {
    /// Which exit code.
    pub exit: Exit,
    /// One line with the whole cause.
    pub message: String,
    /// What stands in the way, where that is the cause.
    pub obstacles: Vec<Told>,
}

/// An obstacle in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What it is.
    pub what: String,
    /// Options that would help.
    pub options: Vec<String>,
}

/// Exit codes with a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The command line cannot be.
    Usage = 2,
    /// The target has something that is not supported. Nothing was done.
    Obstacle = 3,
    /// This machine or process lacks something. Nothing was done.
    Lacking = 4,
    /// Failed; nothing is left behind.
    Undone = 6,
    /// Failed, and the image is there.
    Uncertain = 7,
}

impl Failure {
    /// A failure with an exit code.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
            obstacles: Vec::new(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Gives an error an exit code on its way out.
pub(crate) trait OrExit<T> {
    /// Turns the error into a [`Failure`] with this exit code.
    fn or_exit(self, exit: Exit) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(exit, error))
    }
}

//! How a restore fails: the exit codes of `docs/exit-codes.md` and one line on stderr.
//!
//! Kind: pure.

use std::fmt;

/// Why there is no restored container.
#[derive(Debug)]
pub struct Failure {
    /// Which exit code.
    pub exit: Exit,
    /// One line with the whole cause, and more lines where there is a list.
    pub message: String,
}

/// Exit codes with a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The command line does not fit the image or the host.
    Usage = 2,
    /// Something is asked for that has not been granted, or cannot be restored. Nothing was done.
    Obstacle = 3,
    /// This machine or process lacks something. Nothing was done.
    Lacking = 4,
    /// The image is damaged, hostile or of a newer format.
    Image = 5,
    /// Failed; everything is undone.
    Undone = 6,
    /// Failed; something may be left, the message says what.
    Uncertain = 7,
}

impl Failure {
    /// A failure with an exit code.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
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

//! A request that the kernel refused.
//!
//! Kind: pure.

use rustix::io::Errno;

/// A call with its arguments, and the kernel's answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {errno}")]
pub struct TraceError {
    /// As strace shows it.
    pub call: String,
    /// Why not.
    pub errno: Errno,
}

impl TraceError {
    /// The task has gone, or is not stopped any more: it was killed meanwhile.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.errno == Errno::SRCH || self.errno == Errno::CHILD
    }
}

/// Words for a call that failed. They are made only then.
pub(crate) fn named<T>(
    result: Result<T, Errno>,
    call: impl FnOnce() -> String,
) -> Result<T, TraceError> {
    result.map_err(|errno| TraceError {
        call: call(),
        errno,
    })
}

//! A process that is being dumped.
//!
//! Kind: effect: it owns a descriptor.

use crux_mount::sys::SysError;
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// A frozen process. Positions in a list of these are those of
/// [`Tasks::processes`](crux_image::tasks::Tasks): a parent stands before its children.
#[derive(Debug)]
pub struct Target {
    /// Its number, as the dumper sees it.
    pub pid: u32,
    /// `/proc/PID`, opened once.
    pub directory: OwnedFd,
    /// Its parent in the list; none for the first.
    pub parent: Option<usize>,
    /// It has ended, and nobody has asked how: there is nothing in it.
    pub zombie: bool,
}

impl Target {
    /// Another descriptor of the same process.
    pub(super) fn try_clone(&self) -> Result<Self, SysError> {
        let directory = self.directory.try_clone();
        let failed = |error: std::io::Error| {
            SysError::new(
                "fcntl(F_DUPFD_CLOEXEC)",
                Errno::from_io_error(&error).unwrap_or(Errno::MFILE),
            )
        };
        Ok(Self {
            directory: directory.map_err(failed)?,
            ..*self
        })
    }
}

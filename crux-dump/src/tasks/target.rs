//! A process that is being dumped.
//!
//! Kind: effect: it owns a descriptor.

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

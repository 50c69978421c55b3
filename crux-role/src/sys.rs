//! The system calls of this crate that need unsafe code.
//!
//! Kind: effect.
#![allow(unsafe_code)]

use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Closes every descriptor from `first` on but `kept` (close_range(2)). For the child of a
/// fork that never returns to its parent's frames: nothing that these
/// descriptors belonged to is used or dropped after.
pub(crate) fn close_all_but(first: u32, kept: BorrowedFd<'_>) -> Result<(), Errno> {
    let kept = kept.as_raw_fd() as u32;
    if kept > first {
        close_range(first, kept - 1)?;
    }
    close_range(first.max(kept + 1), u32::MAX)
}

/// Closes every descriptor from `first` on. For the beginning of a program, before it has any.
pub(crate) fn close_from(first: u32) -> Result<(), Errno> {
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: no memory is passed. The caller vouches that no owner of a closed descriptor acts on it again.
    let result = unsafe { libc::close_range(first, last, 0) };
    match result {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

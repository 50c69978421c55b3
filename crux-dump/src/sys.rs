//! The system calls of this crate that need unsafe code.
//!
//! Kind: effect.
#![allow(unsafe_code)]

use crux_mount::sys::SysError;
use rustix::io::Errno;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `NS_GET_USERNS` of ioctl_nsfs(2): `_IO(0xb7, 1)`.
const NS_GET_USERNS: libc::Ioctl = 0xb701;

/// The user namespace that owns a namespace.
pub(crate) fn owning_user_namespace(namespace: &OwnedFd) -> Result<OwnedFd, SysError> {
    let fd = namespace.as_raw_fd();
    // SAFETY: this request takes no argument; the kernel reads and writes no memory of ours. The
    // descriptor is borrowed for the call.
    let result = unsafe { libc::ioctl(fd, NS_GET_USERNS) };
    if result < 0 {
        let errno = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO);
        return Err(SysError::new(format!("ioctl({fd}, NS_GET_USERNS)"), errno));
    }
    // SAFETY: the kernel made this descriptor for us, close-on-exec, and nobody else has its number.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

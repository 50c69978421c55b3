//! The one system call that rustix lacks.
//!
//! Kind: effect.
#![allow(unsafe_code)]

use rustix::io::Errno;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Makes a mount read-only and keeps it from updating access times
/// (mount_setattr(2), Linux 5.12).
pub(super) fn set_quiet(mount: BorrowedFd<'_>) -> Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOATIME,
        attr_clr: libc::MOUNT_ATTR__ATIME,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the path is a NUL-terminated constant; `attributes` is owned by this
    // function, lives through the call, has the size given, and the kernel only reads
    // it; the descriptor is borrowed for longer than the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn mount_attr_has_the_layout_of_version_0() {
        assert_eq!(size_of::<libc::mount_attr>(), 32);
    }
}

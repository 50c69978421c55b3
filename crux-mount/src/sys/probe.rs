//! Asking whether the kernel knows a call or a flag, without an effect.
//!
//! Kind: effect. Each call is made so that it has to fail, or to change nothing;
//! the errno tells.

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::MoveMountFlags;

/// Whether openat2(2) is there (Linux 5.6).
pub fn knows_openat2() -> bool {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat2(CWD, c".", flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
    !matches!(opened, Err(Errno::NOSYS))
}

/// A flag of move_mount(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveMountFlag {
    /// `MOVE_MOUNT_SET_GROUP`
    SetGroup,
    /// `MOVE_MOUNT_BENEATH`
    Beneath,
}

/// Whether move_mount(2) takes a flag. Flags are checked before paths, and an empty path without
/// the flag that allows one is `ENOENT`. Without `CAP_SYS_ADMIN` (`EPERM`) the answer is no.
pub fn knows_move_mount_flag(flag: MoveMountFlag) -> bool {
    let flag = match flag {
        MoveMountFlag::SetGroup => MoveMountFlags::MOVE_MOUNT_SET_GROUP,
        MoveMountFlag::Beneath => MoveMountFlags::MOVE_MOUNT_BENEATH,
    };
    rustix::mount::move_mount(CWD, c"", CWD, c"", flag) == Err(Errno::NOENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openat2_is_known_on_every_supported_kernel() {
        assert!(knows_openat2());
    }
}

//! Making file systems through a context (fsopen(2), fsconfig(2), fsmount(2), fspick(2)).
//!
//! Kind: effect. When a call fails, the kernel's own words are read from the
//! context's log and put into the error: the errno alone is most often `EINVAL`.

use super::error::SysError;
use crux_image::path::Escaped;
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// More messages than a context keeps (the kernel's ring has eight).
const LOG_LIMIT: usize = 16;

/// A context for a new file system of type `name` (`tmpfs`, `fuse.x` is not one).
pub fn fsopen(name: &str) -> Result<OwnedFd, SysError> {
    rustix::mount::fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|errno| SysError::new(format!("fsopen({name:?}, FSOPEN_CLOEXEC)"), errno))
}

/// A context for the superblock of an existing mount, `mount` being its root
/// (fspick(2)): for [`fsconfig_reconfigure`].
pub fn fspick(mount: impl AsFd) -> Result<OwnedFd, SysError> {
    let flags = FsPickFlags::FSPICK_CLOEXEC
        | FsPickFlags::FSPICK_EMPTY_PATH
        | FsPickFlags::FSPICK_NO_AUTOMOUNT;
    let mount = mount.as_fd();
    rustix::mount::fspick(mount, c"", flags).map_err(|errno| {
        let mount = mount.as_raw_fd();
        let flags = "FSPICK_CLOEXEC|FSPICK_NO_AUTOMOUNT|FSPICK_EMPTY_PATH";
        SysError::new(format!("fspick({mount}, \"\", {flags})"), errno)
    })
}

/// Sets an option `key=value`. The kernel takes at most 255 bytes of value.
pub fn fsconfig_string(fs: impl AsFd, key: &[u8], value: &[u8]) -> Result<(), SysError> {
    let fs = fs.as_fd();
    rustix::mount::fsconfig_set_string(fs, key, value).map_err(explained(fs, || {
        format!("FSCONFIG_SET_STRING, {}, {}", quoted(key), quoted(value))
    }))
}

/// Sets an option without a value.
pub fn fsconfig_flag(fs: impl AsFd, key: &[u8]) -> Result<(), SysError> {
    let fs = fs.as_fd();
    rustix::mount::fsconfig_set_flag(fs, key).map_err(explained(fs, || {
        format!("FSCONFIG_SET_FLAG, {}", quoted(key))
    }))
}

/// Sets an option whose value is an open file (overlay layers since Linux 6.13).
pub fn fsconfig_fd(fs: impl AsFd, key: &[u8], value: impl AsFd) -> Result<(), SysError> {
    let (fs, value) = (fs.as_fd(), value.as_fd());
    rustix::mount::fsconfig_set_fd(fs, key, value).map_err(explained(fs, || {
        format!("FSCONFIG_SET_FD, {}, {}", quoted(key), value.as_raw_fd())
    }))
}

/// Makes the superblock.
pub fn fsconfig_create(fs: impl AsFd) -> Result<(), SysError> {
    let fs = fs.as_fd();
    rustix::mount::fsconfig_create(fs).map_err(explained(fs, || "FSCONFIG_CMD_CREATE".into()))
}

/// Changes the superblock to the options set so far: all flags that are not set are cleared.
pub fn fsconfig_reconfigure(fs: impl AsFd) -> Result<(), SysError> {
    let fs = fs.as_fd();
    rustix::mount::fsconfig_reconfigure(fs)
        .map_err(explained(fs, || "FSCONFIG_CMD_RECONFIGURE".into()))
}

/// A detached mount of the root of the file system that was made, with default attributes (`relatime` and nothing else).
pub fn fsmount(fs: impl AsFd) -> Result<OwnedFd, SysError> {
    let fs = fs.as_fd();
    rustix::mount::fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map_err(
        |errno| {
            SysError::new(
                format!("fsmount({}, FSMOUNT_CLOEXEC, 0)", fs.as_raw_fd()),
                errno,
            )
            .with_kernel_log(log(fs))
        },
    )
}

fn explained(
    fs: BorrowedFd<'_>,
    arguments: impl FnOnce() -> String,
) -> impl FnOnce(Errno) -> SysError {
    move |errno| {
        SysError::new(
            format!("fsconfig({}, {})", fs.as_raw_fd(), arguments()),
            errno,
        )
        .with_kernel_log(log(fs))
    }
}

/// The messages of a context, oldest first. Each read(2) takes one; `ENODATA` is the end.
fn log(fs: BorrowedFd<'_>) -> Vec<String> {
    let mut buffer = [0; 1024];
    let mut messages = Vec::new();
    while messages.len() < LOG_LIMIT {
        match rustix::io::read(fs, &mut buffer) {
            Ok(length @ 1..) => {
                messages.push(Escaped(buffer[..length].trim_ascii_end()).to_string());
            }
            _ => break,
        }
    }
    messages
}

fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", Escaped(bytes))
}

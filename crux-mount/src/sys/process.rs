//! What is behind a directory descriptor of `/proc/PID`.
//!
//! Kind: effect. The descriptor was opened once and stays that process's: a reused pid
//! gives errors (`ESRCH`, `ENOENT`), never another process.

use super::NamespaceKind;
use super::error::{SysError, call};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Whether what is mounted on this process's /proc is a procfs (fstatfs(2)). CVE-2025-52881: all
/// that is read and written there would be anything otherwise.
pub fn proc_is_procfs() -> Result<bool, SysError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::openat(rustix::fs::CWD, "/proc", flags, Mode::empty())
        .map_err(call(|| "open(\"/proc\")".into()))?;
    let stat = rustix::fs::fstatfs(&proc).map_err(call(|| "fstatfs(\"/proc\")".into()))?;
    Ok(stat.f_type == libc::PROC_SUPER_MAGIC)
}

/// Opens a regular file of `/proc/PID` for reading.
pub fn open_process_file(process: BorrowedFd<'_>, name: &'static str) -> Result<File, SysError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(process, name, flags, "O_RDONLY|O_NOFOLLOW|O_CLOEXEC").map(File::from)
}

/// Opens the root directory of a process as a place (`O_PATH`). `/proc/PID/root` is a magic link: it
/// leads to the directory itself, across namespaces, and no path is resolved.
pub fn open_process_root(process: BorrowedFd<'_>) -> Result<OwnedFd, SysError> {
    openat(
        process,
        "root",
        OFlags::PATH | OFlags::CLOEXEC,
        "O_PATH|O_CLOEXEC",
    )
}

/// Opens a namespace of a process, for setns(2), fstat(2) or ioctl_nsfs(2).
pub fn open_process_namespace(
    process: BorrowedFd<'_>,
    kind: NamespaceKind,
) -> Result<OwnedFd, SysError> {
    let name = match kind {
        NamespaceKind::Cgroup => "ns/cgroup",
        NamespaceKind::Ipc => "ns/ipc",
        NamespaceKind::Mount => "ns/mnt",
        NamespaceKind::Net => "ns/net",
        NamespaceKind::Pid => "ns/pid",
        NamespaceKind::Time => "ns/time",
        NamespaceKind::User => "ns/user",
        NamespaceKind::Uts => "ns/uts",
    };
    openat(
        process,
        name,
        OFlags::RDONLY | OFlags::CLOEXEC,
        "O_RDONLY|O_CLOEXEC",
    )
}

fn openat(
    process: BorrowedFd<'_>,
    name: &str,
    flags: OFlags,
    shown: &str,
) -> Result<OwnedFd, SysError> {
    rustix::fs::openat(process, name, flags, Mode::empty()).map_err(call(|| {
        format!("openat({}, {name:?}, {shown})", process.as_raw_fd())
    }))
}

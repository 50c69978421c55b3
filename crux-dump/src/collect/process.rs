//! One process, by descriptors that stay its own.
//!
//! Kind: effect. The pid is used once, to open `/proc/PID`.

use super::DumpError;
use super::capabilities;
use crate::judge::NamespaceId;
use crux_mount::sys::{self, NamespaceKind, SysError};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A process of the container, and its mount namespace.
#[derive(Debug)]
pub struct Process {
    /// Its pid, for messages.
    pub pid: u32,
    directory: OwnedFd,
    /// Its root directory, as a place.
    pub root: OwnedFd,
    /// Its mount namespace.
    pub mount_namespace: OwnedFd,
    /// Which that is.
    pub mount_id: NamespaceId,
    /// Its net namespace.
    pub net: NamespaceId,
    /// Its ipc namespace.
    pub ipc: NamespaceId,
}

const PF_KTHREAD: u64 = 0x0020_0000;

impl Process {
    /// Opens everything that is needed of a process, or says why it cannot be dumped.
    pub fn open(pid: u32) -> Result<Self, DumpError> {
        let fail = |error: SysError| match error.errno() {
            Errno::ACCESS | Errno::PERM => match capabilities::check_processes() {
                Ok(()) => DumpError::Forbidden { pid, error },
                Err(missing) => missing,
            },
            Errno::NOENT | Errno::SRCH => DumpError::NoProcess(pid),
            _ => DumpError::Process { pid, error },
        };
        let directory = open_directory(&format!("/proc/{pid}")).map_err(fail)?;
        let stat = Stat::read(directory.as_fd()).map_err(fail)?;
        if stat.flags & PF_KTHREAD != 0 {
            return Err(DumpError::KernelThread(pid));
        }
        if stat.is_zombie() {
            return Err(DumpError::Zombie(pid));
        }
        let at = directory.as_fd();
        let root = sys::open_process_root(at).map_err(fail)?;
        let mount_namespace =
            sys::open_process_namespace(at, NamespaceKind::Mount).map_err(fail)?;
        let mount_id = identity(&mount_namespace).map_err(fail)?;
        let net = namespace(at, NamespaceKind::Net).map_err(fail)?;
        let ipc = namespace(at, NamespaceKind::Ipc).map_err(fail)?;
        Ok(Self {
            pid,
            directory,
            root,
            mount_namespace,
            mount_id,
            net,
            ipc,
        })
    }

    /// Its `/proc/PID`.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Its name, which it chose itself.
    pub fn command(&self) -> Vec<u8> {
        let mut name = self.read("comm").unwrap_or_default();
        if name.last() == Some(&b'\n') {
            name.pop();
        }
        name
    }

    /// A small file of `/proc/PID`.
    pub fn read(&self, name: &'static str) -> Option<Vec<u8>> {
        read(self.directory(), name).ok()
    }

    /// Its user namespace.
    pub fn user_namespace(&self) -> Result<NamespaceId, SysError> {
        namespace(self.directory(), NamespaceKind::User)
    }
}

/// What `/proc/PID/stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) state: u8,
    pub(super) parent: u32,
    pub(super) flags: u64,
}

impl Stat {
    /// Whether it has ended.
    pub(super) fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    pub(super) fn read(process: BorrowedFd<'_>) -> Result<Self, SysError> {
        // One line of numbers and a name of at most 64 bytes, which the kernel gives out in one piece.
        let file = sys::open_process_file(process, "stat")?;
        let mut line = [0; 2048];
        let length = rustix::io::read(file, &mut line)
            .map_err(|errno| SysError::new("read(\"stat\")", errno))?;
        // An empty one is that of a process which has just ended.
        let stat = Self::parse(&line[..length]);
        stat.ok_or_else(|| SysError::new("read(\"stat\")", Errno::SRCH))
    }

    /// The name may hold anything, also parentheses: what counts comes after the last.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let after = line.iter().rposition(|&b| b == b')')? + 1;
        let mut fields = std::str::from_utf8(&line[after..])
            .ok()?
            .split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let parent = fields.next()?.parse().ok()?;
        let flags = fields.nth(4)?.parse().ok()?;
        Some(Self {
            state,
            parent,
            flags,
        })
    }
}

pub(super) fn open_directory(path: &str) -> Result<OwnedFd, SysError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
        .map_err(|errno| SysError::new(format!("open(\"{path}\", O_PATH|O_DIRECTORY)"), errno))
}

/// A namespace of a process.
pub(super) fn open_namespace(process: &Process, kind: NamespaceKind) -> Result<OwnedFd, SysError> {
    sys::open_process_namespace(process.directory(), kind)
}

/// The identity of a namespace of a process.
pub(super) fn namespace(
    process: BorrowedFd<'_>,
    kind: NamespaceKind,
) -> Result<NamespaceId, SysError> {
    identity(&sys::open_process_namespace(process, kind)?)
}

/// The identity of an open namespace.
pub(super) fn identity(namespace: &OwnedFd) -> Result<NamespaceId, SysError> {
    Ok(NamespaceId(sys::statx(namespace)?.ino))
}

fn read(process: BorrowedFd<'_>, name: &'static str) -> Result<Vec<u8>, SysError> {
    const LIMIT: u64 = 64 << 10;
    let file = sys::open_process_file(process, name)?;
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes).map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        SysError::new(format!("read(\"{name}\")"), errno)
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse_stat() {
        let stat = Stat::parse(b"7 (a) Z 1 (b) S 42 7 7 0 -1 4194560 1 2\n").unwrap();
        assert_eq!(
            stat,
            Stat {
                state: b'S',
                parent: 42,
                flags: 4_194_560
            }
        );
        assert_eq!(Stat::parse(b"7 (a"), None);
    }
}

//! `/proc/PID/fdinfo/N`, understood (proc_pid_fdinfo(5)).
//!
//! Kind: pure.

use crux_image::tasks::{FileAccess, FileFlags};
use crux_mount::ids::MountId;

/// What is said of every descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FdInfo {
    pub(super) position: u64,
    pub(super) access: FileAccess,
    pub(super) flags: FileFlags,
    pub(super) close_on_exec: bool,
    pub(super) mount: MountId,
    /// There is a lock on the file that came through this descriptor.
    pub(super) locked: bool,
}

/// What stands behind a name, the first time that it comes.
pub(super) fn field<'a>(text: &'a [u8], name: &'a str) -> Option<&'a str> {
    fields(text, name).next()
}

/// What stands behind a name, each time that it comes.
pub(super) fn fields<'a>(text: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = std::str::from_utf8(text).unwrap_or_default().lines();
    let values = lines.filter_map(move |line| line.strip_prefix(name)?.strip_prefix(':'));
    values.map(str::trim)
}

const O_PATH: u32 = libc::O_PATH as u32;

impl FdInfo {
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let field = |name: &'static str| field(text, name);
        let raw = u32::from_str_radix(field("flags")?, 8).ok()?;
        let has = |flag: libc::c_int| raw & flag as u32 == flag as u32;
        let access = match raw & libc::O_ACCMODE as u32 {
            _ if raw & O_PATH != 0 => FileAccess::Path,
            0 => FileAccess::Read,
            1 => FileAccess::Write,
            _ => FileAccess::ReadWrite,
        };
        Some(Self {
            position: field("pos")?.parse().ok()?,
            access,
            flags: FileFlags {
                append: has(libc::O_APPEND),
                nonblock: has(libc::O_NONBLOCK),
                async_io: has(libc::O_ASYNC),
                direct: has(libc::O_DIRECT),
                dsync: has(libc::O_DSYNC),
                sync: has(libc::O_SYNC),
                noatime: has(libc::O_NOATIME),
                directory: has(libc::O_DIRECTORY),
                nofollow: has(libc::O_NOFOLLOW),
                // libc has 0 for it on 64 bit machines.
                large_file: raw & 0o100_000 != 0,
            },
            close_on_exec: has(libc::O_CLOEXEC),
            mount: MountId(field("mnt_id")?.parse().ok()?),
            locked: field("lock").is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_octal_and_have_names() {
        let text = b"pos:\t42\nflags:\t02102001\nmnt_id:\t29\nino:\t7\nlock:\t1: POSIX\n";
        let info = FdInfo::parse(text).unwrap();
        assert_eq!((info.position, info.mount), (42, MountId(29)));
        assert_eq!(info.access, FileAccess::Write);
        assert!(info.close_on_exec && info.flags.append && info.flags.large_file && info.locked);
        assert!(!info.flags.nonblock && !info.flags.sync);
        assert_eq!(FdInfo::parse(b"pos:\t0\n"), None);
    }
}

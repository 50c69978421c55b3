//! What a descriptor is, and which mount it lies in (statx(2)).
//!
//! Kind: effect.

use super::error::{SysError, call};
use crate::ids::{Device, MountId, UniqueMountId};
use crux_image::mounts::FileKind;
use linux_raw_sys::general::STATX_MNT_ID_UNIQUE;
use rustix::fs::{AtFlags, FileType, Statx, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// What statx(2) says of a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    /// The mount it lies in.
    pub mount: MountId,
    /// Whether it is the root of that mount.
    pub is_mount_root: bool,
    /// Type and permissions (`st_mode`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Inode number.
    pub ino: u64,
    /// Device of its file system.
    pub device: Device,
    /// Device that it is, where it is one: major, minor.
    pub rdev: (u32, u32),
}

/// Describes `fd`, without asking a remote file system anew.
pub fn statx(fd: impl AsFd) -> Result<FileStat, SysError> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let stat = query(fd.as_fd(), wanted, "STATX_BASIC_STATS|STATX_MNT_ID")?;
    Ok(FileStat {
        mount: MountId(u32::try_from(stat.stx_mnt_id).unwrap_or(u32::MAX)),
        is_mount_root: stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        mode: u32::from(stat.stx_mode),
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        ino: stat.stx_ino,
        device: Device {
            major: stat.stx_dev_major,
            minor: stat.stx_dev_minor,
        },
        rdev: (stat.stx_rdev_major, stat.stx_rdev_minor),
    })
}

/// The unique id of the mount that `fd` lies in; `EOPNOTSUPP` before Linux 6.8.
pub fn unique_mount_id(fd: impl AsFd) -> Result<UniqueMountId, SysError> {
    let wanted = StatxFlags::from_bits_retain(STATX_MNT_ID_UNIQUE);
    let stat = query(fd.as_fd(), wanted, "STATX_MNT_ID_UNIQUE")?;
    Ok(UniqueMountId(stat.stx_mnt_id))
}

fn query(fd: BorrowedFd<'_>, wanted: StatxFlags, shown: &str) -> Result<Statx, SysError> {
    // Never AT_STATX_FORCE_SYNC: a server of a file system that hangs must not hang us.
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let described = || {
        let fd = fd.as_raw_fd();
        format!("statx({fd}, \"\", AT_EMPTY_PATH|AT_STATX_DONT_SYNC, {shown})")
    };
    let stat = rustix::fs::statx(fd, c"", flags, wanted).map_err(call(described))?;
    if stat.stx_mask & wanted.bits() == wanted.bits() {
        return Ok(stat);
    }
    // A file system may leave out times; the rest is what is used here.
    let needed = (StatxFlags::TYPE | StatxFlags::MODE | StatxFlags::INO | StatxFlags::MNT_ID)
        .bits()
        | STATX_MNT_ID_UNIQUE;
    match wanted.bits() & needed & !stat.stx_mask {
        0 => Ok(stat),
        _ => Err(SysError::new(described(), Errno::OPNOTSUPP)),
    }
}

/// The type that `stat` shows, or `None` for a type that is none of inode(7).
pub fn file_kind(stat: &FileStat) -> Option<FileKind> {
    kind_of(stat.mode, stat.rdev)
}

/// The type that a mode (`st_mode`) shows, of a device with these numbers if it is one.
pub fn kind_of(mode: u32, (major, minor): (u32, u32)) -> Option<FileKind> {
    Some(match FileType::from_raw_mode(mode) {
        FileType::Directory => FileKind::Directory,
        FileType::RegularFile => FileKind::Regular,
        FileType::Symlink => FileKind::Symlink,
        FileType::CharacterDevice => FileKind::CharDevice { major, minor },
        FileType::BlockDevice => FileKind::BlockDevice { major, minor },
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
        _ => return None,
    })
}

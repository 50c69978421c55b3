//! What statx(2) says of a file.
//!
//! Kind: effect (one call) and pure.

use crux_image::contents::{Device, Metadata, Mode, Timestamp};
use rustix::fs::{AtFlags, FileType, Statx, StatxAttributes, StatxFlags, StatxTimestamp, statx};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::BorrowedFd;

/// One file, as it is.
#[derive(Debug, Clone)]
pub(super) struct Stat(Statx);

/// Where a file is: which file system, seen through which mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    device: (u32, u32),
    mount: u64,
}

impl Place {
    pub(super) fn same_file_system(self, other: Self) -> bool {
        self.device == other.device
    }
}

impl Stat {
    pub(super) fn of(file: BorrowedFd<'_>) -> Result<Self, Errno> {
        Self::at(file, c"", AtFlags::EMPTY_PATH)
    }

    pub(super) fn named(dir: BorrowedFd<'_>, name: &CStr) -> Result<Self, Errno> {
        Self::at(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)
    }

    fn at(dir: BorrowedFd<'_>, name: &CStr, flags: AtFlags) -> Result<Self, Errno> {
        statx(
            dir,
            name,
            flags,
            StatxFlags::BASIC_STATS | StatxFlags::MNT_ID,
        )
        .map(Self)
    }

    pub(super) fn place(&self) -> Place {
        let device = (self.0.stx_dev_major, self.0.stx_dev_minor);
        Place {
            device,
            mount: self.0.stx_mnt_id,
        }
    }

    pub(super) fn inode(&self) -> u64 {
        self.0.stx_ino
    }

    pub(super) fn links(&self) -> u32 {
        self.0.stx_nlink
    }

    pub(super) fn size(&self) -> u64 {
        self.0.stx_size
    }

    /// Whether any page of the file is there.
    pub(super) fn has_blocks(&self) -> bool {
        self.0.stx_blocks != 0
    }

    pub(super) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.0.stx_mode.into())
    }

    pub(super) fn raw_mode(&self) -> u16 {
        self.0.stx_mode
    }

    pub(super) fn device(&self) -> Device {
        Device {
            major: self.0.stx_rdev_major,
            minor: self.0.stx_rdev_minor,
        }
    }

    pub(super) fn metadata(&self) -> Metadata {
        Metadata {
            uid: self.0.stx_uid,
            gid: self.0.stx_gid,
            mode: Mode(self.0.stx_mode & 0o7777),
            accessed: timestamp(self.0.stx_atime),
            modified: timestamp(self.0.stx_mtime),
        }
    }

    /// The name of an attribute of the inode that images do not have.
    pub(super) fn unsupported(&self) -> Option<&'static str> {
        const NAMES: [(StatxAttributes, &str); 5] = [
            (StatxAttributes::IMMUTABLE, "immutable"),
            (StatxAttributes::APPEND, "append-only"),
            (StatxAttributes::NODUMP, "nodump"),
            (StatxAttributes::ENCRYPTED, "encrypted"),
            (StatxAttributes::VERITY, "verity"),
        ];
        let has = |flag| self.0.stx_attributes.contains(flag);
        NAMES
            .into_iter()
            .find(|&(flag, _)| has(flag))
            .map(|(_, name)| name)
    }
}

fn timestamp(time: StatxTimestamp) -> Timestamp {
    Timestamp {
        seconds: time.tv_sec,
        nanoseconds: time.tv_nsec,
    }
}

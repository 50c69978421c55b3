//! Per-mount and per-superblock attributes, as flags of our own: the meaning of
//! the kernel's words differs between mount(2), mount_setattr(2) and statmount(2).
//!
//! Kind: pure.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Attributes of one mount (mount_setattr(2)).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct MountAttributes {
    /// `ro`: nothing can be written through this mount.
    pub readonly: bool,
    /// `nosuid`
    pub nosuid: bool,
    /// `nodev`
    pub nodev: bool,
    /// `noexec`
    pub noexec: bool,
    /// `nosymfollow`
    pub nosymfollow: bool,
    /// `nodiratime`
    pub nodiratime: bool,
    /// When access times are updated.
    pub atime: Atime,
    /// The ids are shown through this map (`idmapped`, mount_setattr(2)).
    pub idmap: Option<IdMap>,
}

/// When a mount updates access times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Atime {
    /// `relatime`, the kernel's default.
    #[default]
    Relatime,
    /// `noatime`
    Noatime,
    /// `strictatime`; mountinfo shows it by showing neither of the others.
    Strict,
}

/// The map of an id-mapped mount.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdMap {
    /// User ids: from the file system's to those shown.
    pub uids: Vec<IdRange>,
    /// Group ids: from the file system's to those shown.
    pub gids: Vec<IdRange>,
}

/// A line of a `uid_map` (user_namespaces(7)): `inside outside count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdRange {
    /// First id inside the user namespace.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many ids.
    pub count: u32,
}

/// Attributes of a superblock that every file system has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct SuperblockFlags {
    /// `ro`
    pub readonly: bool,
    /// `sync`
    pub sync: bool,
    /// `dirsync`
    pub dirsync: bool,
    /// `lazytime`
    pub lazytime: bool,
}

/// The type of a file (inode(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A regular file.
    Regular,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A fifo.
    Fifo,
    /// A unix socket.
    Socket,
}

impl FileKind {
    /// Whether it can be mounted on a directory only.
    pub fn is_directory(self) -> bool {
        self == Self::Directory
    }

    /// Whether it is the slave of a pty: a terminal, whose number is its minor
    /// (Documentation/admin-guide/devices.txt).
    pub fn is_pty_slave(self) -> bool {
        matches!(
            self,
            Self::CharDevice {
                major: 136..=143,
                ..
            }
        )
    }
}

impl fmt::Display for MountAttributes {
    /// As mountinfo prints them: `rw,nosuid,relatime`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.readonly { "ro" } else { "rw" })?;
        let flags = [
            (self.nosuid, "nosuid"),
            (self.nodev, "nodev"),
            (self.noexec, "noexec"),
            (self.atime == Atime::Noatime, "noatime"),
            (self.nodiratime, "nodiratime"),
            (self.atime == Atime::Relatime, "relatime"),
            (self.nosymfollow, "nosymfollow"),
            (self.idmap.is_some(), "idmapped"),
        ];
        flags
            .iter()
            .filter(|(on, _)| *on)
            .try_for_each(|(_, name)| write!(f, ",{name}"))
    }
}

impl fmt::Display for FileKind {
    /// In words, with the device numbers: `a character device 1:3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory => f.write_str("a directory"),
            Self::Regular => f.write_str("a regular file"),
            Self::Symlink => f.write_str("a symbolic link"),
            Self::CharDevice { major, minor } => write!(f, "a character device {major}:{minor}"),
            Self::BlockDevice { major, minor } => write!(f, "a block device {major}:{minor}"),
            Self::Fifo => f.write_str("a fifo"),
            Self::Socket => f.write_str("a socket"),
        }
    }
}

//! Opens a member of an image so that nothing but a regular file of that very
//! directory comes of it.
//!
//! Kind: effect. CVE-2026-53489: a member that is a symbolic link, a fifo or a
//! device is an attack on whoever restores as root.

use crate::error::{ImageError, Problem};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::path::Path;

/// Opens an image directory. A symbolic link that the operator names is followed.
pub(super) fn open_directory(path: &Path) -> Result<OwnedFd, ImageError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| {
        let problem = match errno {
            Errno::NOTDIR => Problem::NotADirectory,
            Errno::NOENT => Problem::Missing,
            _ => Problem::call(format!("open({path:?}, {flags:?})"), errno),
        };
        ImageError::new(path, problem)
    })
}

/// Opens `name` for reading; also returns its length.
///
/// It is looked at through an `O_PATH` descriptor first, because opening a
/// device has effects, and again when it is open, because names can change.
pub(super) fn open_member(dir: impl AsFd, name: &str) -> Result<(File, u64), Problem> {
    let looked_at = beneath(dir.as_fd(), name, OFlags::PATH)?;
    let before = regular(&looked_at, name)?;
    let opened = beneath(dir.as_fd(), name, OFlags::RDONLY | OFlags::NONBLOCK)?;
    let stat = regular(&opened, name)?;
    if (stat.st_dev, stat.st_ino) != (before.st_dev, before.st_ino) {
        return Err(Problem::NotRegular("being replaced while it is read"));
    }
    Ok((File::from(opened), u64::try_from(stat.st_size).unwrap_or(0)))
}

fn beneath(dir: impl AsFd, name: &str, flags: OFlags) -> Result<OwnedFd, Problem> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let opened = match rustix::fs::openat2(&dir, name, flags, Mode::empty(), resolve) {
        // For a name without a slash this is as good.
        Err(Errno::NOSYS) => rustix::fs::openat(&dir, name, flags, Mode::empty()),
        opened => opened,
    };
    opened.map_err(|errno| match errno {
        Errno::NOENT => Problem::MissingMember { partial: false },
        Errno::LOOP => Problem::NotRegular("a symbolic link"),
        errno => Problem::call(
            format!("openat2(image, \"{name}\", {flags:?}, RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS)"),
            errno,
        ),
    })
}

fn regular(file: &OwnedFd, name: &str) -> Result<Stat, Problem> {
    let stat = rustix::fs::fstat(file)
        .map_err(|errno| Problem::call(format!("fstat(\"{name}\")"), errno))?;
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(stat),
        FileType::Symlink => "a symbolic link",
        FileType::Directory => "a directory",
        FileType::Fifo => "a fifo",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        FileType::Unknown => "a file of an unknown kind",
    };
    Err(Problem::NotRegular(what))
}

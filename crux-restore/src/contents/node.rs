//! Making one file that is not a directory.
//!
//! Kind: effect. Every call fails where something has the name already.

use super::ContentsError;
use super::subject::{Handle, Length, Subject};
use crux_image::contents::{Data, Device, FileEntry, Node};
use rustix::fs::{FileType, Mode, OFlags, makedev, mknodat, openat, symlinkat};
use rustix::io::{Errno, pwrite};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// Readable by nobody else until its mode is set.
pub(super) const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Makes the file of `entry` in `dir`; `path` is for errors.
pub(super) fn make(
    dir: BorrowedFd<'_>,
    entry: &FileEntry,
    path: Vec<u8>,
) -> Result<Subject, ContentsError> {
    let failed = |(call, errno): Failed| ContentsError::call(call, &path, errno);
    let name = entry.name.as_bytes();
    let special = |file_type, device| mknod(dir, name, file_type, device);
    let (handle, length) = match &entry.node {
        Node::Regular { size, data } => regular(dir, name, *size, data),
        Node::Symlink(target) => symlink(dir, name, target.as_bytes()),
        Node::CharDevice(device) => special(FileType::CharacterDevice, *device),
        Node::BlockDevice(device) => special(FileType::BlockDevice, *device),
        Node::Fifo => special(FileType::Fifo, NO_DEVICE),
        Node::Socket => special(FileType::Socket, NO_DEVICE),
    }
    .map_err(failed)?;
    Ok(Subject::new(handle, entry.metadata, length, path))
}

type Failed = (String, Errno);

const NO_DEVICE: Device = Device { major: 0, minor: 0 };

fn regular(
    dir: BorrowedFd<'_>,
    name: &[u8],
    size: u64,
    data: &Data,
) -> Result<(Handle, Length), Failed> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file: OwnedFd = openat(dir, name, flags, PRIVATE)
        .map_err(|e| ("openat(O_WRONLY|O_CREAT|O_EXCL|O_NOFOLLOW)".to_owned(), e))?;
    let length = match data {
        Data::Inline(bytes) => {
            write(file.as_fd(), bytes.as_bytes(), 0)?;
            Length::Done
        }
        Data::Extents => Length::Regular { size, written: 0 },
    };
    Ok((Handle::Open(file), length))
}

/// Writes all of `bytes` at `at`.
pub(super) fn write(file: BorrowedFd<'_>, bytes: &[u8], at: u64) -> Result<(), Failed> {
    let mut done = 0;
    while done < bytes.len() {
        let (rest, at) = (&bytes[done..], at + done as u64);
        let failed = |errno| (format!("pwrite64({} bytes at {at})", rest.len()), errno);
        match pwrite(file, rest, at) {
            Ok(0) => return Err(failed(Errno::IO)),
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(())
}

fn symlink(dir: BorrowedFd<'_>, name: &[u8], target: &[u8]) -> Result<(Handle, Length), Failed> {
    symlinkat(target, dir, name).map_err(|e| ("symlinkat()".to_owned(), e))?;
    Ok((Handle::Symlink(name.to_vec()), Length::Done))
}

fn mknod(
    dir: BorrowedFd<'_>,
    name: &[u8],
    file_type: FileType,
    device: Device,
) -> Result<(Handle, Length), Failed> {
    let Device { major, minor } = device;
    mknodat(dir, name, file_type, PRIVATE, makedev(major, minor))
        .map_err(|e| (format!("mknodat({file_type:?}, {major}:{minor})"), e))?;
    Ok((Handle::Named(name.to_vec()), Length::Done))
}

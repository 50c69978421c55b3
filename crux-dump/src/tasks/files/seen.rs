//! A descriptor as /proc shows it.
//!
//! Kind: effect.

use super::fdinfo::FdInfo;
use crate::tasks::Target;
use crate::tasks::proc_text::whole;
use crux_image::mounts::FileKind;
use crux_image::tasks::{FileAccess, PipeEnd};
use crux_mount::sys::{self, SysError};
use rustix::fs::{AtFlags, Mode, OFlags, Stat, openat, readlinkat, statat};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};

/// A descriptor as /proc shows it.
pub(super) struct Seen {
    pub(super) number: u32,
    pub(super) info: FdInfo,
    /// All that fdinfo says.
    pub(super) text: Vec<u8>,
    pub(super) stat: Stat,
    pub(super) path: Vec<u8>,
}

pub(super) fn list(target: &Target) -> Result<Vec<Seen>, SysError> {
    let (links, infos) = directories(target)?;
    let mut found = Vec::new();
    let entries = rustix::fs::Dir::read_from(&links);
    let failed = |call: &'static str| move |errno| SysError::new(call, errno);
    for entry in entries.map_err(failed("getdents(\"fd\")"))? {
        let entry = entry.map_err(failed("getdents(\"fd\")"))?;
        let name = entry.file_name();
        let Some(number) = name.to_str().ok().and_then(|name| name.parse().ok()) else {
            continue;
        };
        found.push(see((&links, &infos), number)?);
    }
    found.sort_unstable_by_key(|seen| seen.number);
    Ok(found)
}

/// `fd` and `fdinfo` of a process.
pub(super) fn directories(target: &Target) -> Result<(OwnedFd, OwnedFd), SysError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |name: &str| {
        let opened = openat(target.directory.as_fd(), name, flags, Mode::empty());
        opened.map_err(|errno| SysError::new(format!("openat({name:?})"), errno))
    };
    Ok((open("fd")?, open("fdinfo")?))
}

pub(super) fn see((links, infos): (&OwnedFd, &OwnedFd), number: u32) -> Result<Seen, SysError> {
    let failed = |call: &'static str| move |errno| SysError::new(call, errno);
    let (name, flags) = (number.to_string(), OFlags::RDONLY | OFlags::CLOEXEC);
    let info = openat(infos, &name, flags, Mode::empty());
    let info = info.map_err(failed("openat(\"fdinfo\")"))?;
    let text = whole(info.into(), || "fdinfo".to_owned())?;
    let info = FdInfo::parse(&text);
    let path = readlinkat(links, &name, Vec::new()).map_err(failed("readlinkat(\"fd\")"))?;
    Ok(Seen {
        number,
        info: info.ok_or(SysError::new("read(\"fdinfo\")", Errno::IO))?,
        text,
        stat: statat(links, &name, AtFlags::empty()).map_err(failed("fstatat(\"fd\")"))?,
        path: path.into_bytes(),
    })
}

impl Seen {
    pub(super) fn kind(&self) -> Option<FileKind> {
        let rdev = self.stat.st_rdev;
        let (major, minor) = (rustix::fs::major(rdev), rustix::fs::minor(rdev));
        sys::kind_of(self.stat.st_mode, (major, minor))
    }

    /// The end of a pipe without a name; a named one has a path.
    pub(super) fn pipe_end(&self) -> Option<PipeEnd> {
        match (self.path.starts_with(b"pipe:["), self.info.access) {
            (false, _) => None,
            // Opened again for both, it is of both; as a place, of none.
            (true, FileAccess::Write | FileAccess::ReadWrite) => Some(PipeEnd::Write),
            (true, FileAccess::Read | FileAccess::Path) => Some(PipeEnd::Read),
        }
    }
}

pub(super) fn identity(seen: &Seen) -> ((u32, u32), u64) {
    let device = seen.stat.st_dev;
    let numbers = (rustix::fs::major(device), rustix::fs::minor(device));
    (numbers, seen.stat.st_ino)
}

/// `/proc/PID/fdinfo/N`, as it is now.
pub(super) fn read_info(target: &Target, number: u32) -> Result<Vec<u8>, SysError> {
    let name = format!("fdinfo/{number}");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = openat(target.directory.as_fd(), &name, flags, Mode::empty());
    let opened = opened.map_err(|errno| SysError::new(format!("openat({name:?})"), errno))?;
    whole(opened.into(), || name.clone())
}

pub(super) fn open(target: &Target, seen: &Seen) -> Result<File, SysError> {
    let name = format!("fd/{}", seen.number);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = openat(target.directory.as_fd(), &name, flags, Mode::empty());
    opened
        .map(File::from)
        .map_err(|errno| SysError::new(format!("openat({name:?})"), errno))
}

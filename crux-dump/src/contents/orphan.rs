//! Orphans: files without a name that are the root of a mount.
//!
//! Kind: effect.

use super::ContentsError;
use super::error::shown;
use super::file::Subjected;
use super::level::open_directory;
use super::quiet::{is_quiet, quiet};
use super::stat::Stat;
use super::walk::Walk;
use super::xattrs::Subject;
use crux_image::contents::{Entry, Name};
use rustix::fs::{
    CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC, fcntl_getfl, fcntl_setfl, fstatfs, openat,
};
use rustix::io::Errno;
use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

impl Walk<'_> {
    /// Before the walk: a file that has a name in the tree as well is one file.
    pub(super) fn count_orphans(
        &mut self,
        orphans: &[(Name, BorrowedFd<'_>)],
    ) -> Result<(), ContentsError> {
        for (name, fd) in orphans {
            let stat = self.stat_orphan(name, *fd)?;
            *self.extra_names.entry(stat.inode()).or_default() += 1;
        }
        Ok(())
    }

    pub(super) fn record_orphans(
        &mut self,
        orphans: &[(Name, BorrowedFd<'_>)],
    ) -> Result<(), ContentsError> {
        for (name, fd) in orphans {
            let stat = self.stat_orphan(name, *fd)?;
            let called = CString::new(name.as_bytes())
                .map_err(|_| refused(name, "its name has a NUL byte"))?;
            let subject = Subjected {
                name: &called,
                stat: &stat,
            };
            match stat.file_type() {
                FileType::Directory => self.orphan_directory(subject, name, *fd)?,
                FileType::RegularFile => self.orphan_regular(subject, name, *fd)?,
                _ => self.orphan_special(subject, name, *fd)?,
            }
        }
        Ok(())
    }

    fn stat_orphan(&self, name: &Name, fd: BorrowedFd<'_>) -> Result<Stat, ContentsError> {
        let stat = Stat::of(fd).map_err(|e| call(name, "statx()", e))?;
        if !self.is_here(&stat) {
            return Err(refused(name, "it is on another file system"));
        }
        Ok(stat)
    }

    /// A directory without a name is empty: rmdir(2) saw to that.
    fn orphan_directory(
        &mut self,
        subject: Subjected<'_>,
        name: &Name,
        fd: BorrowedFd<'_>,
    ) -> Result<(), ContentsError> {
        self.check_attributes(subject.stat, subject.name)?;
        let dir =
            open_directory(fd, c".").map_err(|e| call(name, "openat(\".\", O_DIRECTORY)", e))?;
        self.writer.push(&Entry::Enter(name.clone()))?;
        self.writer.push(&Entry::Leave(subject.stat.metadata()))?;
        self.record_xattrs(Subject::Open(dir.as_fd()), subject.name)
    }

    fn orphan_regular(
        &mut self,
        subject: Subjected<'_>,
        name: &Name,
        fd: BorrowedFd<'_>,
    ) -> Result<(), ContentsError> {
        self.check_attributes(subject.stat, subject.name)?;
        let flags = fcntl_getfl(fd).map_err(|e| call(name, "fcntl(F_GETFL)", e))?;
        if flags.contains(OFlags::PATH) {
            let file = reopen(self.process, name, fd)?;
            return self.record_regular(subject, file.as_fd());
        }
        if !is_quiet(fd) {
            let set = fcntl_setfl(fd, flags | OFlags::NOATIME);
            set.map_err(|e| call(name, "fcntl(F_SETFL, O_NOATIME)", e))?;
        }
        self.record_regular(subject, fd)
    }

    fn orphan_special(
        &mut self,
        subject: Subjected<'_>,
        name: &Name,
        fd: BorrowedFd<'_>,
    ) -> Result<(), ContentsError> {
        self.check_attributes(subject.stat, subject.name)?;
        if self.is_another_name(subject)? {
            return Ok(());
        }
        let file = quiet(fd)?;
        let node = self.node(subject, file.as_fd(), c"")?;
        self.push_file(subject, node)?;
        let entered = self
            .working
            .enter(descriptors(self.process, name)?.as_fd(), None);
        entered.map_err(|e| call(name, "fchdir(\"/proc/thread-self/fd\")", e))?;
        self.record_xattrs(Subject::Descriptor(&number(name, &file)?), subject.name)
    }
}

/// Opens for reading what `O_PATH` only names; only /proc can do that.
fn reopen(
    process: BorrowedFd<'_>,
    name: &Name,
    fd: BorrowedFd<'_>,
) -> Result<OwnedFd, ContentsError> {
    let file = quiet(fd)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat(
        descriptors(process, name)?,
        number(name, &file)?.as_c_str(),
        flags,
        Mode::empty(),
    )
    .map_err(|e| call(name, "openat(\"/proc/thread-self/fd/N\", O_RDONLY)", e))
}

/// This thread's directory in /proc, by its path.
pub(super) fn own_directory() -> Result<OwnedFd, ContentsError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, c"/proc/thread-self", flags, Mode::empty()).map_err(|errno| ContentsError::Call {
        call: "open(\"/proc/thread-self\", O_PATH)".into(),
        path: shown(b""),
        errno,
    })
}

/// The descriptors of this thread, checked to be what they seem.
fn descriptors(process: BorrowedFd<'_>, name: &Name) -> Result<OwnedFd, ContentsError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(process, c"fd", flags, Mode::empty())
        .map_err(|e| call(name, "openat(\"/proc/thread-self\", \"fd\", O_PATH)", e))?;
    let stat = fstatfs(&dir).map_err(|e| call(name, "fstatfs(\"/proc/thread-self/fd\")", e))?;
    if stat.f_type != PROC_SUPER_MAGIC {
        return Err(refused(name, "/proc is not a proc file system"));
    }
    Ok(dir)
}

fn number(name: &Name, file: &OwnedFd) -> Result<CString, ContentsError> {
    CString::new(file.as_raw_fd().to_string())
        .map_err(|_| refused(name, "its number has a NUL byte"))
}

fn call(name: &Name, call: &str, errno: Errno) -> ContentsError {
    ContentsError::Call {
        call: call.into(),
        path: shown(name.as_bytes()),
        errno,
    }
}

fn refused(name: &Name, reason: &'static str) -> ContentsError {
    ContentsError::Orphan {
        path: shown(name.as_bytes()),
        reason,
    }
}

//! Root and working directories, and the umask.
//!
//! Kind: effect.

use crate::tasks::removed::{DELETED, Home, home, is_removed};
use crate::tasks::{Part, Places, Target, TaskCause, TaskObstacle, proc_text};
use crux_image::tasks::Location;
use crux_mount::sys::{self, SysError};
use rustix::fs::{Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::AsFd as _;

/// Where a magic link of `/proc/PID` (`root`, `cwd`) leads; none where that is an obstacle.
pub(super) fn locate(
    target: &Target,
    name: &'static str,
    part: Part,
    places: &Places,
    obstacles: &mut Vec<TaskObstacle>,
) -> Result<Option<Location>, SysError> {
    let failed = |call: &str| {
        let call = format!("{call}({name:?})");
        move |errno| SysError::new(call, errno)
    };
    let directory = target.directory.as_fd();
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let opened = openat(directory, name, flags, Mode::empty()).map_err(failed("openat"))?;
    let path = readlinkat(directory, name, Vec::new()).map_err(failed("readlinkat"))?;
    let path = path.into_bytes();
    let (mount, stat) = (
        sys::statx(&opened)?.mount,
        rustix::fs::fstat(&opened).map_err(failed("fstat"))?,
    );
    let found = places.locate(mount, &path);
    let cause = match &found {
        _ if !places.has(mount) => TaskCause::Outside(path),
        // A directory that was removed has no links left; one of proc or cgroup has none ever.
        _ if is_removed(&stat, &path) => TaskCause::Unsupported(path),
        None => TaskCause::Unplaced(path),
        Some(_) => return Ok(found),
    };
    let pid = target.pid;
    obstacles.push(TaskObstacle { pid, part, cause });
    Ok(None)
}

/// The working directory, if it was removed: itself, where it was, and its former name.
pub(super) fn removed_working(
    target: &Target,
    places: &Places,
) -> Result<Option<(File, Home)>, SysError> {
    let failed = |call: &'static str| move |errno| SysError::new(call, errno);
    let directory = target.directory.as_fd();
    let path = readlinkat(directory, "cwd", Vec::new()).map_err(failed("readlinkat(cwd)"))?;
    let path = path.into_bytes();
    let Some(stripped) = path.strip_suffix(DELETED) else {
        return Ok(None);
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(directory, "cwd", flags, Mode::empty()).map_err(failed("openat(cwd)"))?;
    let stat = rustix::fs::fstat(&opened).map_err(failed("fstat(cwd)"))?;
    let mount = sys::statx(&opened)?.mount;
    if !is_removed(&stat, &path) || !places.has(mount) {
        return Ok(None);
    }
    let home = home(target, places, mount, stripped);
    Ok(home.map(|home| (opened.into(), home)))
}

/// `Umask` of `/proc/PID/status`.
pub(super) fn umask(target: &Target) -> Result<u32, SysError> {
    let text = proc_text::read(&target.directory, "status")?;
    let line = text
        .split(|&b| b == b'\n')
        .find_map(|line| line.strip_prefix(b"Umask:"));
    let digits = line.and_then(|line| std::str::from_utf8(line).ok());
    digits
        .and_then(|digits| u32::from_str_radix(digits.trim(), 8).ok())
        .ok_or_else(|| SysError::new("read(\"status\")", Errno::SRCH))
}

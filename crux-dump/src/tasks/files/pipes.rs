//! Pipes without a name: who has which end, and what is in them.
//!
//! Kind: effect. Data is copied by tee(2), which takes nothing out.

use super::{FilesError, Seen};
use crate::sys::pipe_bytes;
use crate::tasks::Target;
use crux_image::tasks::{FileAccess, Pipe, PipeEnd};
use crux_mount::sys::SysError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, tee,
};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::os::fd::{AsFd as _, OwnedFd};

/// Whether somebody has written what nobody has read yet into a fifo with a name.
pub(super) fn has_data(target: &Target, seen: &Seen) -> Result<bool, SysError> {
    if seen.info.access == FileAccess::Path {
        return Ok(false);
    }
    let fifo = duplicate(target, seen.number)?;
    Ok(pipe_bytes(fifo.as_fd())? > 0)
}

/// A descriptor of ours for what a process has open.
pub(super) fn duplicate(target: &Target, descriptor: u32) -> Result<OwnedFd, SysError> {
    let pid = i32::try_from(target.pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(SysError::new("pidfd_open", Errno::SRCH))?;
    let process = pidfd_open(pid, PidfdFlags::empty());
    let process = process.map_err(|errno| SysError::new("pidfd_open", errno))?;
    let copy = pidfd_getfd(process, descriptor as i32, PidfdGetfdFlags::empty());
    copy.map_err(|errno| SysError::new("pidfd_getfd", errno))
}

/// Whether somebody outside of the container has the other end of a pipe of which it has one.
pub(super) fn is_held_elsewhere(
    target: &Target,
    descriptor: u32,
    end: PipeEnd,
) -> Result<bool, SysError> {
    let copy = duplicate(target, descriptor)?;
    let mut fds = [PollFd::new(&copy, PollFlags::IN | PollFlags::OUT)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now)).map_err(|errno| SysError::new("poll(pipe)", errno))?;
    let gone = match end {
        PipeEnd::Read => PollFlags::HUP,
        PipeEnd::Write => PollFlags::ERR,
    };
    Ok(!fds[0].revents().contains(gone))
}

/// The record of a pipe that a descriptor leads to. `packets`: somebody writes packets.
pub(super) fn record(target: &Target, descriptor: u32, packets: bool) -> Result<Pipe, FilesError> {
    let failed = |call: &'static str| {
        move |errno| FilesError::Process {
            pid: target.pid,
            error: SysError::new(call, errno),
        }
    };
    // Whichever end it is, its other name in /proc opens the end that is read.
    let name = format!("fd/{descriptor}");
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = openat(target.directory.as_fd(), &name, flags, Mode::empty())
        .map_err(failed("openat(fd of a pipe)"))?;
    let capacity = fcntl_getpipe_size(&source).map_err(failed("fcntl(F_GETPIPE_SZ)"))?;
    let waiting = pipe_bytes(source.as_fd()).map_err(|error| FilesError::Process {
        pid: target.pid,
        error,
    })?;
    let data = match waiting {
        0 => Vec::new(),
        _ => copy(&source, capacity, waiting).map_err(failed("tee(pipe)"))?,
    };
    Ok(Pipe {
        capacity: u32::try_from(capacity).unwrap_or(u32::MAX),
        packets: packets || data.len() > 1,
        data,
    })
}

fn copy(source: &OwnedFd, capacity: usize, waiting: usize) -> Result<Vec<Vec<u8>>, Errno> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    fcntl_setpipe_size(&write, capacity)?;
    let copied = tee(source, &write, waiting, SpliceFlags::NONBLOCK)?;
    if copied != waiting {
        return Err(Errno::NOSPC);
    }
    let (mut parts, mut left) = (Vec::new(), waiting);
    let mut buffer = vec![0; waiting];
    while left > 0 {
        let count = rustix::io::read(&read, &mut buffer)?;
        // One read gives a packet, or all that is none.
        parts.push(buffer[..count].to_vec());
        left = left.saturating_sub(count.max(1));
    }
    Ok(parts)
}

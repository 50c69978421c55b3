//! A process by a descriptor, so that a number used again is never mistaken for it.
//!
//! Kind: effect.

use crate::error::named;
use crate::stop::Tid;
use crate::{TraceError, sys};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

/// pidfd_open(2).
#[derive(Debug)]
pub struct Pidfd {
    fd: OwnedFd,
    pid: Tid,
}

impl Pidfd {
    /// Of the process with this number now.
    pub fn open(pid: Tid) -> Result<Self, TraceError> {
        let number = Pid::from_raw(pid.0).ok_or(rustix::io::Errno::INVAL);
        let fd = number.and_then(|number| pidfd_open(number, PidfdFlags::empty()));
        let fd = named(fd, || format!("pidfd_open({pid})"))?;
        Ok(Self { fd, pid })
    }

    /// The number that it had.
    #[must_use]
    pub fn pid(&self) -> Tid {
        self.pid
    }

    /// Sends it a signal.
    pub fn send(&self, signal: i32) -> Result<(), TraceError> {
        named(sys::pidfd_send_signal(self.fd.as_fd(), signal), || {
            format!("pidfd_send_signal(pidfd of {}, {signal})", self.pid)
        })
    }

    /// Whether it has ended, and all its threads.
    pub fn has_ended(&self) -> Result<bool, TraceError> {
        self.wait(Some(&Timespec::default()))
    }

    /// Waits until it has ended, or for this time. Says whether it has.
    pub fn wait(&self, time: Option<&Timespec>) -> Result<bool, TraceError> {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        let ready = named(poll(&mut fds, time), || {
            format!("poll(pidfd of {})", self.pid)
        })?;
        Ok(ready > 0)
    }

    /// A copy of one of its descriptors (pidfd_getfd(2)).
    pub fn descriptor(&self, number: i32) -> Result<OwnedFd, TraceError> {
        let copy = pidfd_getfd(&self.fd, number, PidfdGetfdFlags::empty());
        named(copy, || {
            format!("pidfd_getfd(pidfd of {}, {number})", self.pid)
        })
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

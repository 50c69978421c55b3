//! What a wait status says of a traced thread.
//!
//! Kind: pure. ptrace(2) calls these the ptrace-stops.

use std::fmt;

/// The number of a thread, as its tracer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tid(pub(crate) i32);

impl Tid {
    /// A number that the kernel could have given; none for 0 and what is too large.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        i32::try_from(number).ok().filter(|it| *it > 0).map(Self)
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0.unsigned_abs()
    }
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a thread has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It was interrupted, or is new and traced from its beginning, or the state of a group
    /// stop has changed. Nothing has happened to it.
    Interrupted,
    /// Its process is stopped by this signal (a group stop).
    Group(i32),
    /// A signal has been taken from its queue, and is delivered if it is given again when
    /// the thread goes on (a signal-delivery stop).
    Signal(i32),
    /// It enters or leaves a system call ([`Options::SYSCALL_GOOD`](crate::Options)).
    Syscall,
    /// It has made a thread or process, whose number `event_message` tells.
    Created,
    /// Its child of vfork(2) does not use its memory any more.
    VforkDone,
    /// It has become another program.
    Exec,
    /// It is about to be gone.
    Exit,
    /// A filter of its own has asked its tracer (`SECCOMP_RET_TRACE`).
    Seccomp,
}

/// How a thread ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// A wait status, understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Stopped(Stop),
    Ended(Ended),
    /// Something that a tracer does not ask for (`WCONTINUED`).
    Other,
}

impl Status {
    pub(crate) fn parse(raw: i32) -> Self {
        if libc::WIFEXITED(raw) {
            return Self::Ended(Ended::Exited(libc::WEXITSTATUS(raw)));
        }
        if libc::WIFSIGNALED(raw) {
            return Self::Ended(Ended::Killed(libc::WTERMSIG(raw)));
        }
        match libc::WIFSTOPPED(raw) {
            true => Self::Stopped(stop(libc::WSTOPSIG(raw), raw >> 16)),
            false => Self::Other,
        }
    }
}

fn stop(signal: i32, event: i32) -> Stop {
    match event {
        0 if signal == libc::SIGTRAP | 0x80 => Stop::Syscall,
        0 => Stop::Signal(signal),
        libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
            Stop::Created
        }
        libc::PTRACE_EVENT_VFORK_DONE => Stop::VforkDone,
        libc::PTRACE_EVENT_EXEC => Stop::Exec,
        libc::PTRACE_EVENT_EXIT => Stop::Exit,
        libc::PTRACE_EVENT_SECCOMP => Stop::Seccomp,
        // PTRACE_EVENT_STOP, the only one left.
        _ if signal == libc::SIGTRAP => Stop::Interrupted,
        _ => Stop::Group(signal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_stop_is_told_from_the_others() {
        let stopped = |signal: i32, event: i32| (event << 16) | (signal << 8) | 0x7f;
        let cases = [
            (stopped(libc::SIGTRAP, 128), Stop::Interrupted),
            (stopped(libc::SIGSTOP, 128), Stop::Group(libc::SIGSTOP)),
            (stopped(libc::SIGTTIN, 128), Stop::Group(libc::SIGTTIN)),
            (stopped(libc::SIGTRAP, 0), Stop::Signal(libc::SIGTRAP)),
            (stopped(libc::SIGSTOP, 0), Stop::Signal(libc::SIGSTOP)),
            (stopped(libc::SIGTRAP | 0x80, 0), Stop::Syscall),
            (
                stopped(libc::SIGTRAP, libc::PTRACE_EVENT_CLONE),
                Stop::Created,
            ),
            (stopped(libc::SIGTRAP, libc::PTRACE_EVENT_EXEC), Stop::Exec),
            (stopped(libc::SIGTRAP, libc::PTRACE_EVENT_EXIT), Stop::Exit),
        ];
        for (raw, stop) in cases {
            assert_eq!(Status::parse(raw), Status::Stopped(stop), "{raw:#x}");
        }
        assert_eq!(Status::parse(0x0300), Status::Ended(Ended::Exited(3)));
        assert_eq!(Status::parse(9), Status::Ended(Ended::Killed(9)));
        assert_eq!(Status::parse(0xffff), Status::Other);
    }
}

//! Living tasks that check themselves: in a call of every way of being restarted, or computing.
//!
//! Kind: effect.

use crate::sys::{Shared, call, child, compute, count_signals, wait};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, pipe};
use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// clock_nanosleep(2): restart_syscall(2) goes on with it.
    Sleep,
    /// poll(2) with a timeout: likewise.
    Poll,
    /// read(2) of a pipe (`ERESTARTSYS`).
    Read,
    /// futex(2) without a timeout (`ERESTARTSYS`).
    Futex,
    /// pause(2): any handler ends it (`ERESTARTNOHAND`).
    Pause,
    /// rt_sigsuspend(2): likewise, with other signals blocked.
    Suspend,
    /// No call at all.
    Compute,
}

pub(crate) const ALL: [Waiting; 7] = [
    Waiting::Sleep,
    Waiting::Poll,
    Waiting::Read,
    Waiting::Futex,
    Waiting::Pause,
    Waiting::Suspend,
    Waiting::Compute,
];

/// Timed calls take as long.
const TIME: Duration = Duration::from_millis(300);
/// Whoever hangs is ended by SIGALRM.
const PATIENCE: u64 = 30;

// Words of the shared memory.
const COUNT: usize = 0;
const DONE: usize = 1;
const WORD: usize = 2;
const SIGNALS: usize = 3;
/// For the tracer.
pub(crate) const STEPS: usize = 4;

/// One of them.
pub(crate) struct Workload {
    pub(crate) waiting: Waiting,
    pub(crate) pid: Pid,
    pub(crate) shared: Shared,
    pipe: Option<OwnedFd>,
}

impl Waiting {
    /// The calls in which it can be found waiting.
    fn numbers(self) -> &'static [libc::c_long] {
        match self {
            Self::Sleep => &[libc::SYS_clock_nanosleep, libc::SYS_restart_syscall],
            Self::Poll => &[libc::SYS_poll, libc::SYS_restart_syscall],
            Self::Read => &[libc::SYS_read],
            Self::Futex => &[libc::SYS_futex],
            Self::Pause => &[libc::SYS_pause],
            Self::Suspend => &[libc::SYS_rt_sigsuspend],
            Self::Compute => &[],
        }
    }

    /// The task itself: 0 if all is as it should be.
    fn run(self, shared: Shared, fd: i32) -> i32 {
        call(libc::SYS_alarm, [PATIENCE, 0, 0, 0, 0, 0]);
        let mask: u64 = 1 << (libc::SIGUSR2 - 1);
        let address = (&raw const mask) as u64;
        call(
            libc::SYS_rt_sigprocmask,
            [libc::SIG_BLOCK as u64, address, 0, 8, 0, 0],
        );
        let start = Instant::now();
        let time = [0_u64, TIME.as_nanos() as u64];
        let mut left = [77_u64; 2];
        let (time, left) = ((&raw const time) as u64, (&raw mut left) as u64);
        let mut byte = [0_u8];
        let interrupted = -i64::from(libc::EINTR);
        let fine = match self {
            Self::Sleep => {
                let result = call(libc::SYS_clock_nanosleep, [1, 0, time, left, 0, 0]);
                result == 0 && start.elapsed() >= TIME
            }
            Self::Poll => {
                let result = call(libc::SYS_poll, [0, 0, TIME.as_millis() as u64, 0, 0, 0]);
                result == 0 && start.elapsed() >= TIME
            }
            Self::Read => {
                let buffer = (&raw mut byte) as u64;
                let result = call(libc::SYS_read, [fd as u64, buffer, 1, 0, 0, 0]);
                result == 1 && byte == [42]
            }
            Self::Futex => {
                let word = shared.address(WORD);
                let result = call(libc::SYS_futex, [word, 0, 0, 0, 0, 0]);
                // It may have been about to wait again when it was woken.
                (result == 0 || result == -i64::from(libc::EAGAIN)) && shared.get(WORD) == 1
            }
            Self::Pause => call(libc::SYS_pause, [0; 6]) == interrupted && signals(shared) == 1,
            Self::Suspend => {
                let all_but_usr2 = !mask;
                let address = (&raw const all_but_usr2) as u64;
                let result = call(libc::SYS_rt_sigsuspend, [address, 8, 0, 0, 0, 0]);
                result == interrupted && signals(shared) == 1
            }
            Self::Compute => compute(shared) == 0,
        };
        let mut now = 0_u64;
        let address = (&raw mut now) as u64;
        call(libc::SYS_rt_sigprocmask, [0, 0, address, 8, 0, 0]);
        match (fine, now == mask) {
            (true, true) => 0,
            (false, _) => 1,
            (true, false) => 2,
        }
    }

    fn signal(self) -> Signal {
        match self {
            Self::Suspend => Signal::SIGUSR2,
            _ => Signal::SIGUSR1,
        }
    }
}

fn signals(shared: Shared) -> u64 {
    shared.get(SIGNALS)
}

impl Workload {
    /// Starts it, and waits until it waits.
    pub(crate) fn start(waiting: Waiting) -> Self {
        let shared = Shared::new();
        let (reader, writer) = pipe().unwrap();
        let pid = child(|| {
            count_signals(libc::SIGUSR1, shared, SIGNALS);
            count_signals(libc::SIGUSR2, shared, SIGNALS);
            waiting.run(shared, reader.as_raw_fd())
        });
        let pipe = Some(writer);
        let it = Self {
            waiting,
            pid,
            shared,
            pipe,
        };
        it.until_waiting();
        it
    }

    /// Until it is in its call, or computes.
    pub(crate) fn until_waiting(&self) {
        while !self.is_waiting() && !self.has_ended() {
            std::thread::yield_now();
        }
    }

    /// It has found a fault before it was released.
    fn has_ended(&self) -> bool {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        text.contains(") Z ")
    }

    fn is_waiting(&self) -> bool {
        if self.waiting == Waiting::Compute {
            let before = self.shared.get(COUNT);
            std::thread::yield_now();
            return self.shared.get(COUNT) > before;
        }
        let text = fs::read_to_string(format!("/proc/{}/syscall", self.pid)).unwrap_or_default();
        let number = text.split(' ').next().and_then(|it| it.parse().ok());
        number.is_some_and(|it| self.waiting.numbers().contains(&it))
    }

    /// Sends the signal that ends it.
    pub(crate) fn signal(&self) {
        kill(self.pid, self.waiting.signal()).unwrap();
    }

    /// Does what it waits for.
    pub(crate) fn release(&mut self) {
        let shared = self.shared;
        match self.waiting {
            Waiting::Sleep | Waiting::Poll => {}
            Waiting::Read => {
                let pipe = self.pipe.take().unwrap();
                nix::unistd::write(&pipe, &[42]).unwrap();
            }
            Waiting::Futex => {
                shared.set(WORD, 1);
                call(libc::SYS_futex, [shared.address(WORD), 1, 1, 0, 0, 0]);
            }
            // A signal that comes before pause(2) is made again would be missed by any program.
            Waiting::Pause => {
                self.until_waiting();
                self.signal();
            }
            Waiting::Suspend => self.signal(),
            Waiting::Compute => {
                let count = shared.get(COUNT);
                while shared.get(COUNT) < count + 100 && !self.has_ended() {
                    std::thread::yield_now();
                }
                shared.set(DONE, 1);
            }
        }
    }

    /// What it says of itself at its end.
    pub(crate) fn finish(&self) -> WaitStatus {
        wait(self.pid)
    }
}

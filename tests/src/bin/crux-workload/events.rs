//! eventfd, signalfd and timerfd.
//!
//! Kind: effect.

use super::{Verify, same, sys};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::Timespec;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_gettime,
    timerfd_settime,
};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

/// A counter beyond 32 bits, a semaphore, and one that is empty.
pub(crate) fn counters() -> Verify {
    let large = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("eventfd");
    let semaphore = EventfdFlags::SEMAPHORE | EventfdFlags::NONBLOCK;
    let semaphore = eventfd(1000, semaphore).expect("eventfd");
    let empty = eventfd(0, EventfdFlags::NONBLOCK).expect("eventfd");
    let count = (7 << 32) + 5;
    write(&large, count);
    Box::new(move || {
        let mut wrong = Vec::new();
        wrong.extend(same("a large counter", read(&large), Some(count)));
        wrong.extend(same("an empty one then", read(&large), None));
        write(&large, count);
        wrong.extend(same("a semaphore", read(&semaphore), Some(1)));
        wrong.extend(same("an empty counter", read(&empty), None));
        // KERNEL: told since 6.5.
        if let Some(told) = info(&semaphore, "eventfd-semaphore") {
            wrong.extend(same("being a semaphore", told.as_str(), "1"));
        }
        wrong
    })
}

fn write(fd: &OwnedFd, count: u64) {
    let _ = rustix::io::write(fd, &count.to_ne_bytes());
}

fn read(fd: &OwnedFd) -> Option<u64> {
    let mut bytes = [0; 8];
    let read = rustix::io::read(fd, &mut bytes);
    read.is_ok().then(|| u64::from_ne_bytes(bytes))
}

/// A field of a descriptor in /proc.
pub(crate) fn info(fd: impl AsFd, name: &str) -> Option<String> {
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let value = |line: &str| {
        Some(
            line.strip_prefix(name)?
                .strip_prefix(':')?
                .trim()
                .to_owned(),
        )
    };
    text.lines().find_map(value)
}

/// One with a signal that waits, and one with another mask.
pub(crate) fn signals() -> Verify {
    let [one, other] = [Signal::SIGUSR1, Signal::SIGWINCH].map(|signal| {
        sys::block(signal as i32);
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        SignalFd::with_flags(&SigSet::from(signal), flags).expect("signalfd")
    });
    sys::queue(Signal::SIGUSR1 as i32, 17);
    Box::new(move || {
        let mut wrong = Vec::new();
        let read = |fd: &SignalFd| fd.read_signal().ok().flatten();
        let told = read(&one).map(|it| (it.ssi_signo, it.ssi_ptr));
        wrong.extend(same("a signal that waited", told, Some((10, 17))));
        wrong.extend(same("another then", read(&one).is_none(), true));
        wrong.extend(same("the other's", read(&other).is_none(), true));
        let mask = info(&other, "sigmask");
        wrong.extend(same("the mask", mask.as_deref(), Some("0000000008000000")));
        sys::queue(Signal::SIGUSR1 as i32, 17);
        wrong
    })
}

const NEVER: i64 = 100_000;

/// One that runs, one that repeats and has expired, one at a time of the day, one that nobody has set.
pub(crate) fn timers() -> Verify {
    let running = timer(TimerfdClockId::Monotonic);
    set(
        &running,
        TimerfdTimerFlags::empty(),
        time(NEVER, 0),
        time(7, 9),
    );
    let ticking = timer(TimerfdClockId::Boottime);
    set(
        &ticking,
        TimerfdTimerFlags::empty(),
        time(0, 1),
        time(NEVER, 0),
    );
    let daily = timer(TimerfdClockId::Realtime);
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    set(&daily, flags, time(now.tv_sec + NEVER, 0), time(0, 0));
    let idle = timer(TimerfdClockId::Monotonic);
    while info(&ticking, "ticks").as_deref() != Some("1") {
        std::thread::yield_now();
    }
    let before = clock();
    Box::new(move || {
        let mut wrong = Vec::new();
        let found = timerfd_gettime(&running).expect("timerfd_gettime");
        let passed = clock() - before;
        // A dump and a restore take no time of the timer's, and less than a minute.
        let early = found.it_value.tv_sec < NEVER - 1 - passed;
        wrong.extend(same("running too fast", early, false));
        wrong.extend(same("running", found.it_value.tv_sec < NEVER, true));
        let interval = (found.it_interval.tv_sec, found.it_interval.tv_nsec);
        wrong.extend(same("its interval", interval, (7, 9)));
        wrong.extend(same("ticks", info(&ticking, "ticks").as_deref(), Some("1")));
        let found = timerfd_gettime(&ticking).expect("timerfd_gettime");
        let next = found.it_value.tv_sec;
        wrong.extend(same("the next tick", (1..NEVER).contains(&next), true));
        let flags = info(&daily, "settime flags");
        wrong.extend(same("flags", flags.as_deref(), Some("03")));
        let found = timerfd_gettime(&daily).expect("timerfd_gettime");
        let today = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let then = today.tv_sec + found.it_value.tv_sec;
        let wanted = now.tv_sec + NEVER;
        wrong.extend(same("the day", (wanted - 1..=wanted).contains(&then), true));
        let found = timerfd_gettime(&idle).expect("timerfd_gettime");
        wrong.extend(same("an idle one", found.it_value.tv_sec, 0));
        wrong
    })
}

fn clock() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_sec
}

fn timer(clock: TimerfdClockId) -> OwnedFd {
    timerfd_create(clock, TimerfdFlags::NONBLOCK).expect("timerfd_create")
}

fn time(tv_sec: i64, tv_nsec: i64) -> Timespec {
    Timespec { tv_sec, tv_nsec }
}

fn set(fd: &OwnedFd, flags: TimerfdTimerFlags, it_value: Timespec, it_interval: Timespec) {
    let wanted = Itimerspec {
        it_interval,
        it_value,
    };
    timerfd_settime(fd, flags, &wanted).expect("timerfd_settime");
}

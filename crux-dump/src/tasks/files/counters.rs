//! eventfd, signalfd and timerfd: what /proc says of them.
//!
//! Kind: effect where a timer is looked at; parsers are pure.

use super::fdinfo::field;
use super::pipes::duplicate;
use super::{Seen, read_info};
use crate::sys::clock;
use crate::tasks::Target;
use crux_image::tasks::{EventCounter, OpenTarget, TimerFile};
use crux_mount::sys::SysError;

const NANOSECONDS: u64 = 1_000_000_000;

/// What a descriptor is, if it is one of these; in words, if that cannot be told.
pub(super) fn target(
    target: &Target,
    seen: &Seen,
) -> Result<Option<Result<OpenTarget, &'static str>>, SysError> {
    let found = match &seen.path[..] {
        b"anon_inode:[eventfd]" => event(target, seen)?,
        b"anon_inode:[signalfd]" => signals(&seen.text)
            .map(|mask| OpenTarget::Signals { mask })
            .ok_or("accepts signals that are not told"),
        b"anon_inode:[timerfd]" => timer(target, seen)?
            .map(OpenTarget::Timer)
            .ok_or("is a timer of which nothing is told"),
        _ => return Ok(None),
    };
    Ok(Some(found))
}

/// KERNEL: whether it is a semaphore is said since 6.5 only. Before, an empty one is tried: should the dump be killed
/// between the two calls, somebody is woken once too often, and nothing is lost.
fn event(target: &Target, seen: &Seen) -> Result<Result<OpenTarget, &'static str>, SysError> {
    let (count, semaphore) = counter(&seen.text);
    let Some(count) = count else {
        return Ok(Err("is an eventfd of which nothing is told"));
    };
    let semaphore = match semaphore {
        Some(semaphore) => semaphore,
        None if count == 0 => is_semaphore(target, seen.number)?,
        None => {
            return Ok(Err(
                "is an eventfd with a count, of which this kernel does not tell whether it is a semaphore",
            ));
        }
    };
    Ok(Ok(OpenTarget::Event(EventCounter { count, semaphore })))
}

fn counter(text: &[u8]) -> (Option<u64>, Option<bool>) {
    let count = field(text, "eventfd-count");
    let semaphore = field(text, "eventfd-semaphore");
    (
        count.and_then(|it| u64::from_str_radix(it, 16).ok()),
        semaphore.map(|it| it != "0"),
    )
}

/// A semaphore gives one at a time, and another gives all.
fn is_semaphore(target: &Target, number: u32) -> Result<bool, SysError> {
    let copy = duplicate(target, number)?;
    let failed = |call: &'static str| move |errno| SysError::new(call, errno);
    let two = 2_u64.to_ne_bytes();
    rustix::io::write(&copy, &two).map_err(failed("write(eventfd)"))?;
    let read = || {
        let mut bytes = [0; 8];
        let read = rustix::io::read(&copy, &mut bytes);
        read.map(|_| u64::from_ne_bytes(bytes))
            .map_err(failed("read(eventfd)"))
    };
    let semaphore = read()? == 1;
    if semaphore {
        read()?;
    }
    Ok(semaphore)
}

fn signals(text: &[u8]) -> Option<u64> {
    u64::from_str_radix(field(text, "sigmask")?, 16).ok()
}

/// A periodic timer that has expired counts on when it is looked at: so it is, and /proc is read again.
fn timer(target: &Target, seen: &Seen) -> Result<Option<TimerFile>, SysError> {
    let copy = duplicate(target, seen.number)?;
    let looked = rustix::time::timerfd_gettime(&copy);
    looked.map_err(|errno| SysError::new("timerfd_gettime", errno))?;
    let text = read_info(target, seen.number)?;
    let Some(mut timer) = parse_timer(&text) else {
        return Ok(None);
    };
    // The end of all time, as systemd sets it, and a moment between two looks at the clock.
    let deadline = clock(clock_of(timer.clock)).saturating_add(timer.remaining);
    timer.deadline = deadline.min(i64::MAX as u64);
    Ok(Some(timer))
}

/// The clock that an alarm clock goes by.
fn clock_of(clock: i32) -> i32 {
    match clock {
        libc::CLOCK_REALTIME_ALARM => libc::CLOCK_REALTIME,
        libc::CLOCK_BOOTTIME_ALARM => libc::CLOCK_BOOTTIME,
        other => other,
    }
}

fn parse_timer(text: &[u8]) -> Option<TimerFile> {
    const ABSOLUTE: u32 = 1;
    const CANCEL_ON_SET: u32 = 2;
    let flags = u32::from_str_radix(field(text, "settime flags")?, 8).ok()?;
    Some(TimerFile {
        clock: field(text, "clockid")?.parse().ok()?,
        remaining: pair(field(text, "it_value")?)?,
        interval: pair(field(text, "it_interval")?)?,
        ticks: field(text, "ticks")?.parse().ok()?,
        absolute: flags & ABSOLUTE != 0,
        cancel_on_set: flags & CANCEL_ON_SET != 0,
        deadline: 0,
    })
}

/// `(seconds, nanoseconds)`.
fn pair(text: &str) -> Option<u64> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    let (seconds, nanoseconds) = inner.split_once(", ")?;
    let seconds: u64 = seconds.parse().ok()?;
    Some(seconds.saturating_mul(NANOSECONDS) + nanoseconds.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_have_pairs_and_octal_flags() {
        let text = b"clockid: 1\nticks: 3\nsettime flags: 03\n\
            it_value: (5, 7)\nit_interval: (1, 0)\n";
        let timer = parse_timer(text).unwrap();
        assert_eq!((timer.clock, timer.ticks), (1, 3));
        assert_eq!(
            (timer.remaining, timer.interval),
            (5_000_000_007, 1_000_000_000)
        );
        assert!(timer.absolute && timer.cancel_on_set);
    }

    #[test]
    fn counters_are_hexadecimal() {
        let text = b"eventfd-count:               1f\neventfd-id: 4\neventfd-semaphore: 1\n";
        assert_eq!(counter(text), (Some(31), Some(true)));
        assert_eq!(counter(b"eventfd-count: 0\n"), (Some(0), None));
        assert_eq!(signals(b"sigmask:\t0000000000000201\n"), Some(0x201));
    }
}

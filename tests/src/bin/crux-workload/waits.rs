//! Calls that wait for a time: none ends before it, and none says that it was interrupted.
//!
//! Kind: effect.

use super::{Verify, same, sys};
use nix::libc;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollTimeout};
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A call that waits so long and then gives this: 0, or an error.
struct Wait {
    name: &'static str,
    call: fn(Duration) -> i32,
    gives: i32,
    /// How much sooner than said it may end.
    sooner: Duration,
}

const fn wait(name: &'static str, call: fn(Duration) -> i32, gives: i32) -> Wait {
    let sooner = Duration::ZERO;
    Wait {
        name,
        call,
        gives,
        sooner,
    }
}

/// KERNEL: limits of sockets are counted in jiffies. Where the CPU that counts them is held up, as those of virtual machines
/// are, they are behind the clock when the wait begins, and it ends that much sooner.
const IN_JIFFIES: Wait = Wait {
    sooner: Duration::from_millis(75),
    ..wait("read from a socket with a limit", socket, libc::EAGAIN)
};

const WAITS: [Wait; 13] = [
    wait("poll", poll, 0),
    wait("poll of syscall(2)", raw_poll, 0),
    wait("select", select, 0),
    wait("pselect6", pselect, 0),
    wait("ppoll", ppoll, 0),
    wait("a relative futex wait", futex, libc::ETIMEDOUT),
    wait("an absolute futex wait", futex_until, libc::ETIMEDOUT),
    wait("nanosleep", nanosleep, 0),
    wait("clock_nanosleep", clock_nanosleep, 0),
    wait("an absolute clock_nanosleep", sleep_until, 0),
    wait("rt_sigtimedwait", sigtimedwait, libc::EAGAIN),
    wait("epoll_wait", epoll_wait, 0),
    IN_JIFFIES,
];

/// How often each has ended, and the last answer that was wrong.
#[derive(Default)]
struct Each {
    turns: AtomicU64,
    wrong: AtomicI64,
}

/// Each in a thread that waits a short time over and over, and in one that waits for an hour.
pub(crate) fn timed() -> Verify {
    const SHORT: Duration = Duration::from_millis(150);
    const LONG: Duration = Duration::from_secs(3600);
    const NONE: i64 = i64::MIN;
    let all: Arc<Vec<[Each; 2]>> = Arc::new(WAITS.iter().map(|_| Default::default()).collect());
    for at in 0..WAITS.len() {
        for (long, time) in [SHORT, LONG].into_iter().enumerate() {
            let all = Arc::clone(&all);
            all[at][long].wrong.store(NONE, Ordering::SeqCst);
            std::thread::spawn(move || {
                sys::block(libc::SIGUSR2);
                let each = &all[at][long];
                loop {
                    let begun = Instant::now();
                    let gave = (WAITS[at].call)(time);
                    let early = begun.elapsed() + WAITS[at].sooner < time;
                    if gave != WAITS[at].gives || early {
                        let answer = i64::from(gave) + if early { 1000 } else { 0 };
                        each.wrong.store(answer, Ordering::SeqCst);
                    }
                    each.turns.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    }
    Box::new(move || {
        let mut wrong = Vec::new();
        let turns = |at: usize, long: usize| all[at][long].turns.load(Ordering::SeqCst);
        let before: Vec<u64> = (0..WAITS.len()).map(|at| turns(at, 0)).collect();
        let until = Instant::now() + Duration::from_secs(30);
        for (at, wait) in WAITS.iter().enumerate() {
            while turns(at, 0) == before[at] && Instant::now() < until {
                std::thread::yield_now();
            }
            let name = wait.name;
            wrong.extend(same(name, turns(at, 0) > before[at], true));
            wrong.extend(same(&format!("{name} of an hour ended"), turns(at, 1), 0));
            for each in &all[at] {
                // 1000 more where it ended too early.
                let answer = each.wrong.load(Ordering::SeqCst);
                wrong.extend(same(&format!("{name}: the answer"), answer, NONE));
            }
        }
        wrong
    })
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

fn address<T>(of: &T) -> usize {
    std::ptr::from_ref(of).addr()
}

fn poll(time: Duration) -> i32 {
    sys::poll_nothing(time.as_millis() as i32)
}

fn raw_poll(time: Duration) -> i32 {
    sys::call(libc::SYS_poll, [0, 0, time.as_millis() as usize, 0, 0, 0])
}

fn select(time: Duration) -> i32 {
    let time = libc::timeval {
        tv_sec: time.as_secs() as i64,
        tv_usec: i64::from(time.subsec_micros()),
    };
    sys::call(libc::SYS_select, [0, 0, 0, 0, address(&time), 0])
}

fn pselect(time: Duration) -> i32 {
    let time = timespec(time);
    sys::call(libc::SYS_pselect6, [0, 0, 0, 0, address(&time), 0])
}

fn ppoll(time: Duration) -> i32 {
    let time = timespec(time);
    sys::call(libc::SYS_ppoll, [0, 0, address(&time), 0, 0, 0])
}

fn futex(time: Duration) -> i32 {
    let (word, time) = (AtomicU32::new(0), timespec(time));
    let command = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    let arguments = [address(&word), command as usize, 0, address(&time), 0, 0];
    sys::call(libc::SYS_futex, arguments)
}

fn futex_until(time: Duration) -> i32 {
    let (word, time) = (AtomicU32::new(0), timespec(sys::monotonic() + time));
    let command = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG;
    let all = u32::MAX as usize;
    let arguments = [address(&word), command as usize, 0, address(&time), 0, all];
    sys::call(libc::SYS_futex, arguments)
}

fn nanosleep(time: Duration) -> i32 {
    sys::call(
        libc::SYS_nanosleep,
        [address(&timespec(time)), 0, 0, 0, 0, 0],
    )
}

fn clock_nanosleep(time: Duration) -> i32 {
    let (time, rest) = (timespec(time), timespec(Duration::ZERO));
    let clock = libc::CLOCK_MONOTONIC as usize;
    let arguments = [clock, 0, address(&time), address(&rest), 0, 0];
    sys::call(libc::SYS_clock_nanosleep, arguments)
}

fn sleep_until(time: Duration) -> i32 {
    let time = timespec(sys::monotonic() + time);
    let clock = libc::CLOCK_MONOTONIC as usize;
    let until = libc::TIMER_ABSTIME as usize;
    let arguments = [clock, until, address(&time), 0, 0, 0];
    sys::call(libc::SYS_clock_nanosleep, arguments)
}

fn sigtimedwait(time: Duration) -> i32 {
    let (set, time) = (1_u64 << (libc::SIGUSR2 - 1), timespec(time));
    let arguments = [address(&set), 0, address(&time), 8, 0, 0];
    sys::call(libc::SYS_rt_sigtimedwait, arguments)
}

fn epoll_wait(time: Duration) -> i32 {
    let Ok(epoll) = Epoll::new(EpollCreateFlags::empty()) else {
        return -1;
    };
    let milliseconds = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
    let answer = epoll.wait(
        &mut [EpollEvent::empty()],
        EpollTimeout::try_from(milliseconds).unwrap_or(EpollTimeout::NONE),
    );
    answer.map_or_else(|errno| errno as i32, |_| 0)
}

fn socket(time: Duration) -> i32 {
    let Ok((own, _other)) = UnixStream::pair() else {
        return -1;
    };
    if own.set_read_timeout(Some(time)).is_err() {
        return -1;
    }
    let answer = (&own).read(&mut [0]);
    answer.map_or_else(|error| error.raw_os_error().unwrap_or(-1), |_| 0)
}

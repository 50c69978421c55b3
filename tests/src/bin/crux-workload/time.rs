//! Time: sleeps of full length, and timers.
//!
//! Kind: effect.

use super::{Verify, same, sys};
use nix::libc::{CLOCK_MONOTONIC, CLOCK_REALTIME, SIGUSR1, SIGUSR2};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Threads that sleep over and over, each time in one call that nothing may end early.
pub(crate) fn sleeps() -> Verify {
    const LENGTHS: [i64; 3] = [50_000_000, 300_000_000, 900_000_000];
    let counts: Arc<[AtomicU64; 3]> = Arc::default();
    let early: Arc<AtomicU64> = Arc::default();
    for (at, length) in LENGTHS.into_iter().enumerate() {
        let (counts, early) = (Arc::clone(&counts), Arc::clone(&early));
        std::thread::spawn(move || {
            loop {
                let begun = Instant::now();
                let answer = sys::sleep_once(length);
                let slept = begun.elapsed().as_nanos() as i64;
                if answer != 0 || slept < length {
                    early.fetch_add(1, Ordering::SeqCst);
                }
                counts[at].fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    Box::new(move || {
        let mut wrong = Vec::new();
        let before = [0, 1, 2].map(|at| counts[at].load(Ordering::SeqCst));
        let begun = Instant::now();
        let goes_on = |at: usize| {
            while begun.elapsed().as_secs() < 20 {
                if counts[at].load(Ordering::SeqCst) > before[at] {
                    return true;
                }
                std::thread::yield_now();
            }
            false
        };
        wrong.extend(same("sleepers wake", [0, 1, 2].map(goes_on), [true; 3]));
        wrong.extend(same("ended early", early.load(Ordering::SeqCst), 0));
        wrong
    })
}

/// An alarm and POSIX timers that have long to go, with their ids.
pub(crate) fn timers() -> Verify {
    sys::catch(SIGUSR1, 0, &[]);
    sys::catch(SIGUSR2, 0, &[]);
    let one = sys::timer(CLOCK_MONOTONIC, SIGUSR1, 3000, 40);
    let two = sys::timer(CLOCK_REALTIME, SIGUSR2, 5000, 0);
    sys::alarm(4000, 50);
    let (one, two) = (one as usize, two as usize);
    Box::new(move || {
        let mut wrong = Vec::new();
        let near = |what: &str, (left, interval): (i64, i64), wanted: (i64, i64)| {
            let good = left <= wanted.0 && left > wanted.0 - 300 && interval == wanted.1;
            (!good).then(|| format!("{what}: {left} s and {interval} s"))
        };
        wrong.extend(near("timer 0", sys::timer_left(one as _), (3000, 40)));
        wrong.extend(near("timer 1", sys::timer_left(two as _), (5000, 0)));
        wrong.extend(near("alarm", sys::alarm_left(), (4000, 50)));
        wrong
    })
}

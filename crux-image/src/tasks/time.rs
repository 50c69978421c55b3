//! Timers, and what the clocks said.
//!
//! Kind: pure. All times are in nanoseconds.

use serde::{Deserialize, Serialize};

/// The clocks of the machine while the tasks were frozen (clock_gettime(2)), outside of
/// any time namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocks {
    /// `CLOCK_REALTIME`.
    pub realtime: u64,
    /// `CLOCK_MONOTONIC`.
    pub monotonic: u64,
    /// `CLOCK_BOOTTIME`.
    pub boottime: u64,
}

/// setitimer(2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntervalTimer {
    /// Until it goes off; 0 if it does not.
    pub remaining: u64,
    /// From then on each time.
    pub interval: u64,
}

/// timer_create(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PosixTimer {
    /// Its id, which the restored one has as well.
    pub id: u32,
    /// `CLOCK_*`.
    pub clock: i32,
    /// How the process hears of it.
    pub notify: Notify,
    /// Until it goes off; 0 if it does not.
    pub remaining: u64,
    /// From then on each time.
    pub interval: u64,
    /// timer_getoverrun(2).
    pub overrun: u32,
}

/// `SIGEV_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notify {
    /// It does not.
    None,
    /// By a signal to the process.
    Signal {
        /// Its number.
        signal: u8,
        /// `sigev_value`.
        value: u64,
    },
    /// By a signal to one thread.
    Thread {
        /// Its number.
        signal: u8,
        /// `sigev_value`.
        value: u64,
        /// The thread's number in its own pid namespace.
        thread: u32,
    },
}

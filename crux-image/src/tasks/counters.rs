//! What is open and only counts or tells: eventfd(2), signalfd(2), timerfd_create(2).
//!
//! Kind: pure.

use serde::{Deserialize, Serialize};

/// eventfd(2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCounter {
    /// The counter.
    pub count: u64,
    /// `EFD_SEMAPHORE`.
    pub semaphore: bool,
}

/// timerfd_create(2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerFile {
    /// The clock, by its number.
    pub clock: i32,
    /// Nanoseconds until it expires; 0: it is disarmed.
    pub remaining: u64,
    /// Nanoseconds from one expiration to the next; 0: there is one.
    pub interval: u64,
    /// Expirations that nobody has read.
    pub ticks: u64,
    /// `TFD_TIMER_ABSTIME`: it was set for a time of its clock.
    pub absolute: bool,
    /// `TFD_TIMER_CANCEL_ON_SET`.
    pub cancel_on_set: bool,
    /// The time of its clock at which it expires, in nanoseconds.
    pub deadline: u64,
}

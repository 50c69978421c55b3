//! Signals that wait, and POSIX timers as /proc shows them.
//!
//! Kind: the parser is pure; [`queue`] asks.

use crux_image::tasks::{Notify, SignalInfo};
use crux_trace::{Queue, Stopped, TraceError};

/// The signals in a queue, in their order.
pub(super) fn queue(thread: &Stopped, which: Queue) -> Result<Vec<SignalInfo>, TraceError> {
    let found = thread.pending(which)?;
    let info = |info: &crux_trace::SigInfo| SignalInfo {
        bytes: info.0.to_vec(),
    };
    Ok(found.iter().map(info).collect())
}

/// A timer in `/proc/PID/timers` (proc_pid_timers(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PosixTimerFacts {
    pub(super) id: u32,
    pub(super) clock: i32,
    pub(super) notify: Notify,
}

impl PosixTimerFacts {
    /// All of them, each of four lines:
    ///
    /// ```text
    /// ID: 1
    /// signal: 60/00007fff86e452a8
    /// notify: signal/pid.2634
    /// ClockID: 0
    /// ```
    pub(super) fn parse_all(text: &[u8]) -> Option<Vec<Self>> {
        let text = std::str::from_utf8(text).ok()?;
        let lines: Vec<&str> = text.lines().collect();
        lines.chunks(4).map(Self::parse).collect()
    }

    fn parse(lines: &[&str]) -> Option<Self> {
        let value = |at: usize, name: &str| lines.get(at)?.strip_prefix(name);
        let (signal, value_of) = value(1, "signal: ")?.split_once('/')?;
        let value_of = value_of.trim_start_matches("0x");
        let (signal, word) = (
            signal.parse().ok()?,
            u64::from_str_radix(value_of, 16).ok()?,
        );
        // `signal/pid.N`, `none/pid.N`, `thread/tid.N`: thread is SIGEV_THREAD, which only libc makes, of
        // signals; with `tid` it is to one thread.
        let (how, whom) = value(2, "notify: ")?.split_once('/')?;
        let notify = match (how, whom.split_once('.')?) {
            ("none", _) => Notify::None,
            (_, ("tid", tid)) => Notify::Thread {
                signal,
                value: word,
                thread: tid.parse().ok()?,
            },
            _ => Notify::Signal {
                signal,
                value: word,
            },
        };
        Some(Self {
            id: value(0, "ID: ")?.parse().ok()?,
            clock: value(3, "ClockID: ")?.parse().ok()?,
            notify,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_are_read() {
        let text = b"ID: 0\nsignal: 14/000000000000002a\nnotify: signal/pid.7\nClockID: 1\n\
            ID: 2\nsignal: 33/0000000000000000\nnotify: signal/tid.9\nClockID: -6\n\
            ID: 3\nsignal: 0/0000000000000000\nnotify: none/pid.7\nClockID: 7\n";
        let found = PosixTimerFacts::parse_all(text).unwrap();
        assert_eq!(
            found[0],
            PosixTimerFacts {
                id: 0,
                clock: 1,
                notify: Notify::Signal {
                    signal: 14,
                    value: 42
                }
            }
        );
        assert_eq!(
            (found[1].clock, found[1].notify),
            (
                -6,
                Notify::Thread {
                    signal: 33,
                    value: 0,
                    thread: 9
                }
            )
        );
        assert_eq!(found[2].notify, Notify::None);
        assert_eq!(PosixTimerFacts::parse_all(b""), Some(vec![]));
        assert_eq!(PosixTimerFacts::parse_all(b"ID: 0\n"), None);
    }
}

//! Processes: what their threads have in common.
//!
//! Kind: effect where it reads; parsers are pure.

use super::namespaces::cgroups;
use super::proc_text::{Stat, Status, decimal, hexadecimal, odd, read};
use super::questions::TimerAnswer;
use super::signals::PosixTimerFacts;
use super::target::Target;
use crux_image::tasks::{Limit, Notify, PosixTimer, ProcessState, Thread};
use crux_mount::sys::SysError;
use rustix::fs::{AtFlags, CWD, statat};
use std::collections::HashSet;
use std::os::fd::AsFd as _;

/// `SIGCHLD`, whose action may have flags where it has no handler.
const SIGCHLD: u64 = 1 << (libc::SIGCHLD - 1);
/// `RLIM_NLIMITS`.
const LIMITS: usize = 16;

/// What /proc says of a process.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) exit_signal: u8,
    pub(super) exit_status: u32,
    pub(super) personality: u32,
    pub(super) thp_disabled: bool,
    pub(super) oom_score_adj: i16,
    pub(super) coredump_filter: u32,
    pub(super) limits: Vec<Limit>,
    pub(super) cgroups: Vec<crux_image::tasks::CgroupMembership>,
    pub(super) timers: Vec<PosixTimerFacts>,
    /// Signals whose action may be another than the default.
    pub(super) signals: u64,
    /// Those that have a handler.
    pub(super) handled: u64,
    groups: Vec<u32>,
    sessions: Vec<u32>,
    /// In how many pid namespaces it has a number.
    pub(super) levels: usize,
}

impl Facts {
    /// `status` is that of the first thread, if it is known already.
    pub(super) fn read(target: &Target, status: Option<&Status>) -> Result<Self, SysError> {
        let directory = &target.directory;
        let stat = Stat::read(directory.as_fd())?;
        let status = match status {
            Some(known) => known.clone(),
            None => Status::parse(&read(directory, "status")?),
        };
        let number = |name: &'static str| {
            let text = read(directory, name)?;
            hexadecimal(&text).ok_or_else(|| odd(name))
        };
        let numbers = |name: &str| status.numbers(name).ok_or_else(|| odd("status"));
        let (timers, coredump_filter) = match target.zombie {
            true => (Vec::new(), 0),
            false => {
                let text = read(directory, "timers")?;
                let timers = PosixTimerFacts::parse_all(&text).ok_or_else(|| odd("timers"))?;
                (timers, number("coredump_filter")?)
            }
        };
        let set = |name: &str| status.set(name).unwrap_or(0);
        let adjustment = decimal(&read(directory, "oom_score_adj")?);
        Ok(Self {
            exit_signal: stat
                .field(38)
                .and_then(|signal| u8::try_from(signal).ok())
                .unwrap_or(0),
            exit_status: stat.field(52).unwrap_or(0) as u32,
            personality: number("personality")?,
            thp_disabled: status.number("THP_enabled") == Some(0),
            oom_score_adj: adjustment.ok_or_else(|| odd("oom_score_adj"))?,
            coredump_filter,
            limits: limits(&read(directory, "limits")?).ok_or_else(|| odd("limits"))?,
            cgroups: cgroups(target)?,
            timers,
            signals: set("SigCgt") | set("SigIgn") | SIGCHLD,
            handled: status.set("SigCgt").unwrap_or(!0),
            levels: numbers("NSpid")?.len(),
            groups: numbers("NSpgid")?,
            sessions: numbers("NSsid")?,
        })
    }

    /// Process group and session, as numbers in the first pid namespace of the image. 0 if that of a process outside
    /// the container.
    pub(super) fn group_and_session(&self, outside: usize, ours: &HashSet<u32>) -> (u32, u32) {
        let of = |numbers: &[u32]| {
            let found = numbers.get(outside).copied().unwrap_or(0);
            // Within the dumper's pid namespace, somebody else's number can be theirs.
            match outside == 0 && !ours.contains(&found) && exists(found) {
                true => 0,
                false => found,
            }
        };
        (of(&self.groups), of(&self.sessions))
    }

    /// Timers with what the process said of each.
    pub(super) fn timers(
        &self,
        told: &[TimerAnswer],
        threads: &[(u32, Thread)],
    ) -> Vec<PosixTimer> {
        let both = self.timers.iter().zip(told);
        let timer = |(facts, told): (&PosixTimerFacts, &TimerAnswer)| PosixTimer {
            id: facts.id,
            clock: facts.clock,
            notify: within(facts.notify, threads),
            remaining: told.remaining,
            interval: told.interval,
            overrun: told.overrun,
        };
        both.map(timer).collect()
    }

    pub(super) fn state(&self, target: &Target, stopped: Option<i32>) -> ProcessState {
        match (target.zombie, stopped) {
            (true, _) => ProcessState::Zombie(self.exit_status),
            (false, Some(signal)) => ProcessState::Stopped(signal as u8),
            (false, None) => ProcessState::Running,
        }
    }
}

fn exists(pid: u32) -> bool {
    statat(CWD, format!("/proc/{pid}"), AtFlags::empty()).is_ok()
}

/// /proc shows a thread's number as the dumper sees it.
fn within(notify: Notify, threads: &[(u32, Thread)]) -> Notify {
    match notify {
        Notify::Thread {
            signal,
            value,
            thread,
        } => Notify::Thread {
            signal,
            value,
            thread: threads
                .iter()
                .find(|(tid, _)| *tid == thread)
                .and_then(|(_, thread)| thread.pids.last().copied())
                .unwrap_or(thread),
        },
        other => other,
    }
}

/// A headline, and a line for each limit in the order of their numbers: a name of 25 characters, then soft and
/// hard, which are `unlimited` or numbers.
fn limits(text: &[u8]) -> Option<Vec<Limit>> {
    const NAME: usize = 25;
    let text = std::str::from_utf8(text).ok()?;
    let value = |word: &str| match word {
        "unlimited" => Some(u64::MAX),
        word => word.parse().ok(),
    };
    let line = |line: &str| {
        let mut words = line.get(NAME..)?.split_ascii_whitespace();
        Some(Limit {
            soft: value(words.next()?)?,
            hard: value(words.next()?)?,
        })
    };
    let found: Vec<Limit> = text.lines().skip(1).map(line).collect::<Option<_>>()?;
    (found.len() == LIMITS).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_in_their_order() {
        let text = std::fs::read("/proc/self/limits").unwrap();
        let found = limits(&text).unwrap();
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        assert_eq!(
            found[libc::RLIMIT_NOFILE as usize].soft,
            files.current.unwrap_or(u64::MAX)
        );
        let stack = rustix::process::getrlimit(rustix::process::Resource::Stack);
        assert_eq!(
            found[libc::RLIMIT_STACK as usize].hard,
            stack.maximum.unwrap_or(u64::MAX)
        );
        assert_eq!(limits(b"Limit\nMax cpu time\n"), None);
    }
}

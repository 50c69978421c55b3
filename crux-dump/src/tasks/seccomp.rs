//! Filters of system calls: who has some, and what they allow.
//!
//! Kind: effect where it looks at threads.
//!
//! KERNEL: filters are told only to a tracer that has none itself, and holds `CAP_SYS_ADMIN`. So they are read by a
//! process of its own, before these tasks are stopped for good. Filters are only ever added: a thread
//! that has as many as it had then has the same.

use super::ask::STUB_CALLS;
use super::freeze::Frozen;
use super::proc_text::{Stat, Status, odd, read_of_thread};
use super::questions::Questions;
use super::target::Target;
use super::{Part, TaskCause, TaskObstacle};
use crux_image::tasks::{
    FilteredCall, Process, SeccompChain, SeccompFilter, SeccompIndex, SeccompState, Thread,
};
use crux_mount::sys::SysError;
use crux_script::{Argument, Call, Line, Purpose};
use std::collections::HashMap;
use std::os::fd::AsFd as _;

/// `CAP_SYS_ADMIN`, as a bit.
const SYS_ADMIN: u64 = 1 << 21;

/// What was read of the filters of threads.
#[derive(Debug, Default)]
pub struct Filters {
    /// By the thread's number: when it was made, and its filters.
    known: HashMap<u32, (i64, SeccompChain)>,
    /// Whose filters are to be read.
    asked: HashMap<u32, i64>,
}

impl Filters {
    /// Threads that have other filters than is known.
    pub(crate) fn unknown(&mut self, frozen: &Frozen) -> Result<Vec<u32>, SysError> {
        self.asked.clear();
        for (at, thread) in frozen.threads() {
            let (target, tid) = (&frozen.targets[at], thread.tid().number());
            if Mode::of(&status(target, tid)?) == Mode::Filters && self.of(target, tid)?.is_none() {
                self.asked.insert(tid, born(target, tid)?);
            }
        }
        let mut all: Vec<u32> = self.asked.keys().copied().collect();
        all.sort_unstable();
        Ok(all)
    }

    /// Takes what was read.
    pub(crate) fn learn(&mut self, seen: Vec<(u32, Vec<SeccompFilter>)>) {
        for (tid, filters) in seen {
            if let Some(born) = self.asked.get(&tid) {
                self.known.insert(tid, (*born, SeccompChain { filters }));
            }
        }
    }

    /// The filters of a thread; none where they have to be read.
    fn of(&self, target: &Target, tid: u32) -> Result<Option<&SeccompChain>, SysError> {
        let Some((when, chain)) = self.known.get(&tid) else {
            return Ok(None);
        };
        let status = status(target, tid)?;
        let count = status.number("Seccomp_filters");
        let same = *when == born(target, tid)? && count == u32::try_from(chain.filters.len()).ok();
        Ok(same.then_some(chain))
    }

    /// What stands in the way of asking a thread and of giving it its filters again.
    pub(super) fn stand_in_the_way(
        &self,
        target: &Target,
        tid: u32,
        status: &Status,
        questions: impl FnOnce() -> Questions,
    ) -> Result<Option<String>, SysError> {
        let mode = Mode::of(status);
        if mode == Mode::Strict {
            return Ok(Some(
                "it is in seccomp's strict mode, in which it can be asked nothing".into(),
            ));
        }
        if mode == Mode::Off {
            return Ok(None);
        }
        let Some(chain) = self.of(target, tid)? else {
            let what = "its seccomp filters could not be read, or have changed since";
            return Ok(Some(what.into()));
        };
        if chain.filters.iter().any(SeccompFilter::asks) {
            let what = "its seccomp filter asks another process (SECCOMP_RET_USER_NOTIF), which cannot be dumped";
            return Ok(Some(what.into()));
        }
        let refused = questions()
            .arena
            .lines()
            .filter_map(|(_, line)| match line {
                Line::Call(call) => Some(filtered(call)),
                Line::Stop(_) => None,
            })
            .chain(STUB_CALLS)
            .find(|call| !chain.allows(call));
        Ok(refused.map(|call| {
            let call = name(call.number);
            format!("its seccomp filter does not allow {call}, which it has to be asked")
        }))
    }

    /// Puts the filters of all threads into the record.
    pub(super) fn complete(
        &self,
        frozen: &Frozen,
        processes: &mut [Process],
        obstacles: &mut Vec<TaskObstacle>,
    ) -> Result<Vec<SeccompChain>, SysError> {
        let mut chains: Vec<SeccompChain> = Vec::new();
        let mut positions: HashMap<&SeccompChain, SeccompIndex> = HashMap::new();
        for ((target, held), process) in frozen.targets.iter().zip(&frozen.held).zip(processes) {
            for (stopped, thread) in held.threads.iter().zip(&mut process.threads) {
                let tid = stopped.tid().number();
                let Some(chain) = self.of(target, tid)? else {
                    continue;
                };
                if let Some(what) = cannot_be_installed(chain, thread) {
                    obstacles.push(TaskObstacle {
                        pid: target.pid,
                        part: Part::Thread(tid),
                        cause: TaskCause::Other(what),
                    });
                }
                let index = positions.entry(chain).or_insert_with(|| {
                    chains.push(chain.clone());
                    SeccompIndex::from(chains.len() - 1)
                });
                thread.seccomp = SeccompState::Filters(*index);
            }
        }
        Ok(chains)
    }
}

/// Who has not given up all new privileges needs CAP_SYS_ADMIN for a filter; who has not that in the end gives
/// it up when the filters are there.
fn cannot_be_installed(chain: &SeccompChain, thread: &Thread) -> Option<String> {
    let credentials = &thread.credentials;
    let capable = credentials.capabilities.effective & SYS_ADMIN != 0;
    if credentials.no_new_privs || capable {
        return None;
    }
    let capset = FilteredCall {
        number: libc::SYS_capset as u32,
        instruction: 0,
        arguments: [0; 6],
    };
    (!chain.allows(&capset)).then(|| {
        "its seccomp filter does not allow capset, which has to come after the filter in a restore \
         (it has neither no_new_privs nor CAP_SYS_ADMIN)"
            .to_owned()
    })
}

/// A call of a script, with no addresses.
fn filtered(call: &Call) -> FilteredCall {
    FilteredCall {
        number: call.number,
        instruction: 0,
        arguments: call.arguments.map(|argument| match argument {
            Argument::Literal(value) => value,
            _ => 0,
        }),
    }
}

fn name(number: u32) -> String {
    let mut forms = crux_script::list(Purpose::Dump);
    let found = forms.find(|form| form.number == number);
    found.map_or_else(|| format!("call {number}"), |form| form.name.to_owned())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    Strict,
    Filters,
}

impl Mode {
    fn of(status: &Status) -> Self {
        // A kernel without seccomp says nothing of it.
        match status.number("Seccomp") {
            None | Some(0) => Self::Off,
            Some(1) => Self::Strict,
            Some(_) => Self::Filters,
        }
    }
}

fn status(target: &Target, tid: u32) -> Result<Status, SysError> {
    let text = read_of_thread(target.directory.as_fd(), tid, "status")?;
    Ok(Status::parse(&text))
}

/// When a thread was made, in ticks.
fn born(target: &Target, tid: u32) -> Result<i64, SysError> {
    let text = read_of_thread(target.directory.as_fd(), tid, "stat")?;
    let stat = Stat::parse(&text).and_then(|stat| stat.field(22));
    stat.ok_or_else(|| odd("task/TID/stat"))
}

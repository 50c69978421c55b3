//! Threads: registers, signals, credentials, scheduling.
//!
//! Kind: effect.

use super::calls::{self, UnknownCall};
use super::proc_text::{Status, odd, read_of_thread};
use super::questions::Answers;
use super::signals::queue;
use super::target::Target;
use super::users::Ids;
use super::{Part, TaskCause, TaskObstacle};
use crate::sys;
use crux_image::tasks::{
    AlternateStack, Capabilities, Clocks, Credentials, Interrupted, Registers, RobustList, Rseq,
    Scheduling, SeccompState, Thread,
};
use crux_mount::sys::SysError;
use crux_trace::{Queue, Stopped, TraceError};
use std::os::fd::AsFd as _;

/// `RSEQ_FLAG_*` and the rest of a registration are the kernel's; 2 is disabled, of sigaltstack(2).
const SS_DISABLE: u32 = 2;

/// Why a thread could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ThreadError {
    /// /proc, or a call on it, failed.
    #[error("{0}")]
    Call(#[from] SysError),
    /// A request of the tracer failed.
    #[error("{0}")]
    Trace(#[from] TraceError),
}

/// What else is known of a thread.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    /// Whose it is.
    pub(super) target: &'a Target,
    /// How ids look from here.
    pub(super) ids: Ids<'a>,
    /// How many pid namespaces are outside of the image's first.
    pub(super) outside: usize,
    /// What the clocks said.
    pub(super) clocks: &'a Clocks,
}

/// Captures a thread that is stopped.
pub(super) fn capture(
    about: About<'_>,
    thread: &Stopped,
    status: &Status,
    answers: Answers,
    obstacles: &mut Vec<TaskObstacle>,
) -> Result<Thread, ThreadError> {
    let tid = thread.tid().number();
    let mut note = |what: String| {
        obstacles.push(TaskObstacle {
            pid: about.target.pid,
            part: Part::Thread(tid),
            cause: TaskCause::Other(what),
        });
    };
    let now = thread.registers()?;
    let (mut registers, mut interrupted) = (from_kernel(&now), Interrupted::No);
    match calls::timed_wait(thread, &now, about.clocks) {
        Ok(None) => {}
        Ok(Some(wait)) => {
            registers.orig_rax = wait.call as u64;
            interrupted = Interrupted::Timed {
                remaining: wait.remaining,
            };
        }
        Err(UnknownCall) => note(
            "it is in a timed wait that was interrupted before, and nothing tells in which call"
                .into(),
        ),
    }
    let credentials = credentials(status, about.ids, answers.securebits);
    let credentials = credentials.ok_or_else(|| odd("task/TID/status"))?;
    if credentials.is_none() {
        note("it has a user or group id that its user namespace does not map".into());
    }
    let (head, length) = sys::robust_list(tid)?;
    let rseq = thread.rseq()?.map(|it| Rseq {
        address: it.address,
        size: it.size,
        signature: it.signature,
    });
    Ok(Thread {
        pids: pids(status, about.outside).ok_or_else(|| odd("task/TID/status"))?,
        name: name(about.target, tid)?,
        interrupted,
        registers,
        xstate: thread.xstate()?,
        mask: thread.signal_mask()?,
        pending: queue(thread, Queue::Thread)?,
        alternate_stack: answers.stack,
        tid_address: answers.tid_address,
        robust_list: RobustList { head, length },
        rseq,
        credentials: credentials.unwrap_or_else(nobody),
        scheduling: scheduling(tid)?,
        affinity: sys::affinity(tid)?,
        io_priority: sys::io_priority(tid)?,
        timer_slack: answers.timer_slack,
        parent_death_signal: answers.parent_death_signal,
        seccomp: SeccompState::Off,
    })
}

/// Whether a thread may not make every system call: 0, 1 (strict) or 2 (a filter).
pub(super) fn seccomp(status: &Status) -> u32 {
    status.number("Seccomp").unwrap_or(0)
}

/// Whether its code, or its system calls, are of 32 bits.
pub(super) fn is_32_bit(thread: &Stopped) -> bool {
    /// `__USER_CS` of the kernel.
    const CODE_64: u64 = 0x33;
    // The kernel has another set of registers for them.
    thread.registers().is_ok_and(|it| it.cs != CODE_64)
        || thread
            .registers()
            .is_err_and(|it| it.errno == rustix::io::Errno::NOEXEC)
}

/// What is left of a process that has ended.
pub(super) fn zombie(about: About<'_>) -> Result<Thread, ThreadError> {
    let target = about.target;
    let status = status(target, target.pid)?;
    // Who waits for it reads whose it was; its securebits nobody can read any more.
    let credentials = credentials(&status, about.ids, 0).ok_or_else(|| odd("status"))?;
    Ok(Thread {
        pids: pids(&status, about.outside).ok_or_else(|| odd("status"))?,
        name: name(target, target.pid)?,
        registers: Registers::default(),
        xstate: Vec::new(),
        interrupted: Interrupted::No,
        mask: 0,
        pending: Vec::new(),
        alternate_stack: AlternateStack {
            address: 0,
            size: 0,
            flags: SS_DISABLE,
        },
        tid_address: 0,
        robust_list: RobustList { head: 0, length: 0 },
        rseq: None,
        credentials: credentials.unwrap_or_else(nobody),
        scheduling: scheduling(target.pid)?,
        affinity: sys::affinity(target.pid)?,
        io_priority: 0,
        timer_slack: 0,
        parent_death_signal: 0,
        seccomp: SeccompState::Off,
    })
}

/// What /proc says of it in words.
pub(super) fn status(target: &Target, tid: u32) -> Result<Status, SysError> {
    read_of_thread(target.directory.as_fd(), tid, "status").map(|text| Status::parse(&text))
}

fn name(target: &Target, tid: u32) -> Result<Vec<u8>, SysError> {
    let mut name = read_of_thread(target.directory.as_fd(), tid, "comm")?;
    if name.last() == Some(&b'\n') {
        name.pop();
    }
    Ok(name)
}

/// Its numbers from the first pid namespace of the image on.
fn pids(status: &Status, outside: usize) -> Option<Vec<u32>> {
    let all = status.numbers("NSpid")?;
    all.get(outside..)
        .map(<[u32]>::to_vec)
        .filter(|it| !it.is_empty())
}

/// None within if an id is not mapped.
fn credentials(status: &Status, ids: Ids<'_>, securebits: u32) -> Option<Option<Credentials>> {
    let four = |name: &str| status.numbers(name)?.try_into().ok();
    let (uids, gids): ([u32; 4], [u32; 4]) = (four("Uid")?, four("Gid")?);
    let groups = status.numbers("Groups")?;
    let capabilities = Capabilities {
        inheritable: status.set("CapInh")?,
        permitted: status.set("CapPrm")?,
        effective: status.set("CapEff")?,
        bounding: status.set("CapBnd")?,
        ambient: status.set("CapAmb")?,
    };
    let no_new_privs = status.number("NoNewPrivs")? != 0;
    let map = |seen: [u32; 4], of: &dyn Fn(u32) -> Option<u32>| -> Option<[u32; 4]> {
        let found: Vec<u32> = seen.into_iter().map(of).collect::<Option<_>>()?;
        found.try_into().ok()
    };
    let mapped = || {
        Some(Credentials {
            uids: map(uids, &|id| ids.uid(id))?,
            gids: map(gids, &|id| ids.gid(id))?,
            groups: groups
                .iter()
                .map(|id| ids.gid(*id))
                .collect::<Option<_>>()?,
            capabilities,
            securebits,
            no_new_privs,
        })
    };
    Some(mapped())
}

fn nobody() -> Credentials {
    Credentials {
        uids: [0; 4],
        gids: [0; 4],
        groups: Vec::new(),
        capabilities: Capabilities {
            inheritable: 0,
            permitted: 0,
            effective: 0,
            bounding: 0,
            ambient: 0,
        },
        securebits: 0,
        no_new_privs: false,
    }
}

fn scheduling(tid: u32) -> Result<Scheduling, SysError> {
    let found = sys::scheduling(tid)?;
    Ok(Scheduling {
        policy: found.policy,
        flags: found.flags,
        nice: found.nice,
        priority: found.priority,
        runtime: found.runtime,
        deadline: found.deadline,
        period: found.period,
    })
}

macro_rules! registers {
    ($($name:ident)*) => {
        pub(super) fn from_kernel(registers: &crux_trace::Registers) -> Registers {
            Registers { $($name: registers.$name),* }
        }

        #[cfg(test)]
        pub(super) fn to_kernel(registers: &Registers) -> crux_trace::Registers {
            crux_trace::Registers { $($name: registers.$name),* }
        }
    };
}

registers!(r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss
    fs_base gs_base ds es fs gs);

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODYS: Ids<'_> = Ids {
        all: &[],
        user: None,
    };
    const TEXT: &[u8] = b"NSpid:\t700\t7\t1\nUid:\t0\t1\t2\t3\nGid:\t4\t4\t4\t4\nGroups:\t4 24 \n\
        NoNewPrivs:\t1\nCapInh:\t0\nCapPrm:\tff\nCapEff:\tf\nCapBnd:\t1ff\nCapAmb:\t0\n";

    #[test]
    fn numbers_outside_of_the_image_are_left_out() {
        let status = Status::parse(TEXT);
        assert_eq!(pids(&status, 1), Some(vec![7, 1]));
        assert_eq!(pids(&status, 3), None);
    }

    #[test]
    fn credentials_are_read() {
        let found = credentials(&Status::parse(TEXT), NOBODYS, 5)
            .unwrap()
            .unwrap();
        assert_eq!((found.uids, found.gids), ([0, 1, 2, 3], [4; 4]));
        assert_eq!((found.groups, found.securebits), (vec![4, 24], 5));
        assert!(found.no_new_privs);
        assert_eq!(found.capabilities.permitted, 255);
        assert_eq!(credentials(&Status::parse(b"Uid:\t1\n"), NOBODYS, 0), None);
    }
}

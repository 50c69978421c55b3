//! Installing a thread's filters of system calls, from outside.
//!
//! Kind: effect. What the calls read is written over some of the task's memory, which gets its bytes back: nobody runs.

use super::error::TaskError;
use super::remote::{Remote, accepted, call};
use crate::tasks::plan::{PlannedFilter, PlannedSeccomp};
use crux_image::tasks::FilterInstruction;
use crux_trace::{Registers, Stopped, TraceError, read_memory, write_memory};
use rustix::io::Errno;

/// `_LINUX_CAPABILITY_VERSION_3`.
const VERSION: u32 = 0x2008_0522;
/// Where the instructions are, behind `struct sock_fprog`.
const PROGRAM: u64 = 64;

/// Installs them, the oldest first, and gives up what was held for it. The thread is at the end of a call.
pub(super) fn install(
    name: &str,
    task: Stopped,
    stub: &Registers,
    planned: &PlannedSeccomp,
) -> Result<Stopped, TaskError> {
    let tid = task.tid();
    let length = usize::try_from(planned.length).unwrap_or(0);
    // TRUST: whoever planned may have been taken over; the kernel takes no longer program.
    let limit = PROGRAM as usize + 4096 * 8;
    if length > limit {
        return Err(TaskError::Own {
            call: "plan seccomp filters",
            errno: Errno::INVAL,
        });
    }
    let mut before = vec![0; length];
    read_memory(tid, planned.scratch, &mut before)?;
    let done = calls(name, task, stub, planned)?;
    write_memory(tid, planned.scratch, &before)?;
    Ok(done)
}

fn calls(
    name: &str,
    mut task: Stopped,
    stub: &Registers,
    planned: &PlannedSeccomp,
) -> Result<Stopped, TaskError> {
    // Calls are made from where the instruction pointer is behind the instruction.
    let from = Registers {
        rip: planned.instruction.wrapping_add(2),
        ..*stub
    };
    for filter in &planned.filters {
        write(&task, planned, &program(filter, planned.scratch))?;
        // TRUST: these calls and no other.
        let allowed = [libc::SYS_seccomp, libc::SYS_prctl];
        let mut allowed = allowed.into_iter();
        let number = allowed.find(|it| *it == i64::from(filter.number));
        let Some(number) = number.filter(|it| is_installation(*it, &filter.arguments)) else {
            return Err(TaskError::Own {
                call: "plan seccomp filters",
                errno: Errno::INVAL,
            });
        };
        let arguments = filter.arguments;
        let done = call(name, task, &from, Remote { number, arguments })?;
        task = accepted(name, "seccomp(SECCOMP_SET_MODE_FILTER)", done)?;
    }
    let Some(sets) = planned.sets else {
        return Ok(task);
    };
    write(&task, planned, &capabilities(sets))?;
    let arguments = [planned.scratch, planned.scratch + 8, 0, 0, 0, 0];
    let number = libc::SYS_capset;
    let done = call(name, task, &from, Remote { number, arguments })?;
    accepted(name, "capset", done)
}

fn is_installation(number: libc::c_long, arguments: &[u64; 6]) -> bool {
    /// `SECCOMP_SET_MODE_FILTER`, with `SECCOMP_FILTER_FLAG_LOG` or nothing.
    const SECCOMP: [(u64, u64); 2] = [(1, 0), (1, 2)];
    /// `PR_SET_SECCOMP`, `SECCOMP_MODE_FILTER`.
    const PRCTL: [(u64, u64); 1] = [(22, 2)];
    let first = (arguments[0], arguments[1]);
    match number {
        libc::SYS_seccomp => SECCOMP.contains(&first),
        _ => PRCTL.contains(&first),
    }
}

fn write(task: &Stopped, planned: &PlannedSeccomp, bytes: &[u8]) -> Result<(), TraceError> {
    let length = bytes.len().min(planned.length as usize);
    write_memory(task.tid(), planned.scratch, &bytes[..length])
}

/// `struct sock_fprog`, and the instructions that it points to.
fn program(filter: &PlannedFilter, scratch: u64) -> Vec<u8> {
    let mut bytes = (filter.program.len() as u64).to_le_bytes().to_vec();
    bytes.extend((scratch + PROGRAM).to_le_bytes());
    bytes.resize(PROGRAM as usize, 0);
    for instruction in &filter.program {
        let FilterInstruction {
            code,
            jump_true,
            jump_false,
            constant,
        } = *instruction;
        bytes.extend(code.to_le_bytes());
        bytes.extend([jump_true, jump_false]);
        bytes.extend(constant.to_le_bytes());
    }
    bytes
}

/// What capset(2) reads: head, then low halves of effective, permitted and inheritable, then the high halves.
fn capabilities(sets: [u64; 3]) -> Vec<u8> {
    let halves = sets.map(|set| set as u32).into_iter();
    let halves = halves.chain(sets.map(|set| (set >> 32) as u32));
    let words = [VERSION, 0].into_iter().chain(halves);
    words.flat_map(u32::to_le_bytes).collect()
}

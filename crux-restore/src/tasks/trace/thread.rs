//! What one thread of a restored process gets from outside, and in which order.
//!
//! Kind: effect.

use super::error::TaskError;
use super::remote::{Remote, accepted, call, interrupted_call, settle, stop_process};
use super::seccomp;
use crate::tasks::plan::Finish;
use crux_image::tasks::Interrupted;
use crux_script::Errno;
use crux_trace::{Registers, Stopped};

/// Memory of ours that is still mapped in the thread's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) base: u64,
    pub(crate) length: u64,
}

/// How tasks are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// They run.
    Running,
    /// They are stopped by this signal, and go on with SIGCONT.
    Stopped(i32),
}

/// The kernel's answers from here on are none for a program (`include/linux/errno.h`).
const RESTARTS: std::ops::RangeInclusive<u16> = 512..=516;

/// Finishes a thread that stands at its last stop. `unmapped` is what it takes away with it: one
/// thread of each address space does, the last.
pub(crate) fn finish(
    name: &str,
    task: Stopped,
    finish: &Finish,
    unmapped: Option<Extent>,
    leaving: Leaving,
) -> Result<Stopped, TaskError> {
    let stub = task.registers()?;
    let (task, answer) = match finish.interrupted {
        Interrupted::No => (task, None),
        Interrupted::Timed { .. } => wait_anew(name, task)?,
    };
    let task = match unmapped {
        Some(extent) => unmap(name, task, &stub, extent)?,
        None => task,
    };
    // A filter sees every call from here on.
    let task = match &finish.seccomp {
        Some(planned) => seccomp::install(name, task, &stub, planned)?,
        None => task,
    };
    let task = match (unmapped.is_some() || finish.seccomp.is_some(), leaving) {
        (false, _) => task,
        (true, Leaving::Running) => settle(name, task)?,
        (true, Leaving::Stopped(signal)) => stop_process(name, task, signal)?,
    };
    task.set_xstate(&finish.xstate)?;
    task.set_registers(&registers(finish, answer))?;
    task.set_signal_mask(finish.mask)?;
    Ok(task)
}

fn unmap(
    name: &str,
    task: Stopped,
    stub: &Registers,
    extent: Extent,
) -> Result<Stopped, TaskError> {
    let what = format!("munmap({:#x}, {})", extent.base, extent.length);
    let done = call(name, task, stub, munmap(extent))?;
    accepted(name, &what, done)
}

fn munmap(extent: Extent) -> Remote {
    Remote {
        number: libc::SYS_munmap,
        arguments: [extent.base, extent.length, 0, 0, 0, 0],
    }
}

/// Into the call that it was waiting in; and what it answers, if it does not wait any more.
fn wait_anew(name: &str, task: Stopped) -> Result<(Stopped, Option<u64>), TaskError> {
    let done = interrupted_call(name, task)?;
    let task = settle(name, done.task)?;
    let restarts = Errno::of(done.result).is_some_and(|errno| RESTARTS.contains(&errno.0));
    Ok((task, (!restarts).then_some(done.result)))
}

/// Its own registers. A call that has ended by now is not restarted.
fn registers(finish: &Finish, answer: Option<u64>) -> Registers {
    let own = &finish.registers;
    let (rax, orig_rax) = match answer {
        Some(answer) => (answer, u64::MAX),
        None => (own.rax, own.orig_rax),
    };
    Registers {
        r15: own.r15,
        r14: own.r14,
        r13: own.r13,
        r12: own.r12,
        rbp: own.rbp,
        rbx: own.rbx,
        r11: own.r11,
        r10: own.r10,
        r9: own.r9,
        r8: own.r8,
        rax,
        rcx: own.rcx,
        rdx: own.rdx,
        rsi: own.rsi,
        rdi: own.rdi,
        orig_rax,
        rip: own.rip,
        cs: own.cs,
        eflags: own.eflags,
        rsp: own.rsp,
        ss: own.ss,
        fs_base: own.fs_base,
        gs_base: own.gs_base,
        ds: own.ds,
        es: own.es,
        fs: own.fs,
        gs: own.gs,
    }
}

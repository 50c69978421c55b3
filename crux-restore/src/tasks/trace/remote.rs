//! Calls that are made in a task from outside.
//!
//! Kind: effect. A task that has run its script stands at the signal of its last stop. Calls are
//! made in it from outside, with the stub's own system call instruction, until the memory that
//! holds this is gone as well.

use super::error::TaskError;
use crux_script::Errno;
use crux_trace::{Registers, Resume, Running, Stop, Stopped, Waited};

/// Bytes of the instruction `syscall`.
const SYSCALL: u64 = 2;

/// A call in a task.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remote {
    pub(super) number: libc::c_long,
    pub(super) arguments: [u64; 6],
}

/// How a call ended.
pub(super) struct Done {
    /// The task, about to leave the call.
    pub(super) task: Stopped,
    /// What it gave.
    pub(super) result: u64,
}

/// Makes a call in a task that stands right behind a system call instruction, at `stub`.
pub(super) fn call(
    name: &str,
    task: Stopped,
    stub: &Registers,
    call: Remote,
) -> Result<Done, TaskError> {
    let task = enter(name, task, stub, call)?;
    let task = to_syscall_stop(name, task.resume(Resume::ToSyscall, 0)?)?;
    let result = task.registers()?.rax;
    Ok(Done { task, result })
}

/// Lets a task that stands before a line which waits go into that call, and interrupts it: what is
/// left of it is what the kernel goes on with later (`-ERESTART_RESTARTBLOCK`).
pub(super) fn interrupted_call(name: &str, task: Stopped) -> Result<Done, TaskError> {
    let task = to_syscall_stop(name, task.resume(Resume::ToSyscall, 0)?)?;
    let running = task.resume(Resume::ToSyscall, 0)?;
    running.interrupt()?;
    // The end of the call comes first, then the stop that ended it.
    let task = to_syscall_stop(name, running)?;
    let result = task.registers()?.rax;
    Ok(Done { task, result })
}

/// From where a call ends to where the kernel looks at signals: registers that are set there are
/// taken as those of an interrupted call. The task executes nothing.
pub(super) fn settle(name: &str, task: Stopped) -> Result<Stopped, TaskError> {
    // Of one that comes out of `interrupted_call` this is asked already.
    Running::attached(task.tid()).interrupt()?;
    stop(name, task.resume(Resume::Continue, 0)?)
}

/// Stops the process of a task that is at the end of a call, as this signal does.
pub(super) fn stop_process(name: &str, task: Stopped, signal: i32) -> Result<Stopped, TaskError> {
    // A signal that is given at the end of a call is one that the task sends itself.
    let task = stop(name, task.resume(Resume::Continue, libc::SIGSTOP)?)?;
    // A blocked one would wait. The task's own mask comes later.
    task.set_signal_mask(!(1 << (signal - 1)))?;
    // Should it not stop the process, the task executes nothing either.
    Running::attached(task.tid()).interrupt()?;
    let task = stop(name, task.resume(Resume::Continue, signal)?)?;
    match task.stop() == Stop::Group(signal) {
        true => Ok(task),
        false => Err(TaskError::NotStopped {
            task: name.to_owned(),
            signal,
        }),
    }
}

fn enter(name: &str, task: Stopped, stub: &Registers, call: Remote) -> Result<Stopped, TaskError> {
    let [rdi, rsi, rdx, r10, r8, r9] = call.arguments;
    let registers = Registers {
        rip: stub.rip - SYSCALL,
        rax: call.number as u64,
        // No call was interrupted here.
        orig_rax: u64::MAX,
        rdi,
        rsi,
        rdx,
        r10,
        r8,
        r9,
        ..*stub
    };
    task.set_registers(&registers)?;
    to_syscall_stop(name, task.resume(Resume::ToSyscall, 0)?)
}

fn to_syscall_stop(name: &str, mut running: Running) -> Result<Stopped, TaskError> {
    loop {
        let task = stop(name, running)?;
        match task.stop() {
            Stop::Syscall => return Ok(task),
            _ => running = task.resume(Resume::ToSyscall, 0)?,
        }
    }
}

fn stop(name: &str, running: Running) -> Result<Stopped, TaskError> {
    match running.wait()? {
        Waited::Stopped(task) => Ok(task),
        Waited::Ended(ended) => Err(TaskError::ended(name.to_owned(), ended)),
    }
}

/// An error of a call that was made in a task.
pub(super) fn accepted(name: &str, what: &str, done: Done) -> Result<Stopped, TaskError> {
    match Errno::of(done.result) {
        None => Ok(done.task),
        Some(errno) => Err(TaskError::Call {
            task: name.to_owned(),
            call: what.to_owned(),
            errno,
        }),
    }
}

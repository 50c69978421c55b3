//! The tracer: has scripts checked and linked, follows the tasks that run them, finishes
//! and releases them.
//!
//! Kind: effect. What it gets from the planner it does not trust: every line is checked
//! against the closed list of calls before a task sees it. Its tasks end with it, until it
//! has let them go.

use super::message::{Answer, Followed, Linked, RECORD, Refusal, SMALL, Traced, Tracing, bound};
use crate::cli::Options;
use crate::failure::{Exit, Failure, OrExit};
use crate::tasks::memory::{ArenaMemory, Gate};
use crate::tasks::plan::TaskPlan;
use crate::tasks::trace::{Finished, Leaving, carry_out};
use crux_role::{Channel, ChannelError};
use crux_script::Purpose;
use crux_trace::Tid;
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, openat};

/// What of a process the planner compares with the record.
pub(crate) const FILES: [&str; 2] = ["maps", "status"];

/// Everything that the tracer does. It ends where the supervisor has gone.
pub(crate) fn work(options: &Options, channel: &Channel) -> Result<(), ChannelError> {
    let (Tracing {}, mut proc) = channel.receive::<Tracing>(bound(SMALL, 1))?;
    let (plan, _) = channel.receive::<TaskPlan>(bound(RECORD, 0))?;
    let Some(proc) = proc.pop() else {
        return Ok(());
    };
    let prepared = match prepare(&plan) {
        Ok(prepared) => prepared,
        Err(failure) => return channel.send(&Answer::<Linked>::Err(failure.into()), &[]),
    };
    let linked = Linked {
        length: prepared.memory.length(),
        line: prepared.line,
    };
    let along = [prepared.memory.as_fd(), prepared.waiter.as_fd()];
    channel.send(&Answer::Ok(linked), &along)?;
    drop(prepared.waiter);
    let (traced, _) = channel.receive::<Traced>(bound(SMALL, 0))?;
    let leaving = match options.leave_stopped {
        true => Leaving::Stopped(libc::SIGSTOP),
        false => Leaving::Running,
    };
    let first = Tid::new(traced.pid).ok_or(ChannelError::Malformed)?;
    let (linked, gate) = (&prepared.linked, prepared.gate);
    let carried = carry_out(&plan, linked, first, gate, proc.as_fd(), leaving);
    let carried = carried.or_exit(Exit::Undone);
    let followed =
        carried.and_then(|finished| look(&finished, proc.as_fd()).map(|it| (finished, it)));
    let (finished, (followed, files)) = match followed {
        Ok(followed) => followed,
        Err(failure) => return channel.send(&Answer::<Followed>::Err(failure.into()), &[]),
    };
    let along: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
    channel.send(&Answer::Ok(followed), &along)?;
    drop(files);
    // From here to the end of this call some live on their own, and others do not yet.
    let ((), _) = channel.receive::<()>(bound(SMALL, 0))?;
    let released = finished.release(proc.as_fd()).or_exit(Exit::Uncertain);
    channel.send(&released.map_err(Refusal::from), &[])
}

struct Prepared {
    linked: crux_script::Linked,
    line: u64,
    memory: ArenaMemory,
    gate: Gate,
    waiter: OwnedFd,
}

/// TRUST: whoever made the plan may have been taken over by the image.
fn prepare(plan: &TaskPlan) -> Result<Prepared, Failure> {
    let checked = plan.arena.clone().check(Purpose::Restore, plan.base);
    let linked = checked.map_err(|refusals| {
        let lines: Vec<_> = refusals.iter().map(ToString::to_string).collect();
        let message = format!("run the scripts of the image: {}", lines.join("; "));
        Failure::new(Exit::Image, message)
    })?;
    let linked = linked.link();
    let line = linked.entry(plan.birth.script);
    let line = line.ok_or_else(|| Failure::new(Exit::Image, "find the first task's script"))?;
    let memory = ArenaMemory::make(&linked).or_exit(Exit::Undone)?;
    let (gate, waiter) = Gate::make().or_exit(Exit::Undone)?;
    Ok(Prepared {
        linked,
        line,
        memory,
        gate,
        waiter,
    })
}

/// What the processes look like now, for the planner to read.
fn look(finished: &Finished, proc: BorrowedFd<'_>) -> Result<(Followed, Vec<OwnedFd>), Failure> {
    let (mut processes, mut files) = (Vec::new(), Vec::new());
    for (process, leader) in &finished.leaders {
        processes.push((*process, leader.number()));
        for name in FILES {
            let path = format!("{leader}/{name}");
            let opened = openat(proc, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            files.push(opened.map_err(|errno| {
                let cause = std::io::Error::from(errno);
                let call = format!("open(\"/proc/{path}\")");
                Failure::new(
                    Exit::Undone,
                    format_args!("look at the tasks: {call}: {cause}"),
                )
            })?);
        }
    }
    Ok((Followed { processes }, files))
}

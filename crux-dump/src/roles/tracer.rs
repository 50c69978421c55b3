//! The tracer: stops tasks, captures them while they are stopped, and lets them go.
//!
//! Kind: shell. What it finds goes to the encoder as a record, memory straight into the member
//! that it is given. When it ends, at whatever moment, all that it holds goes on.

use super::encoder;
use super::message::{
    Answer, IpcSight, LARGE, Refusal, SEGMENTS, SMALL, Stopped, Tables, Trace, bound,
};
use crate::tasks::{self, Captured, Frozen, Ipc, Surroundings};
use crux_role::{Channel, ChannelError};
use std::fs::File;
use std::os::fd::OwnedFd;

/// Everything that the tracer does. It ends where the supervisor has gone.
pub(crate) fn work(pid: u32, channel: &Channel) -> Result<(), ChannelError> {
    let mut frozen = None;
    let mut ipc = Ipc::default();
    loop {
        let (ask, files) = channel.receive::<Trace>(bound(SMALL, SEGMENTS))?;
        match (ask, &mut frozen) {
            (Trace::Freeze, None) => {
                let answer = tasks::freeze(pid).map(|now| {
                    let stopped = Stopped {
                        processes: now.targets.len() as u64,
                        microseconds: now.time().as_micros() as u64,
                    };
                    frozen = Some(now);
                    stopped
                });
                channel.send(&answer.map_err(Refusal::from), &[])?;
                // The others look at the mounts meanwhile.
                if let Some(frozen) = &mut frozen {
                    tasks::interview(frozen);
                }
            }
            (Trace::Ipc, Some(_)) => {
                let (IpcSight(seen), _) = channel.receive(bound(LARGE, 0))?;
                ipc = Ipc { seen, files };
            }
            (Trace::Capture, Some(frozen)) => {
                capture(frozen, std::mem::take(&mut ipc), files, channel)?;
            }
            (Trace::Release(how), held) => {
                let Some(frozen) = held.take() else {
                    return Err(ChannelError::Malformed);
                };
                let time = frozen.release(how).map(|time| time.as_micros() as u64);
                channel.send(&time.map_err(Refusal::from), &[])?;
            }
            (Trace::Freeze, Some(_)) | (Trace::Capture | Trace::Ipc, None) => {
                return Err(ChannelError::Malformed);
            }
        }
    }
}

fn capture(
    frozen: &mut Frozen,
    ipc: Ipc,
    files: Vec<OwnedFd>,
    channel: &Channel,
) -> Result<(), ChannelError> {
    let (tables, _) = channel.receive::<Tables>(bound(LARGE, 0))?;
    let pages = files.into_iter().next().ok_or(ChannelError::Malformed)?;
    match record(frozen, tables, ipc, pages.into()) {
        Err(refusal) => channel.send(&Answer::<()>::Err(refusal), &[]),
        Ok(captured) => {
            channel.send(&Answer::Ok(()), &[])?;
            channel.send(&captured, &[])
        }
    }
}

fn record(
    frozen: &mut Frozen,
    mut tables: Tables,
    ipc: Ipc,
    pages: File,
) -> Result<Captured, Refusal> {
    let user_ids = std::mem::take(&mut tables.user_ids);
    let without_setgroups = std::mem::take(&mut tables.without_setgroups);
    let (seen, _) = encoder::seen(tables)?;
    let surroundings = Surroundings {
        spaces: &seen.container,
        users: &seen.user_namespaces,
        user_ids: &user_ids,
        without_setgroups: &without_setgroups,
    };
    Ok(tasks::capture(frozen, &surroundings, ipc, pages)?)
}

//! The tracer: stops tasks, captures them while they are stopped, and lets them go.
//!
//! Kind: shell. What it finds goes to the encoder as a record, memory straight into the member
//! that it is given. When it ends, at whatever moment, all that it holds goes on.

use super::encoder;
use super::message::{
    Answer, Filtered, IpcSight, LARGE, Refusal, SEGMENTS, SMALL, SeenFilters, Settings, Stopped,
    Tables, Trace, bound,
};
use crate::judge::Policy;
use crate::tasks::{self, Captured, Filters, Frozen, Ipc, Surroundings};
use crux_role::{Channel, ChannelError, Need};
use std::fs::File;

/// Everything that the tracer does, without these capabilities. It ends where the supervisor has gone.
pub(crate) fn work(
    pid: u32,
    policy: &Policy,
    missing: &[Need],
    channel: &Channel,
) -> Result<(), ChannelError> {
    let mut frozen = None;
    let mut ipc = Ipc::default();
    let mut filters = Filters::default();
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
            }
            (Trace::Ipc, Some(_)) => {
                let (IpcSight { ipc: seen, cgroups }, _) = channel.receive(bound(LARGE, 0))?;
                ipc = Ipc {
                    seen,
                    files,
                    cgroups,
                };
            }
            (Trace::Filtered, Some(frozen)) => {
                let unknown = filters.unknown(frozen);
                let all_known = matches!(&unknown, Ok(unknown) if unknown.is_empty());
                let unknown = unknown.map(Filtered);
                channel.send(&unknown.map_err(Refusal::of_status), &[])?;
                // The others look at the mounts meanwhile.
                if all_known {
                    tasks::interview(frozen, &filters);
                }
            }
            (Trace::Filters, None) => {
                let (SeenFilters(seen), _) = channel.receive(bound(LARGE, 0))?;
                filters.learn(seen);
            }
            (Trace::Capture, Some(frozen)) => {
                let ipc = std::mem::take(&mut ipc);
                let pages = files.into_iter().next().ok_or(ChannelError::Malformed)?;
                let (tables, _) = channel.receive::<Tables>(bound(LARGE, 0))?;
                let captured = record(frozen, policy, tables, ipc, &filters, pages.into());
                send(
                    captured.map_err(|refusal| refusal.without(missing)),
                    channel,
                )?;
            }
            (Trace::Release(how), held) => {
                let Some(frozen) = held.take() else {
                    return Err(ChannelError::Malformed);
                };
                let time = frozen.release(how).map(|time| time.as_micros() as u64);
                channel.send(&time.map_err(Refusal::from), &[])?;
            }
            (Trace::Freeze | Trace::Filters, Some(_))
            | (Trace::Capture | Trace::Ipc | Trace::Filtered, None) => {
                return Err(ChannelError::Malformed);
            }
        }
    }
}

fn send(recorded: Result<Captured, Refusal>, channel: &Channel) -> Result<(), ChannelError> {
    match recorded {
        Err(refusal) => channel.send(&Answer::<()>::Err(refusal), &[]),
        Ok(mut captured) => {
            channel.send(&Answer::Ok(()), &[])?;
            let (Settings(settings), _) = channel.receive(bound(LARGE, 0))?;
            captured.add(settings);
            channel.send(&captured, &[])
        }
    }
}

fn record(
    frozen: &mut Frozen,
    policy: &Policy,
    mut tables: Tables,
    ipc: Ipc,
    filters: &Filters,
    pages: File,
) -> Result<Captured, Refusal> {
    let user_ids = std::mem::take(&mut tables.user_ids);
    let without_setgroups = std::mem::take(&mut tables.without_setgroups);
    let networks = std::mem::take(&mut tables.networks);
    let (seen, _) = encoder::seen(tables)?;
    let surroundings = Surroundings {
        spaces: &seen.container,
        users: &seen.user_namespaces,
        user_ids: &user_ids,
        without_setgroups: &without_setgroups,
        policy,
        networks: &networks,
    };
    Ok(tasks::capture(frozen, &surroundings, ipc, filters, pages)?)
}

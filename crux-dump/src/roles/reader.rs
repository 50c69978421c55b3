//! The reader of seccomp filters: stops threads one by one, reads their filters, and lets them go.
//!
//! Kind: effect. It has no filter, for the kernel tells filters to nobody who has one. So it parses nothing: it gets
//! numbers of threads, and what it gives out is what the kernel said, unread.

use super::message::{Answer, Filtered, Refusal, SMALL, SeenFilters, bound};
use crate::tasks::stop_one;
use crux_image::tasks::{FilterInstruction, SeccompFilter};
use crux_role::{Channel, ChannelError};
use crux_trace::{Stopped, Tid, TraceError};

/// Everything that it does. It ends where the supervisor has gone.
pub(crate) fn work(channel: &Channel) -> Result<(), ChannelError> {
    loop {
        let (Filtered(tids), _) = channel.receive(bound(SMALL, 0))?;
        let seen = tids.iter().filter_map(|tid| read(*tid).transpose());
        match seen.collect::<Result<Vec<_>, Refusal>>() {
            Err(refusal) => channel.send(&Answer::<()>::Err(refusal), &[])?,
            Ok(seen) => {
                channel.send(&Answer::Ok(()), &[])?;
                channel.send(&SeenFilters(seen), &[])?;
            }
        }
    }
}

/// The filters of a thread; none if it has gone.
fn read(tid: u32) -> Result<Option<(u32, Vec<SeccompFilter>)>, Refusal> {
    let Some(number) = Tid::new(tid) else {
        return Ok(None);
    };
    let Some(stopped) = stop_one(number)? else {
        return Ok(None);
    };
    let filters = filters(&stopped);
    let let_go = stopped.detach(0);
    match (filters, let_go) {
        (Ok(filters), Ok(())) => Ok(Some((tid, filters))),
        (Err(error), _) | (_, Err(error)) if error.is_gone() => Ok(None),
        (Err(error), _) | (_, Err(error)) => Err(Refusal::of_filters(tid, &error)),
    }
}

fn filters(stopped: &Stopped) -> Result<Vec<SeccompFilter>, TraceError> {
    let mut all = Vec::new();
    while let Some(filter) = stopped.seccomp_filter(all.len() as u64)? {
        let instruction = |it: &[u8; 8]| {
            let [low, high, jump_true, jump_false, constant @ ..] = *it;
            FilterInstruction {
                code: u16::from_le_bytes([low, high]),
                jump_true,
                jump_false,
                constant: u32::from_le_bytes(constant),
            }
        };
        all.push(SeccompFilter {
            log: filter.log,
            program: filter.program.iter().map(instruction).collect(),
        });
    }
    Ok(all)
}

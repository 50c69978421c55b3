//! The queues of an mqueue.
//!
//! Kind: effect. They are made in the ipc namespace that this thread is in.

use super::error::{StepError, named};
use crate::sys;
use crux_image::mounts::{Contents, Queue};
use rustix::fs::{Gid, Mode, Uid, fchmod, fchown};
use rustix::io::Errno;

/// Makes the queues in `contents`, without messages.
pub(super) fn make(contents: &Contents) -> Result<(), StepError> {
    let Contents::Queues(queues) = contents else {
        return Ok(());
    };
    queues.iter().try_for_each(queue)
}

fn queue(queue: &Queue) -> Result<(), StepError> {
    let made = match sys::mq_create(&queue.name, queue.messages, queue.length) {
        // Made for another mount of the same ipc namespace's.
        Err(error) if error.errno() == Errno::EXIST => return Ok(()),
        made => made?,
    };
    let stat = sys::statx(&made)?;
    if (stat.uid, stat.gid) != (queue.uid, queue.gid) {
        let owner = (Uid::from_raw(queue.uid), Gid::from_raw(queue.gid));
        fchown(&made, Some(owner.0), Some(owner.1)).map_err(named("fchown(queue)"))?;
    }
    fchmod(&made, Mode::from_raw_mode(queue.mode.into())).map_err(named("fchmod(queue)"))
}

//! The forker: pins the restored namespace, and makes COMMAND.
//!
//! Kind: effect. It has no filter and keeps the caller's bounding set, because
//! COMMAND inherits both. So it reads nothing of an image: what it gets are
//! descriptors and two flags.

use super::message::{Answer, Refusal, Release, SMALL, Then, bound};
use crate::cli::Options;
use crate::failure::{Exit, Failure, OrExit};
use crate::release::{self, Inside};
use crux_role::{Channel, ChannelError};
use std::os::fd::OwnedFd;

/// Everything that the forker does. It ends where the supervisor has gone.
pub(crate) fn work(options: &Options, channel: &Channel) -> Result<(), ChannelError> {
    let (release, descriptors) = channel.receive::<Release>(bound(SMALL, 4))?;
    let Some(inside) = unpack(release, descriptors) else {
        return Ok(());
    };
    let pinned = match &options.pin {
        Some(file) => release::pin(&inside, file).or_exit(Exit::Undone),
        None => Ok(()),
    };
    channel.send(&pinned.map_err(Refusal::from), &[])?;
    let (then, _) = channel.receive::<Then>(bound(SMALL, 0))?;
    let code = match then {
        Then::Command => release::command(&inside, &options.command),
        Then::Undo(cause) => Err(cause),
    };
    let code = code.map_err(|cause| Refusal::from(not_started(options, &cause)));
    channel.send::<Answer<u8>>(&code, &[])
}

fn unpack(release: Release, descriptors: Vec<OwnedFd>) -> Option<Inside> {
    let mut next = descriptors.into_iter();
    Some(Inside {
        namespace: next.next()?,
        root: next.next()?,
        net: if release.net {
            Some(next.next()?)
        } else {
            None
        },
        ipc: if release.ipc {
            Some(next.next()?)
        } else {
            None
        },
    })
}

/// What fails once all is restored undoes the restore, and so the pin.
fn not_started(options: &Options, cause: &str) -> Failure {
    let left = options.pin.as_deref().map_or(Ok(()), release::unpin);
    match left {
        Ok(()) => Failure::new(Exit::Undone, cause),
        Err(left) => Failure::new(Exit::Uncertain, format_args!("{cause}; {left}")),
    }
}

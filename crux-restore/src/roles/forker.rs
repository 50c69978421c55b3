//! The forker: pins the restored namespace and makes COMMAND, or makes the first task.
//!
//! Kind: effect. It has no filter and keeps the caller's bounding set, because
//! COMMAND and tasks inherit both. So it reads nothing of an image: what it gets are
//! descriptors, numbers and flags.

use super::message::{Answer, Refusal, Release, Released, SMALL, Then, bound};
use crate::cli::Options;
use crate::failure::{Exit, Failure, OrExit};
use crate::release::{self, Inside};
use crate::tasks::birth::{self, First, Newborn};
use crux_role::{Channel, ChannelError};
use rustix::process::Pid;
use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};

/// Everything that the forker does. It ends where the supervisor has gone.
pub(crate) fn work(options: &Options, channel: &Channel) -> Result<(), ChannelError> {
    match options.mounts_only {
        true => mounts(options, channel),
        false => tasks(options, channel),
    }
}

/// More descriptors than the first task is born with.
const DESCRIPTORS: usize = 100_000;

fn tasks(options: &Options, channel: &Channel) -> Result<(), ChannelError> {
    let (newborn, _) = channel.receive::<Newborn>(bound(SMALL, 0))?;
    let waiting = match birth::newborn(&newborn).or_exit(Exit::Undone) {
        Ok(waiting) => waiting,
        Err(failure) => return channel.send(&Answer::<()>::Err(failure.into()), &[]),
    };
    let along: Vec<_> = waiting.along.iter().map(|fd| fd.as_fd()).collect();
    channel.send(&Answer::Ok(waiting.begun), &along)?;
    let (first, mut descriptors) = channel.receive::<First>(bound(SMALL, DESCRIPTORS))?;
    if descriptors.is_empty() {
        return Ok(());
    }
    let memory = descriptors.remove(0);
    let begun = waiting.begin(&first, memory.as_fd(), &descriptors);
    drop((memory, descriptors));
    let born = begun.map(|()| waiting.pid.unsigned_abs());
    channel.send(&born.or_exit(Exit::Undone).map_err(Refusal::from), &[])?;
    let (released, _) = channel.receive::<Released>(bound(SMALL, 0))?;
    let Some(pid) = Pid::from_raw(waiting.pid) else {
        return Ok(());
    };
    channel.send(&write_pid(options, pid).map_err(Refusal::from), &[])?;
    match released {
        Released::Leave => Ok(()),
        Released::Wait => {
            let code = release::wait(pid).or_exit(Exit::Uncertain);
            channel.send::<Answer<u8>>(&code.map_err(Refusal::from), &[])
        }
    }
}

fn write_pid(options: &Options, pid: Pid) -> Result<(), Failure> {
    let Some(file) = &options.pidfile else {
        return Ok(());
    };
    fs::write(file, format!("{pid}\n")).map_err(|error| {
        let file = file.display();
        let what = format!("write {file}: {error}; the tasks run, the first is process {pid}");
        Failure::new(Exit::Uncertain, what)
    })
}

fn mounts(options: &Options, channel: &Channel) -> Result<(), ChannelError> {
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

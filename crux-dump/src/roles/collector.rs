//! The collector: looks at the target, and records the contents of its file systems.
//!
//! Kind: shell. It decides nothing about a container: what is to be recorded it is
//! told by the encoder. Bulk data goes into the members that it is given, nothing else of the
//! image is in its reach.

use super::message::{Answer, Ask, Done, IpcSight, LARGE, Refusal, SMALL, Settings, Work, bound};
use crate::cli::Options;
use crate::collect::{self, Collected, DumpError, Recorded, WithTasks};
use crux_image::contents::ContentsWriter;
use crux_mount::features::Features;
use crux_role::{Channel, ChannelError, Grounds};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};

/// Everything that the collector does. It ends where the supervisor has gone.
pub(crate) fn work(
    options: &Options,
    grounds: &Grounds,
    channel: &Channel,
) -> Result<(), ChannelError> {
    let features = Features::probe_reading();
    let new = match options.mounts_only {
        true => None,
        // Before tasks are frozen.
        false => collect::settings_of_new(options.pid()),
    };
    let mut collected = None;
    loop {
        let (ask, files) = channel.receive::<Ask>(bound(SMALL, 2))?;
        match (ask, &collected) {
            (Ask::Look, _) => collected = look(options, &features, grounds, channel)?,
            (Ask::Contents, Some(collected)) => contents(collected, files, grounds, channel)?,
            (Ask::Settings, Some(collected)) => match collected.settings(new.as_ref()) {
                Err(error) => refuse(error.advised(grounds), channel)?,
                Ok(settings) => {
                    channel.send(&Answer::Ok(()), &[])?;
                    channel.send(&Settings(settings), &[])?;
                }
            },
            (Ask::Ipc, _) => ipc(options, grounds, channel)?,
            (Ask::Unchanged, Some(collected)) => {
                let unchanged = collect::is_unchanged(collected, &features);
                channel.send(
                    &unchanged.map_err(|error| Refusal::from(error.advised(grounds))),
                    &[],
                )?;
            }
            (Ask::Contents | Ask::Settings | Ask::Unchanged, None) => {
                return Err(ChannelError::Malformed);
            }
        }
    }
}

/// Tables go out as soon as they are read: whoever gets them has something to do meanwhile.
fn look(
    options: &Options,
    features: &Features,
    grounds: &Grounds,
    channel: &Channel,
) -> Result<Option<Collected>, ChannelError> {
    let tasks = match options.mounts_only {
        true => WithTasks::No,
        false => WithTasks::Yes,
    };
    let (mut collected, tables) = match collect::read(options.pid(), tasks, features) {
        Ok(read) => read,
        Err(error) => return refuse(error.advised(grounds), channel).map(|()| None),
    };
    channel.send(&Answer::Ok(()), &[])?;
    channel.send(&tables, &[])?;
    drop(tables);
    let facts = match collected.look() {
        Ok(facts) => facts,
        Err(error) => return refuse(error.advised(grounds), channel).map(|()| None),
    };
    channel.send(&Answer::Ok(()), &[])?;
    channel.send(&facts, &[])?;
    Ok(Some(collected))
}

fn ipc(options: &Options, grounds: &Grounds, channel: &Channel) -> Result<(), ChannelError> {
    let pid = options.pid();
    let seen = collect::ipc::read(pid).and_then(|it| Ok((it, collect::cgroups::read(pid)?)));
    match seen {
        Err(error) => refuse(error.advised(grounds), channel),
        Ok(((ipc, files), cgroups)) => {
            let files: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
            channel.send(&Answer::Ok(()), &files)?;
            channel.send(&IpcSight { ipc, cgroups }, &[])
        }
    }
}

fn refuse(error: DumpError, channel: &Channel) -> Result<(), ChannelError> {
    channel.send(&Answer::<()>::Err(error.into()), &[])
}

fn contents(
    collected: &Collected,
    files: Vec<OwnedFd>,
    grounds: &Grounds,
    channel: &Channel,
) -> Result<(), ChannelError> {
    let (work, _) = channel.receive::<Work>(bound(LARGE, 0))?;
    match record(collected, &work, files) {
        Err(error) => refuse(error.advised(grounds), channel),
        Ok(done) => {
            channel.send(&Answer::Ok(()), &[])?;
            channel.send(&done, &[])
        }
    }
}

fn record(collected: &Collected, work: &Work, files: Vec<OwnedFd>) -> Result<Done, DumpError> {
    let mut files = files.into_iter().map(File::from);
    let recorded = match (files.next(), files.next()) {
        (Some(index), Some(data)) => {
            let mut writer = ContentsWriter::new(index, data)?;
            let recorded = collect::collect_contents(collected, &work.contents, &mut writer)?;
            writer.finish()?;
            recorded
        }
        _ => Recorded::default(),
    };
    Ok(Done {
        sections: recorded.sections,
        covered: recorded.covered,
        unfulfilled: collect::check_wishes(&work.wishes),
    })
}

//! The encoder: judges what was collected, and writes the records.
//!
//! Kind: shell, with no privilege at all. What it parses was written by the container. It
//! makes files in the directory of the image, and opens nothing else.

use super::message::{
    Answer, Done, Facts, Finished, Fit, LARGE, Order, Refusal, SMALL, Space, Tables, Work, bound,
};
use crate::cli::Options;
use crate::collect::DumpError;
use crate::judge::{self, ForeignTable, Judged, Policy, Seen, SeenNamespace};
use crate::report;
use crate::tasks::Captured;
use crux_image::directory::ImageWriter;
use crux_image::inventory::{ImageFacts, ImageId};
use crux_image::member::MemberKind;
use crux_image::mounts::{Contents, Lock, Mounts, Origin};
use crux_image::tasks::Tasks;
use crux_mount::mountinfo::{self, Entry};
use crux_mount::observe::ObserveError;
use crux_role::{Channel, ChannelError};
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

/// Everything that the encoder does. It ends where the supervisor has gone.
pub(crate) fn work(
    options: &Options,
    policy: &Policy,
    channel: &Channel,
) -> Result<(), ChannelError> {
    let mut encoder = Encoder {
        options,
        policy,
        writer: None,
        seen: None,
        judged: None,
        captured: None,
    };
    loop {
        let (order, files) = channel.receive::<Order>(bound(SMALL, 1))?;
        match order {
            Order::Directory => encoder.take(files),
            Order::Tables => {
                let (tables, _) = channel.receive::<Tables>(bound(LARGE, 0))?;
                encoder.seen = Some(seen(tables));
            }
            Order::Judge => {
                let (facts, _) = channel.receive::<Facts>(bound(LARGE, 0))?;
                encoder.answer(facts, channel)?;
            }
            Order::Tasks => {
                let (captured, _) = channel.receive::<Captured>(bound(LARGE, 0))?;
                encoder.captured = Some(captured);
            }
            Order::Finish => {
                let (done, _) = channel.receive::<Done>(bound(LARGE, 0))?;
                let text = encoder.finish(done).map_err(Refusal::from);
                channel.send(&text, &[])?;
            }
        }
    }
}

struct Encoder<'a> {
    options: &'a Options,
    policy: &'a Policy,
    /// None where nothing is to be written.
    writer: Option<ImageWriter>,
    seen: Option<Result<(Seen, Subject), DumpError>>,
    judged: Option<(Judged, Subject)>,
    captured: Option<Captured>,
}

/// Whom the image is of.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pid: u32,
    command: Vec<u8>,
}

impl Encoder<'_> {
    fn take(&mut self, files: Vec<OwnedFd>) {
        let path = self.options.images.as_deref().unwrap_or(Path::new("."));
        let mut files = files.into_iter();
        self.writer = files.next().map(|dir| ImageWriter::within(dir, path));
    }

    fn answer(&mut self, facts: Facts, channel: &Channel) -> Result<(), ChannelError> {
        let (fit, work, files) = match self.judge(facts) {
            Ok(judged) => judged,
            Err(error) => return channel.send(&Answer::<Fit>::Err(error.into()), &[]),
        };
        let files: Vec<BorrowedFd<'_>> = files.iter().map(|file| file.as_fd()).collect();
        channel.send(&Answer::Ok(fit), &files)?;
        channel.send(&work, &[])
    }

    fn judge(&mut self, facts: Facts) -> Result<(Fit, Work, Vec<File>), DumpError> {
        let (mut seen, subject) = self.seen.take().ok_or(DumpError::OutOfTurn)??;
        seen.roots = facts.roots;
        seen.unlooked = facts.unlooked;
        seen.locks = facts.locks;
        seen.queues = facts.queues;
        let mut judged = judge::judge(&seen, self.policy).map_err(DumpError::Obstacles)?;
        let mut files = Vec::new();
        if let Some(writer) = &mut self.writer {
            files.push(writer.raw(MemberKind::ContentsIndex)?);
            files.push(writer.raw(MemberKind::ContentsData)?);
            if !self.options.mounts_only {
                files.push(writer.raw(MemberKind::Pages)?);
            }
        }
        let work = Work {
            contents: std::mem::take(&mut judged.contents),
            wishes: std::mem::take(&mut judged.wishes),
        };
        let fit = Fit {
            left_out: judged.left_out as u64,
            lost: lost(&judged.mounts),
        };
        self.judged = Some((judged, subject));
        Ok((fit, work, files))
    }

    /// What to print in the end.
    fn finish(&mut self, done: Done) -> Result<Finished, DumpError> {
        let (judged, subject) = self.judged.take().ok_or(DumpError::OutOfTurn)?;
        let mut mounts = judged.mounts;
        fill_in(&mut mounts, &done);
        let mut unread = 0;
        let id = match self.writer.take() {
            None => None,
            Some(mut writer) => {
                writer.write_mounts(&mounts)?;
                if let Some(mut captured) = self.captured.take() {
                    name_terminals(&mut captured.tasks, &mounts);
                    unread = unread_bytes(&captured.tasks);
                    writer.write_tasks(&captured.tasks, &mounts)?;
                    writer.raw_checksum(MemberKind::Pages, captured.checksum);
                }
                Some(writer.finish(facts(subject)?)?)
            }
        };
        Ok(Finished {
            text: report::done(self.options, id, judged.left_out, done.covered, &mounts),
            covered: done.covered,
            unread,
        })
    }
}

/// A terminal that an external mount shows is granted as that is.
fn name_terminals(tasks: &mut Tasks, mounts: &Mounts) {
    for terminal in &mut tasks.terminals {
        let Some(place) = &terminal.place else {
            continue;
        };
        let namespace = mounts.namespaces.get(place.namespace.at());
        let mount = namespace.and_then(|it| it.mounts.get(place.mount.at()));
        let origin = mount.and_then(|it| mounts.origins.get(it.origin.at()));
        if let Some(Origin::External(external)) = origin {
            terminal.name.clone_from(&external.name);
        }
    }
}

/// Of terminals.
fn unread_bytes(tasks: &Tasks) -> u64 {
    let all = tasks.terminals.iter();
    all.map(|it| u64::from(it.unread_input) + u64::from(it.unread_output))
        .sum()
}

/// How many mounts will not be locked to their places as they were.
fn lost(mounts: &Mounts) -> u64 {
    let lost = mounts
        .every_mount()
        .filter(|(_, _, mount)| mount.lock == Lock::Lost);
    lost.count() as u64
}

/// What was seen, but for the roots.
pub(super) fn seen(tables: Tables) -> Result<(Seen, Subject), DumpError> {
    let subject = Subject {
        pid: tables.pid,
        command: tables.command,
    };
    let container = tables.container.into_iter().map(space);
    let foreign = tables.foreign.into_iter();
    // Only peers are looked for in them: one that makes no sense shows none.
    let foreign = foreign.filter_map(|(pid, text)| {
        let table = mountinfo::parse(&text).ok()?;
        Some(ForeignTable { pid, table })
    });
    let seen = Seen {
        container: container.collect::<Result<_, _>>()?,
        user_namespaces: tables.user_namespaces,
        host: parse(std::process::id(), &tables.host)?,
        foreign: foreign.collect(),
        host_net: tables.host_net,
        host_ipc: tables.host_ipc,
        ..Seen::default()
    };
    Ok((seen, subject))
}

fn space(space: Space) -> Result<SeenNamespace, DumpError> {
    let mut table = parse(space.pid, &space.table)?;
    for entry in table.iter_mut().filter(|entry| entry.idmapped) {
        entry.attributes.idmap = space.idmaps.get(&entry.id).cloned();
    }
    table.splice(..0, space.chrooted);
    Ok(SeenNamespace {
        pid: space.pid,
        table,
        root: space.root,
        unreached: space.unreached as usize,
        owner: space.owner,
        net: space.net,
        ipc: space.ipc,
    })
}

fn parse(pid: u32, text: &[u8]) -> Result<Vec<Entry>, DumpError> {
    mountinfo::parse(text).map_err(|error| DumpError::Observe {
        pid,
        error: ObserveError::Parse(error),
    })
}

/// TRUST: positions and sections are checked as part of the record, before it is written.
fn fill_in(mounts: &mut Mounts, done: &Done) {
    for (origin, section) in &done.sections {
        if let Some(Origin::Own(own)) = mounts.origins.get_mut(origin.at()) {
            own.contents = Contents::Tree(*section);
        }
    }
    for origin in &done.unfulfilled {
        if let Some(Origin::External(external)) = mounts.origins.get_mut(origin.at()) {
            external.wish = None;
        }
    }
}

fn facts(subject: Subject) -> Result<ImageFacts, DumpError> {
    let machine = rustix::system::uname();
    let created = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Ok(ImageFacts {
        id: ImageId::random().map_err(DumpError::Facts)?,
        crux_version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel_release: machine.release().to_string_lossy().into_owned(),
        architecture: machine.machine().to_string_lossy().into_owned(),
        created: created.map_or(0, |time| time.as_secs()),
        pid: subject.pid,
        command: subject.command,
    })
}

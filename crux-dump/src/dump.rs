//! One dump, from the process to the image: the supervisor.
//!
//! Kind: shell. It starts the roles, makes and names the directory of the image, and carries
//! what they say to each other; it decodes nothing of a container itself. Undoing is
//! ending the roles and removing the directory, which every early return does.

use crate::cli::Options;
use crate::failure::{Exit, Failure, OrExit};
use crate::judge::Policy;
use crate::roles::message::{
    Answer, Ask, Doubt, Filtered, Finished, Fit, LARGE, Order, Refusal, SEGMENTS, SMALL, Settings,
    Stopped, TEXT, Trace, bound, printable,
};
use crate::roles::{collector, encoder, reader, spec, tracer};
use crate::tasks::Release;
use crate::{collect, privilege, report};
use crux_image::directory::Partial;
use crux_role::{Bounding, Channel, ChannelError, Grounds, Report, Role, Spec};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

/// What a role may take where the command line does not say.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a dump is begun anew because tables changed.
const TRIES: usize = 10;
/// Where in the list of raw members that for memory is; those for contents come before.
const PAGES: usize = 2;

/// Dumps as the options say.
pub fn run(options: &Options) -> Result<ExitCode, Failure> {
    match options.check {
        true => check(options),
        false => dump(options).map(|()| ExitCode::SUCCESS),
    }
}

/// What this process and this kernel have for any dump.
fn check(options: &Options) -> Result<ExitCode, Failure> {
    let found = Report::now(&collect::capabilities::all());
    let text = match options.json {
        true => format!("{}\n", serde_json::json!(found)),
        false => found.to_string(),
    };
    report::say_all(&text).map_err(|error| {
        let what = format_args!("write to standard output: {error}");
        Failure::new(Exit::Undone, what)
    })?;
    Ok(match found.complete {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(Exit::Lacking as u8),
    })
}

fn dump(options: &Options) -> Result<(), Failure> {
    let policy = options.policy()?;
    privilege::prepare()?;
    let place = match (&options.images, options.dry_run) {
        (Some(path), false) => Some(create(path)?),
        _ => None,
    };
    let void = match options.mounts_only {
        true => None,
        false => Some(nothing()?),
    };
    let mut roles = Roles::start(options, &policy, place.as_ref())?;
    // From here on nothing is opened.
    let filter = spec::supervisor_filter().compile().or_exit(Exit::Undone)?;
    let keep = privilege::to_keep(place.as_ref())?;
    crux_role::confine(keep, Bounding::Dropped).or_exit(Exit::Undone)?;
    filter.install().or_exit(Exit::Undone)?;
    let dumped = roles.dump(options, void.as_ref())?;
    if let Some(place) = place {
        place.publish().map_err(image)?;
    }
    // From here on there is an image, and ending the tasks is all that is left.
    let frozen = match dumped.frozen {
        None => roles.release(options.release()).map_err(uncertain)?,
        some => some,
    };
    drop(roles);
    report::left_out(dumped.fit.left_out);
    report::unlike(dumped.fit.lost, dumped.finished.covered);
    report::unread(dumped.finished.unread);
    if let (Some(time), false) = (frozen, options.mounts_only) {
        report::frozen(dumped.stopped, time);
    }
    report::print(&printable(&dumped.finished.text), options)
}

/// Where memory goes that nobody is to have.
fn nothing() -> Result<OwnedFd, Failure> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    openat(CWD, "/dev/null", flags, Mode::empty()).or_exit(Exit::Undone)
}

/// The image is there, but the tasks are not what they were to be.
fn uncertain(mut failure: Failure) -> Failure {
    failure.exit = Exit::Uncertain;
    failure.message.push_str("; the image is complete");
    failure
}

fn create(path: &std::path::Path) -> Result<Partial, Failure> {
    Partial::create(path).map_err(image)
}

fn image(error: crux_image::error::ImageError) -> Failure {
    let error = crate::collect::DumpError::from(error);
    Failure::new(error.exit(), error)
}

/// What the roles have done.
struct Dumped {
    fit: Fit,
    finished: Finished,
    /// What was frozen.
    stopped: Stopped,
    /// For how many microseconds, if that is over.
    frozen: Option<u64>,
}

struct Roles {
    collector: Role,
    encoder: Role,
    /// None where no tasks are dumped.
    tracer: Option<Role>,
    /// Likewise; none any more when the filters of all tasks are known.
    reader: Option<Role>,
}

/// A turn that led to nothing.
enum Stop {
    /// All that was said so far is void: it begins anew.
    Changed,
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Roles {
    /// All of them, with no more than they are to have, before the target is looked at.
    fn start(options: &Options, policy: &Policy, place: Option<&Partial>) -> Result<Self, Failure> {
        let patience = options.time_limit.map_or(PATIENCE, Duration::from_secs);
        let collector = spec::collector(patience).or_exit(Exit::Undone)?;
        let directory = place.map(|place| place.directory().try_clone_to_owned());
        let directory = directory.transpose().or_exit(Exit::Undone)?;
        let encoder = spec::encoder(patience, directory).or_exit(Exit::Undone)?;
        let grounds = Grounds::now();
        let mut roles = Self {
            collector: start(collector, |channel| {
                collector::work(options, &grounds, channel)
            })?,
            encoder: start(encoder, |channel| encoder::work(options, policy, channel))?,
            tracer: match options.mounts_only {
                true => None,
                false => {
                    let tracer = spec::tracer(patience).or_exit(Exit::Undone)?;
                    let missing = collect::capabilities::missing_for_tasks();
                    Some(start(tracer, |channel| {
                        tracer::work(options.pid(), policy, &missing, channel)
                    })?)
                }
            },
            reader: match options.mounts_only {
                true => None,
                false => Some(start(spec::reader(patience), reader::work)?),
            },
        };
        if let Some(reader) = &mut roles.reader {
            reader.ready().or_exit(Exit::Undone)?;
        }
        if let Some(tracer) = &mut roles.tracer {
            tracer.ready().or_exit(Exit::Undone)?;
        }
        roles.collector.ready().or_exit(Exit::Undone)?;
        roles.encoder.ready().or_exit(Exit::Undone)?;
        if let Some(place) = place {
            let sent = roles.encoder.send(&Order::Directory, &[place.directory()]);
            sent.or_exit(Exit::Undone)?;
        }
        Ok(roles)
    }

    /// From the first look to the last record, and again while tables change.
    fn dump(&mut self, options: &Options, void: Option<&OwnedFd>) -> Result<Dumped, Failure> {
        let stopped = self.freeze(options)?;
        for _ in 0..TRIES {
            match self.try_to_dump(options, void, stopped) {
                Ok(dumped) => return Ok(dumped),
                Err(Stop::Changed) => {}
                Err(Stop::Failed(failure)) => return Err(failure),
            }
        }
        let error = crate::collect::DumpError::Changing(options.pid());
        Err(Failure::new(error.exit(), error))
    }

    /// Stops all tasks. The filters of theirs that are not known are read while they run, and stay what they are.
    fn freeze(&mut self, options: &Options) -> Result<Stopped, Failure> {
        for _ in 0..TRIES {
            let Some(tracer) = &mut self.tracer else {
                return Ok(Stopped::NONE);
            };
            tracer.send(&Trace::Freeze, &[]).or_exit(Exit::Undone)?;
            let answer = tracer.receive::<Answer<Stopped>>(bound(SMALL, 0));
            let stopped = answer.or_exit(Exit::Undone)?.0.map_err(Failure::from)?;
            tracer.send(&Trace::Filtered, &[]).or_exit(Exit::Undone)?;
            let answer = tracer.receive::<Answer<Filtered>>(bound(SMALL, 0));
            let filtered = answer.or_exit(Exit::Undone)?.0.map_err(Failure::from)?;
            if filtered.0.is_empty() {
                if let Some(reader) = self.reader.take() {
                    reader.end();
                }
                return Ok(stopped);
            }
            self.release(Release::Run)?;
            self.read_filters(&filtered)?;
        }
        let pid = options.pid();
        let what = format!("dump process {pid}: its tasks keep changing their seccomp filters");
        Err(Failure::new(Exit::Undone, what))
    }

    fn read_filters(&mut self, filtered: &Filtered) -> Result<(), Failure> {
        let (Some(tracer), Some(reader)) = (&mut self.tracer, &mut self.reader) else {
            return Ok(());
        };
        reader.send(filtered, &[]).or_exit(Exit::Undone)?;
        let answer = reader.receive::<Answer<()>>(bound(SMALL, 0));
        answer.or_exit(Exit::Undone)?.0.map_err(Failure::from)?;
        let seen = reader.receive_bytes(bound(LARGE, 0));
        let seen = seen.or_exit(Exit::Undone)?;
        tracer.send(&Trace::Filters, &[]).or_exit(Exit::Undone)?;
        tracer.send_bytes(&seen).or_exit(Exit::Undone)
    }

    fn try_to_dump(
        &mut self,
        options: &Options,
        void: Option<&OwnedFd>,
        stopped: Stopped,
    ) -> Result<Dumped, Stop> {
        let tables = self.look()?;
        self.ipc()?;
        let (fit, work, members) = match self.judge() {
            Ok(judged) => judged,
            Err(Stop::Failed(failure)) if !failure.obstacles.is_empty() => {
                return Err(Stop::Failed(self.all_obstacles(failure, &tables, void)?));
            }
            Err(stop) => return Err(stop),
        };
        // The tracer and the collector work at the same time.
        let pages = members.get(PAGES).or(void);
        self.begin_to_capture(&tables, pages)?;
        let done = self.contents(&work, members.get(..PAGES).unwrap_or(&members));
        let settings = self.settings();
        let captured = self.captured(pages, settings.as_deref().ok());
        let (done, _, captured) = (done?, settings?, captured?);
        if !self.is_unchanged()? {
            return Err(Stop::Changed);
        }
        let frozen = match options.release() {
            Release::End => None,
            how => self.release(how)?,
        };
        if let Some(captured) = captured {
            self.encoder
                .send(&Order::Tasks, &[])
                .or_exit(Exit::Undone)?;
            self.encoder.send_bytes(&captured).or_exit(Exit::Undone)?;
        }
        self.encoder
            .send(&Order::Finish, &[])
            .or_exit(Exit::Undone)?;
        self.encoder.send_bytes(&done).or_exit(Exit::Undone)?;
        let answer = self.encoder.receive::<Answer<Finished>>(bound(TEXT, 0));
        let (finished, _) = answer.or_exit(Exit::Undone)?;
        let finished = finished.map_err(Failure::from)?;
        Ok(Dumped {
            fit,
            finished,
            stopped,
            frozen,
        })
    }

    /// From the target to the encoder. The tables go to the tracer as well.
    fn look(&mut self) -> Result<Vec<u8>, Stop> {
        let mut tables = Vec::new();
        self.collector.send(&Ask::Look, &[]).or_exit(Exit::Undone)?;
        for order in [Order::Tables, Order::Judge] {
            let answer = self.collector.receive::<Answer<()>>(bound(SMALL, 0));
            if let Err(refusal) = answer.or_exit(Exit::Undone)?.0 {
                return Err(match refusal.doubt {
                    Doubt::Changing => Stop::Changed,
                    Doubt::None | Doubt::IfChanged => Stop::Failed(refusal.into()),
                });
            }
            let bytes = self.collector.receive_bytes(bound(LARGE, 0));
            let bytes = bytes.or_exit(Exit::Undone)?;
            self.encoder.send(&order, &[]).or_exit(Exit::Undone)?;
            self.encoder.send_bytes(&bytes).or_exit(Exit::Undone)?;
            if matches!(order, Order::Tables) {
                tables = bytes;
            }
        }
        Ok(tables)
    }

    /// What ipc namespaces hold goes to the tracer.
    fn ipc(&mut self) -> Result<(), Stop> {
        let Some(tracer) = &mut self.tracer else {
            return Ok(());
        };
        self.collector.send(&Ask::Ipc, &[]).or_exit(Exit::Undone)?;
        let answer = self.collector.receive::<Answer<()>>(bound(SMALL, SEGMENTS));
        let (done, files) = answer.or_exit(Exit::Undone)?;
        if let Err(refusal) = done {
            return self.doubted(refusal);
        }
        let bytes = self.collector.receive_bytes(bound(LARGE, 0));
        let bytes = bytes.or_exit(Exit::Undone)?;
        let files: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
        tracer.send(&Trace::Ipc, &files).or_exit(Exit::Undone)?;
        Ok(tracer.send_bytes(&bytes).or_exit(Exit::Undone)?)
    }

    /// What there is to do, and the members that it goes into.
    fn judge(&mut self) -> Result<(Fit, Vec<u8>, Vec<OwnedFd>), Stop> {
        let answer = self.encoder.receive::<Answer<Fit>>(bound(TEXT, PAGES + 1));
        let (fit, members) = answer.or_exit(Exit::Undone)?;
        let fit = fit.or_else(|refusal| self.doubted(refusal))?;
        let work = self.encoder.receive_bytes(bound(LARGE, 0));
        Ok((fit, work.or_exit(Exit::Undone)?, members))
    }

    /// Data go from the target into the members directly.
    fn contents(&mut self, work: &[u8], members: &[OwnedFd]) -> Result<Vec<u8>, Stop> {
        let files: Vec<_> = members.iter().map(|file| file.as_fd()).collect();
        self.collector
            .send(&Ask::Contents, &files)
            .or_exit(Exit::Undone)?;
        self.collector.send_bytes(work).or_exit(Exit::Undone)?;
        let mut before = Vec::new();
        let has_grown = || {
            let now = lengths(members);
            std::mem::replace(&mut before, now.clone()) != now
        };
        let answer = self
            .collector
            .receive_while::<Answer<()>>(bound(SMALL, 0), has_grown);
        let (done, _) = answer.or_exit(Exit::Undone)?;
        done.or_else(|refusal| self.doubted(refusal))?;
        let bytes = self.collector.receive_bytes(bound(LARGE, 0));
        Ok(bytes.or_exit(Exit::Undone)?)
    }

    fn begin_to_capture(&mut self, tables: &[u8], pages: Option<&OwnedFd>) -> Result<(), Failure> {
        let (Some(tracer), Some(pages)) = (&mut self.tracer, pages) else {
            return Ok(());
        };
        let sent = tracer.send(&Trace::Capture, &[pages.as_fd()]);
        sent.or_exit(Exit::Undone)?;
        tracer.send_bytes(tables).or_exit(Exit::Undone)
    }

    /// The settings of network namespaces, for the tracer, which is capturing meanwhile.
    fn settings(&mut self) -> Result<Vec<u8>, Stop> {
        if self.tracer.is_none() {
            return Ok(Vec::new());
        }
        self.collector
            .send(&Ask::Settings, &[])
            .or_exit(Exit::Undone)?;
        let answer = self.collector.receive::<Answer<()>>(bound(SMALL, 0));
        if let Err(refusal) = answer.or_exit(Exit::Undone)?.0 {
            return self.doubted(refusal);
        }
        let bytes = self.collector.receive_bytes(bound(LARGE, 0));
        Ok(bytes.or_exit(Exit::Undone)?)
    }

    /// The record of tasks, where there is one. Memory goes into its member directly.
    fn captured(
        &mut self,
        pages: Option<&OwnedFd>,
        settings: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, Stop> {
        let (Some(tracer), Some(pages)) = (&mut self.tracer, pages) else {
            return Ok(None);
        };
        let mut before = None;
        let has_grown = || {
            let now = rustix::fs::fstat(pages).ok().map(|stat| stat.st_size);
            std::mem::replace(&mut before, now) != now
        };
        let answer = tracer.receive_while::<Answer<()>>(bound(SMALL, 0), has_grown);
        let (done, _) = answer.or_exit(Exit::Undone)?;
        if let Err(refusal) = done {
            return self.doubted(refusal);
        }
        let sent = match settings {
            Some(settings) => tracer.send_bytes(settings),
            // The record that it makes then is for nobody.
            None => tracer.send(&Settings::default(), &[]),
        };
        sent.or_exit(Exit::Undone)?;
        let bytes = tracer.receive_bytes(bound(LARGE, 0));
        Ok(Some(bytes.or_exit(Exit::Undone)?))
    }

    /// The obstacles of mounts, and with them those of tasks: one report for all.
    fn all_obstacles(
        &mut self,
        mut mounts: Failure,
        tables: &[u8],
        void: Option<&OwnedFd>,
    ) -> Result<Failure, Failure> {
        self.begin_to_capture(tables, void)?;
        if let Err(Stop::Failed(tasks)) = self.captured(void, None) {
            mounts.obstacles.extend(tasks.obstacles);
            mounts.message = crate::collect::stands_in_the_way(mounts.obstacles.len());
        }
        Ok(mounts)
    }

    /// Lets the tasks go; for how many microseconds they were frozen.
    fn release(&mut self, how: Release) -> Result<Option<u64>, Failure> {
        let Some(tracer) = &mut self.tracer else {
            return Ok(None);
        };
        tracer
            .send(&Trace::Release(how), &[])
            .or_exit(Exit::Undone)?;
        let answer = tracer.receive::<Answer<u64>>(bound(SMALL, 0));
        let (time, _) = answer.or_exit(Exit::Undone)?;
        Ok(Some(time.map_err(Failure::from)?))
    }

    /// Why there is none, unless that can be otherwise next time.
    fn doubted<T>(&mut self, refusal: Refusal) -> Result<T, Stop> {
        let changed = match refusal.doubt {
            Doubt::None => false,
            Doubt::Changing => true,
            Doubt::IfChanged => !self.is_unchanged()?,
        };
        Err(match changed {
            true => Stop::Changed,
            false => Stop::Failed(refusal.into()),
        })
    }

    fn is_unchanged(&mut self) -> Result<bool, Failure> {
        self.collector
            .send(&Ask::Unchanged, &[])
            .or_exit(Exit::Undone)?;
        let answer = self.collector.receive::<Answer<bool>>(bound(SMALL, 0));
        let (unchanged, _) = answer.or_exit(Exit::Undone)?;
        unchanged.map_err(Failure::from)
    }
}

/// How long the members are by now; nothing of those that do not say.
fn lengths(members: &[OwnedFd]) -> Vec<i64> {
    let stats = members.iter().map(rustix::fs::fstat);
    stats.flatten().map(|stat| stat.st_size).collect()
}

fn start(
    spec: Spec,
    work: impl FnOnce(&Channel) -> Result<(), ChannelError>,
) -> Result<Role, Failure> {
    Role::start(spec, work).or_exit(Exit::Undone)
}

//! One restore, from the image to the released namespace: the supervisor.
//!
//! Kind: shell. It starts the roles, opens the image for them, and carries what
//! they say to each other; it decodes nothing of an image itself. Undoing is
//! ending the roles and closing their descriptors, which every early return does.

use crate::cli::Options;
use crate::console::{Broker, Consoles, socket::Sockets};
use crate::failure::{Exit, Failure, OrExit};
use crate::files::Held;
use crate::inward::Outer;
use crate::privilege;
use crate::roles::builder::Handed;
use crate::roles::message::{
    Answer, Begun, Done, FACTS, Image, Placing, Planned, RECORD, Release, Restored, SMALL, Then,
    Verified, bound, printable,
};
use crate::roles::{builder, cgroups, forker, hierarchies, planner, spec, tracer};
use crate::tasks::cgroups::CgroupRights;
use crate::tasks::compile::Machine;
use crate::tasks::machine;
use crate::tasks::restore::{Crew, Holdings};
use crate::{capabilities, host, report, tasks};
use crux_image::directory::Members;
use crux_image::member::MemberKind;
use crux_image::tasks::CgroupMembership;
use crux_role::{Bounding, Channel, ChannelError, Grounds, Report, Role, RoleError, Spec};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

/// What a role may take where the command line does not say.
const PATIENCE: Duration = Duration::from_secs(120);
/// How much more for data: each second this much has to be restored.
const DATA_PER_SECOND: u64 = 4 << 20;
/// What is read of an image besides its records.
const CONTENTS: [MemberKind; 2] = [MemberKind::ContentsIndex, MemberKind::ContentsData];
const DATA: [MemberKind; 3] = [CONTENTS[0], CONTENTS[1], MemberKind::Pages];
/// Descriptors of all that may be built.
const BUILT: usize = 100_000;

/// Restores as the options say; the exit code of the command, or success.
pub fn run(options: &Options) -> Result<ExitCode, Failure> {
    if options.check {
        return check(options);
    }
    let patience = options.time_limit.map_or(PATIENCE, Duration::from_secs);
    if options.dry_run {
        return dry_run(options, patience);
    }
    let held = Held::take(options).or_exit(Exit::Lacking)?;
    let outer = privilege::prepare(options, &held)?;
    let grounds = Grounds::now();
    let mut seen = seen(options, Some(grounds.clone()));
    seen.machine.descriptors = held.facts();
    seen.machine.leaves = options.detach;
    seen.machine.own = outer;
    let sockets = Sockets::connect(options)?;
    let descriptors = host::raise_descriptor_limit();
    let tracer = start_tracer(options, patience)?;
    let broker = match options.mounts_only {
        true => None,
        false => Some(Broker::start(patience)?),
    };
    let cgroups = start_cgroups(options, &seen.machine.cgroups, patience)?;
    if tracer.is_some() {
        // What is left of a restore that fails is waited for.
        become_subreaper()?;
    }
    let mut roles = Roles::start(options, patience, (seen, grounds), descriptors)?;
    let holdings = roles.give_image(options, patience)?;
    let (Some(tracer), Some(broker), Some(mut cgroups)) = (tracer, broker, cgroups) else {
        return mounts_only(options, roles);
    };
    let consoles = Consoles {
        sockets,
        broker,
        held,
    };
    let restored = with_tasks(options, roles, tracer, &mut cgroups, consoles, holdings);
    if let Err(failure) = restored {
        // It waits until those who were in them have ended.
        let undone = tasks::restore::place(&mut cgroups, &Placing::Undo);
        cgroups.end();
        tasks::restore::reap();
        return Err(match undone {
            Ok(()) => failure,
            Err(left) => Failure::new(
                Exit::Uncertain,
                format_args!("{}; {}", failure.message, left.message),
            ),
        });
    }
    restored
}

/// From here on nothing is opened.
fn shut() -> Result<(), Failure> {
    let filter = spec::supervisor_filter().compile().or_exit(Exit::Undone)?;
    crux_role::confine(spec::SUPERVISOR, Bounding::Dropped).or_exit(Exit::Undone)?;
    filter.install().or_exit(Exit::Undone)
}

fn mounts_only(options: &Options, mut roles: Roles) -> Result<ExitCode, Failure> {
    shut()?;
    roles.plan()?;
    agreed(&mut roles.planner)?;
    let (built, done) = roles.build(&Begun::default(), &[])?;
    let Roles {
        mut planner,
        mut builder,
        forker,
    } = roles;
    // It has nothing left to do but to let go of the yard.
    builder.stop();
    let verified = verify(&mut planner, &built, done)?;
    planner.stop();
    finish(options, forker, verified, &built, [builder, planner])
}

/// What this process and this kernel have for any restore.
fn check(options: &Options) -> Result<ExitCode, Failure> {
    let found = Report::now(&capabilities::all());
    report::say(&match options.json {
        true => format!("{}\n", serde_json::json!(found)),
        false => found.to_string(),
    })?;
    Ok(match found.complete {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(Exit::Lacking as u8),
    })
}

fn with_tasks(
    options: &Options,
    mut roles: Roles,
    tracer: Role,
    cgroups: &mut Role,
    mut consoles: Consoles,
    holdings: Holdings,
) -> Result<ExitCode, Failure> {
    shut()?;
    roles.plan()?;
    let mut order = tasks::restore::order(&mut roles.planner)?;
    agreed(&mut roles.planner)?;
    // Before anything is made.
    consoles.open(options, order.kept())?;
    tasks::restore::begin(&mut roles.forker, &mut order)?;
    order.make_cgroups(cgroups)?;
    let (built, done) = roles.build(&order.begun, &order.along)?;
    let Roles {
        mut planner,
        mut builder,
        forker,
    } = roles;
    builder.stop();
    let verified = verify(&mut planner, &built, done)?;
    drop(builder);
    let crew = Crew {
        cgroups,
        planner,
        forker,
        tracer,
    };
    tasks::restore::run(options, crew, order, built, consoles, verified, holdings)
}

/// The tracer is the first: it is to end before those whose children it traces.
fn start_tracer(options: &Options, patience: Duration) -> Result<Option<Role>, Failure> {
    if options.mounts_only {
        return Ok(None);
    }
    let spec = spec::tracer(patience).or_exit(Exit::Undone)?;
    let mut tracer = start(spec, |channel| tracer::work(options, channel))?;
    tracer.ready().or_exit(Exit::Undone)?;
    Ok(Some(tracer))
}

fn start_cgroups(
    options: &Options,
    own: &[CgroupMembership],
    patience: Duration,
) -> Result<Option<Role>, Failure> {
    if options.mounts_only {
        return Ok(None);
    }
    let rights = CgroupRights {
        granted: options.granted_cgroups(),
        own: own.to_vec(),
    };
    let table = host::own_table()?;
    let reach = hierarchies::reach(&table, &rights);
    let spec = spec::cgroups(patience, reach).or_exit(Exit::Undone)?;
    let mut cgroups = start(spec, |channel| cgroups::work(rights, table, channel))?;
    cgroups.ready().or_exit(Exit::Undone)?;
    Ok(Some(cgroups))
}

fn become_subreaper() -> Result<(), Failure> {
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own)).map_err(|errno| {
        let cause = std::io::Error::from(errno);
        let call = "prctl(PR_SET_CHILD_SUBREAPER)";
        Failure::new(Exit::Undone, format_args!("begin: {call}: {cause}"))
    })
}

/// A plan takes no privilege to make.
fn dry_run(options: &Options, patience: Duration) -> Result<ExitCode, Failure> {
    let mut seen = seen(options, None);
    let held = Held::take(options).or_exit(Exit::Lacking)?;
    seen.machine.descriptors = held.facts();
    let mut planner = start_planner(options, patience, None, seen)?;
    planner.ready().or_exit(Exit::Undone)?;
    let members = open(options)?;
    send_image(&mut planner, None, members.files())?;
    match planned(&mut planner)? {
        Planned::Shown(text) => report::say(&printable(&text))?,
        Planned::Record => return Err(out_of_turn("planner")),
    }
    Ok(ExitCode::SUCCESS)
}

/// The planner alone, in a process with nothing but its filter, as a restore starts it: what it
/// answers to an image, or how it ended without an answer.
pub fn plan_alone(
    options: &Options,
    members: &Members,
) -> Result<Result<usize, Failure>, RoleError> {
    let prepared = host::open_table().and_then(|host| {
        let patience = options.time_limit.map_or(PATIENCE, Duration::from_secs);
        start_planner(options, patience, None, seen(options, None)).map(|planner| (host, planner))
    });
    let (host, mut planner) = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => return Ok(Err(failure)),
    };
    planner.ready()?;
    if let Err(failure) = send_image(&mut planner, Some(host.as_fd()), members.files()) {
        return Ok(Err(failure));
    }
    let (answer, _) = planner.receive::<Answer<Planned>>(bound(RECORD, 0))?;
    match answer {
        Err(refusal) => return Ok(Err(refusal.into())),
        Ok(Planned::Shown(text)) => return Ok(Ok(text.len())),
        Ok(Planned::Record) => {}
    }
    planner.receive_bytes(bound(RECORD, 0))?;
    let (answer, _) = planner.receive::<Answer<()>>(bound(SMALL, 0))?;
    if let Err(refusal) = answer {
        return Ok(Err(refusal.into()));
    }
    let mut steps = 0;
    loop {
        match planner.receive_bytes(bound(RECORD, 0))?.len() {
            0 => break,
            bytes => steps += bytes,
        }
    }
    if !options.mounts_only {
        planner.receive_bytes(bound(SMALL, 0))?;
        planner.receive_bytes(bound(RECORD, 0))?;
    }
    let (answer, _) = planner.receive::<Answer<()>>(bound(SMALL, 0))?;
    Ok(answer.map(|()| steps).map_err(Failure::from))
}

struct Roles {
    planner: Role,
    builder: Role,
    forker: Role,
}

impl Roles {
    /// All of them, before the image is opened.
    fn start(
        options: &Options,
        patience: Duration,
        (seen, grounds): (planner::Before, Grounds),
        descriptors: u64,
    ) -> Result<Self, Failure> {
        let spec = spec::builder(patience).or_exit(Exit::Undone)?;
        let outer = seen.machine.own;
        let before = builder::Before {
            grounds,
            descriptors,
            own: outer,
        };
        let forker = match options.mounts_only {
            true => spec::forker(patience),
            false => spec::forker_of_tasks(patience),
        };
        Ok(Self {
            planner: start_planner(options, patience, outer, seen)?,
            builder: start(spec, |channel| builder::work(options, &before, channel))?,
            forker: start(forker, |channel| forker::work(options, channel))?,
        })
    }

    fn ready(&mut self) -> Result<(), Failure> {
        for role in [&mut self.planner, &mut self.builder, &mut self.forker] {
            role.ready().or_exit(Exit::Undone)?;
        }
        Ok(())
    }

    /// Opens the image, once for each that reads it, as descriptors share their offset: while the roles give up what
    /// they are not to have.
    fn give_image(&mut self, options: &Options, patience: Duration) -> Result<Holdings, Failure> {
        let host = host::open_table()?;
        let members = open(options)?;
        let again = open_some(options, DATA)?;
        self.ready()?;
        send_image(&mut self.planner, Some(host.as_fd()), members.files())?;
        let wanted = again.files().filter(|(kind, _)| CONTENTS.contains(kind));
        send_image(&mut self.builder, None, wanted)?;
        if options.time_limit.is_none() {
            let data = again.length(MemberKind::ContentsData).unwrap_or(0);
            let longer = patience + Duration::from_secs(data / DATA_PER_SECOND);
            self.builder.wait_for(Some(longer)).or_exit(Exit::Undone)?;
        }
        let pages = again.files().find(|(kind, _)| *kind == MemberKind::Pages);
        let pages = pages.map(|(_, file)| file.try_clone_to_owned());
        let pages = pages.transpose().or_exit(Exit::Undone)?;
        let proc = host::open_proc()?;
        Ok(Holdings {
            pages,
            proc,
            route: match options.mounts_only {
                true => None,
                false => tasks::restore::open_route(),
            },
        })
    }

    /// From the image to a plan, which is on its way to the builder then.
    fn plan(&mut self) -> Result<(), Failure> {
        let (planner, builder) = (&mut self.planner, &mut self.builder);
        match planned(planner)? {
            Planned::Record => {}
            Planned::Shown(_) => return Err(out_of_turn("planner")),
        }
        planner.carry(builder, RECORD).or_exit(Exit::Undone)?;
        agreed(planner)?;
        planner.carry_row(builder, RECORD).or_exit(Exit::Undone)
    }

    /// From the plan to what was built.
    fn build(&mut self, begun: &Begun, along: &[OwnedFd]) -> Result<(Handed, Done), Failure> {
        let along: Vec<_> = along.iter().map(|fd| fd.as_fd()).collect();
        self.builder.send(begun, &along).or_exit(Exit::Undone)?;
        let answer = self.builder.receive::<Answer<Done>>(bound(FACTS, BUILT));
        let (done, descriptors) = answer.or_exit(Exit::Undone)?;
        let done = done.map_err(Failure::from)?;
        let built = builder::unpack(&done, descriptors);
        Ok((built.ok_or_else(|| out_of_turn("builder"))?, done))
    }
}

fn start(
    spec: Spec,
    work: impl FnOnce(&Channel) -> Result<(), ChannelError>,
) -> Result<Role, Failure> {
    Role::start(spec, work).or_exit(Exit::Undone)
}

/// For the planner. Of the machine only tasks depend, and looking at all its processes takes time.
fn seen(options: &Options, grounds: Option<Grounds>) -> planner::Before {
    let machine = match options.mounts_only {
        true => Machine::default(),
        false => machine::observe(),
    };
    planner::Before { machine, grounds }
}

fn start_planner(
    options: &Options,
    patience: Duration,
    outer: Option<Outer>,
    seen: planner::Before,
) -> Result<Role, Failure> {
    let spec = spec::planner(patience).or_exit(Exit::Undone)?;
    start(spec, |channel| {
        planner::work(options, outer, &seen, channel)
    })
}

fn open(options: &Options) -> Result<Members, Failure> {
    open_some(options, MemberKind::ALL)
}

fn open_some(
    options: &Options,
    kinds: impl IntoIterator<Item = MemberKind>,
) -> Result<Members, Failure> {
    Members::open_some(options.images(), kinds)
        .map_err(|error| Failure::new(Exit::Image, format_args!("read {error}")))
}

fn send_image<'a>(
    role: &mut Role,
    host: Option<BorrowedFd<'a>>,
    files: impl Iterator<Item = (MemberKind, BorrowedFd<'a>)>,
) -> Result<(), Failure> {
    let (kinds, files): (Vec<_>, Vec<_>) = files.unzip();
    let members = kinds.into_iter().map(MemberKind::number).collect();
    let descriptors: Vec<_> = host.into_iter().chain(files).collect();
    let sent = role.send(&Image { members }, &descriptors);
    sent.or_exit(Exit::Undone)
}

fn planned(planner: &mut Role) -> Result<Planned, Failure> {
    let answer = planner.receive::<Answer<Planned>>(bound(RECORD, 0));
    let (planned, _) = answer.or_exit(Exit::Undone)?;
    planned.map_err(Failure::from)
}

/// What the planner says where it has nothing more to say than whether it goes on.
fn agreed(planner: &mut Role) -> Result<(), Failure> {
    let answer = planner.receive::<Answer<()>>(bound(SMALL, 0));
    let (agreed, _) = answer.or_exit(Exit::Undone)?;
    agreed.map_err(Failure::from)
}

fn out_of_turn(name: &str) -> Failure {
    Failure::new(
        Exit::Undone,
        format_args!("let the {name} do its work: it answered out of turn"),
    )
}

/// Verification is not an option: a difference undoes the restore.
fn verify(planner: &mut Role, built: &Handed, done: Done) -> Result<Verified, Failure> {
    let tables: Vec<_> = built.namespaces.iter().map(|ns| ns.table.as_fd()).collect();
    let restored = Restored { facts: done.facts };
    planner.send(&restored, &tables).or_exit(Exit::Undone)?;
    let answer = planner.receive::<Answer<Verified>>(bound(SMALL, 0));
    let (verified, _) = answer.or_exit(Exit::Undone)?;
    verified.map_err(Failure::from)
}

/// The masters of all ptys live until this returns.
fn finish(
    options: &Options,
    mut forker: Role,
    verified: Verified,
    built: &Handed,
    done: [Role; 2],
) -> Result<ExitCode, Failure> {
    let first = &built.namespaces[0];
    let release = Release {
        net: built.net.is_some(),
        ipc: built.ipc.is_some(),
    };
    let descriptors: Vec<_> = [&first.namespace, &first.root]
        .into_iter()
        .chain(&built.net)
        .chain(&built.ipc)
        .map(|fd| fd.as_fd())
        .collect();
    forker.send(&release, &descriptors).or_exit(Exit::Undone)?;
    let (pinned, _) = forker
        .receive::<Answer<()>>(bound(SMALL, 0))
        .or_exit(Exit::Undone)?;
    pinned.map_err(Failure::from)?;
    let then = match report::restored(options, verified, built.terminals.len()) {
        Err(failure) => Then::Undo(failure.message),
        Ok(()) if options.command.is_empty() => return Ok(ExitCode::SUCCESS),
        Ok(()) => Then::Command,
    };
    forker.wait_for(None).or_exit(Exit::Undone)?;
    forker.send(&then, &[]).or_exit(Exit::Undone)?;
    drop(done);
    let (code, _) = forker
        .receive::<Answer<u8>>(bound(SMALL, 0))
        .or_exit(Exit::Undone)?;
    Ok(ExitCode::from(code.map_err(Failure::from)?))
}

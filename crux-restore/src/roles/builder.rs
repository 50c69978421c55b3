//! The builder: opens what was granted, runs the mount plan, hands over what it made.
//!
//! Kind: effect. What it gets from the planner it does not trust: the record is
//! checked, the plan has to pass the simulator, the grants are the command line's.
//! Everything it made ends with it, unless it was handed over.

use super::message::{Answer, Begun, Done, Image, RECORD, Record, Refusal, SMALL, Steps, bound};
use super::planner::{grant, has_tree, unfit};
use crate::cli::Options;
use crate::contents::{self, ContentsError};
use crate::failure::{Exit, Failure, OrExit};
use crate::files::{self, Opened};
use crate::grants::Wanted;
use crate::inward::Outer;
use crate::sources::{self, HostTable, Sources};
use crate::tasks::wanted::Made;
use crate::{capabilities, host, privilege};
use crux_image::contents::{ContentsReader, FormatError, Section};
use crux_image::member::MemberKind;
use crux_image::mounts::{Contents, Mounts, Origin, OriginIndex, OwnFileSystem};
use crux_mount::exec::{Born, Built, BuiltNamespace, Pinning, Setup, execute};
use crux_mount::plan::Plan;
use crux_role::{Channel, ChannelError, Grounds};
use std::collections::HashSet;
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// What is looked at before there is a filter that forbids it.
pub(crate) struct Before {
    /// What decides about capabilities.
    pub(crate) grounds: Grounds,
    /// How many descriptors a process may have.
    pub(crate) descriptors: u64,
    /// He who restores without privilege.
    pub(crate) own: Option<Outer>,
}

/// Everything that the builder does. It ends where the supervisor has gone.
pub(crate) fn work(
    options: &Options,
    before: &Before,
    channel: &Channel,
) -> Result<(), ChannelError> {
    let (image, files) = channel.receive::<Image>(bound(SMALL, MemberKind::ALL.len()))?;
    let members = image.members.into_iter().zip(files).collect();
    let (record, _) = channel.receive::<Record>(bound(RECORD, 0))?;
    // TRUST: whoever made the record and the plan may have been taken over by the image. The planner plans meanwhile.
    let plan = plan(&record.mounts, channel)?;
    let begun = channel.receive::<Begun>(bound(SMALL, PROCS))?;
    let external = |origin: &Origin| matches!(origin, Origin::External(_));
    let origins = record.mounts.origins.iter().enumerate();
    let mounted: HashSet<OriginIndex> = origins
        .filter(|(_, origin)| external(origin))
        .map(|(at, _)| at.into())
        .collect();
    match plan.and_then(|plan| build(options, before, members, (record, plan), begun)) {
        Ok((built, facts, opened)) => {
            let terminals = built.terminals.iter().map(|it| (it.origin, it.number));
            let own = |(origin, number)| match mounted.contains(&origin) {
                true => Made::Mounted(origin),
                false => Made::Own(origin, number),
            };
            let unmounted = opened.terminals.iter().map(|(at, _)| Made::Unmounted(*at));
            let done = Done {
                namespaces: built.namespaces.len() as u32,
                terminals: terminals.map(own).chain(unmounted).collect(),
                files: opened.files.iter().map(|(name, _)| name.clone()).collect(),
                net: built.net.is_some(),
                ipc: built.ipc.is_some(),
                users: built.users.len() as u32,
                facts,
            };
            let all: Vec<BorrowedFd<'_>> = in_order(&built, &opened).collect();
            channel.send(&Answer::Ok(done), &all)
        }
        Err(failure) => channel.send(&Answer::<Done>::Err(Refusal::from(failure)), &[]),
    }
}

/// The plan that the planner makes of the record, looked at as it comes.
fn plan(mounts: &Mounts, channel: &Channel) -> Result<Result<Plan, Failure>, ChannelError> {
    let mut left = RECORD;
    let mut next = || {
        let batch = channel.receive_next::<Steps>(&mut left)?;
        Ok::<_, ChannelError>(batch.map(|steps| steps.0))
    };
    let checked = mounts.check().or_exit(Exit::Image);
    if let Err(failure) = checked {
        while next()?.is_some() {}
        return Ok(Err(failure));
    }
    Ok(Plan::received(mounts, next)?.or_exit(Exit::Image))
}

/// The descriptors of what was built; [`unpack`] takes them in the same order.
fn in_order<'a>(built: &'a Built, opened: &'a Opened) -> impl Iterator<Item = BorrowedFd<'a>> {
    let unmounted = opened.terminals.iter().map(|(_, fd)| fd.as_fd());
    built
        .namespaces
        .iter()
        .flat_map(|ns| [ns.namespace.as_fd(), ns.root.as_fd(), ns.table.as_fd()])
        .chain(built.terminals.iter().map(|it| it.master.as_fd()))
        .chain(unmounted)
        .chain(opened.files.iter().map(|(_, fd)| fd.as_fd()))
        .chain(built.net.iter().map(|fd| fd.as_fd()))
        .chain(built.ipc.iter().map(|fd| fd.as_fd()))
        .chain(built.users.iter().map(|fd| fd.as_fd()))
}

/// What the builder has handed over.
pub(crate) struct Handed {
    pub(crate) namespaces: Vec<BuiltNamespace>,
    pub(crate) terminals: Vec<(Made, OwnedFd)>,
    /// By name.
    pub(crate) files: Vec<(String, OwnedFd)>,
    pub(crate) net: Option<OwnedFd>,
    pub(crate) ipc: Option<OwnedFd>,
    pub(crate) users: Vec<OwnedFd>,
}

/// None if the numbers do not fit.
pub(crate) fn unpack(done: &Done, descriptors: Vec<OwnedFd>) -> Option<Handed> {
    let namespaces = done.namespaces as usize;
    let more = usize::from(done.net) + usize::from(done.ipc) + done.users as usize;
    let more = more.checked_add(done.terminals.len())?;
    let more = more.checked_add(done.files.len())?;
    let wanted = namespaces.checked_mul(3)?.checked_add(more)?;
    if wanted != descriptors.len() || namespaces == 0 {
        return None;
    }
    let mut next = descriptors.into_iter();
    let mut namespace = || {
        Some(BuiltNamespace {
            namespace: next.next()?,
            root: next.next()?,
            table: next.next()?,
        })
    };
    let namespaces = (0..namespaces)
        .map(|_| namespace())
        .collect::<Option<_>>()?;
    let terminals = done.terminals.iter().copied().zip(next.by_ref());
    let terminals = terminals.collect();
    let files = done.files.iter().cloned().zip(next.by_ref()).collect();
    Some(Handed {
        namespaces,
        terminals,
        files,
        net: if done.net { next.next() } else { None },
        ipc: if done.ipc { next.next() } else { None },
        users: next.collect(),
    })
}

/// More proc file systems than any container has.
pub(crate) const PROCS: usize = 100;

/// What came with the first task; none if the numbers do not fit.
fn born(begun: Begun, along: Vec<OwnedFd>) -> Option<Born> {
    let mut next = along.into_iter();
    let procs: Vec<_> = next.by_ref().take(begun.procs as usize).collect();
    let user = match begun.user {
        Some(at) => Some((at, next.next()?)),
        None => None,
    };
    let net = if begun.net { Some(next.next()?) } else { None };
    let ipc = if begun.ipc { Some(next.next()?) } else { None };
    let fits = procs.len() == begun.procs as usize && next.next().is_none();
    fits.then_some(Born {
        procs,
        user,
        net,
        ipc,
    })
}

type Facts = Vec<Option<crux_mount::verify::External>>;

fn build(
    options: &Options,
    before: &Before,
    members: Vec<(u32, OwnedFd)>,
    (record, plan): (Record, Plan),
    begun: (Begun, Vec<OwnedFd>),
) -> Result<(Built, Facts, Opened), Failure> {
    let Record {
        mounts,
        without_setgroups,
        wanted,
    } = record;
    let born = born(begun.0, begun.1);
    let born = born.filter(|it| {
        let user = it.user.as_ref();
        user.is_none_or(|(at, _)| at.at() < mounts.user_namespaces.len())
    });
    let born = born.ok_or_else(|| {
        Failure::new(
            Exit::Undone,
            "take over what came with the first task: it does not fit",
        )
    })?;
    capabilities::check(&mounts, &before.grounds)?;
    let (sources, opened) = privilege::as_operator(|| open_sources(options, &mounts, &wanted))?;
    let mut contents = open_contents(members, &mounts)?;
    let Sources {
        sources,
        outside,
        facts,
        terminals,
    } = sources;
    // A step that fails on the image's contents is the image's fault.
    let mut exit = Exit::Undone;
    let mut fill = |own: &OwnFileSystem, root: BorrowedFd<'_>| match own.contents {
        Contents::Tree(section) => {
            fill_tree(root, section, (contents.as_mut(), before.own), &mut exit)
        }
        Contents::Kernel | Contents::Terminals(_) | Contents::Queues(_) => Ok(()),
    };
    let setup = Setup {
        mounts: &mounts,
        sources,
        outside,
        pinning: match options.pin {
            Some(_) => Pinning::Wanted,
            None => Pinning::NotWanted,
        },
        descriptors: before.descriptors,
        born,
        without_setgroups,
        fill: &mut fill,
    };
    privilege::as_root_of_files()?;
    let executed = execute(&plan, setup);
    let mut built = executed.map_err(|error| Failure::new(exit, error))?;
    built.terminals.extend(terminals);
    Ok((built, facts, opened))
}

fn open_sources(
    options: &Options,
    mounts: &Mounts,
    wanted: &[Wanted],
) -> Result<(Sources, Opened), Failure> {
    let grants = grant(mounts, wanted, options)?;
    let table = host::own_table()?;
    let sources = sources::open(mounts, &grants.origins, &HostTable::new(&table));
    let opened = files::open(wanted, &grants.files);
    match (sources, opened) {
        (Ok(sources), Ok(opened)) => Ok((sources, opened)),
        (sources, opened) => {
            let mut problems = sources.err().unwrap_or_default();
            problems.extend(opened.err().unwrap_or_default());
            unfit(&problems)?;
            Err(Failure::new(Exit::Undone, "open what was granted"))
        }
    }
}

fn open_contents(
    members: Vec<(u32, OwnedFd)>,
    mounts: &Mounts,
) -> Result<Option<ContentsReader>, Failure> {
    if !mounts.origins.iter().any(has_tree) {
        return Ok(None);
    }
    let (mut index, mut data) = (None, None);
    for (kind, file) in members {
        match MemberKind::from_number(kind) {
            Some(MemberKind::ContentsIndex) => index = Some(File::from(file)),
            Some(MemberKind::ContentsData) => data = Some(File::from(file)),
            _ => {}
        }
    }
    let (Some(index), Some(data)) = (index, data) else {
        return Err(Failure::new(
            Exit::Image,
            "read the image: it has no contents",
        ));
    };
    let contents = ContentsReader::new(index, data);
    contents
        .map(Some)
        .map_err(|error| Failure::new(Exit::Image, format_args!("read the contents: {error}")))
}

fn fill_tree(
    root: BorrowedFd<'_>,
    section: Section,
    (reader, own): (Option<&mut ContentsReader>, Option<Outer>),
    exit: &mut Exit,
) -> Result<(), String> {
    let reader = reader.ok_or("the image has no contents")?;
    contents::apply_for(own, root, section, reader).map_err(|error| {
        if let ContentsError::Format(format) = &error
            && !matches!(format, FormatError::Io { .. })
        {
            *exit = Exit::Image;
        }
        error.to_string()
    })
}

//! The planner: decodes the image, plans, simulates; later verifies what was built.
//!
//! Kind: shell, with no privilege at all. It reads descriptors that it is
//! given, and opens nothing.

use super::message::{
    Answer, Delivery, FACTS, Followed, Image, Planned, Record, Refusal, Restored, SMALL, Steps,
    Verified, bound,
};
use crate::capabilities;
use crate::cli::Options;
use crate::console;
use crate::failure::{Exit, Failure, OrExit};
use crate::grants::{self, EndError, GrantError, Grants, Wanted, misfits};
use crate::inward::Outer;
use crate::tasks::cgroups::{CgroupPlan, CgroupRights, ungranted};
use crate::tasks::compile::{Machine, compile};
use crate::tasks::plan::TaskPlan;
use crate::tasks::wanted::{self, Granted, Kept, Made};
use crate::tasks::{machine, needs};
use crate::{host, report, tasks};
use crux_image::contents::ContentsReader;
use crux_image::directory::{ImageReader, Members};
use crux_image::error::ImageError;
use crux_image::member::MemberKind;
use crux_image::mounts::{Contents, Mounts, Origin, OwnFsType};
use crux_image::tasks::Tasks;
use crux_mount::plan::{Planning, plan};
use crux_mount::{mountinfo, verify};
use crux_role::{Channel, ChannelError, Grounds};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;

/// More than any kernel lets one container have.
const NAMESPACES: usize = 10_000;

/// What was looked at before there were roles.
pub(crate) struct Before {
    /// The machine, and what whoever restores holds.
    pub(crate) machine: Machine,
    /// What decides about the latter, where it matters: a restore that nobody carries out takes no privilege.
    pub(crate) grounds: Option<Grounds>,
}

/// Everything that the planner does. It ends where the supervisor has gone.
pub(crate) fn work(
    options: &Options,
    outer: Option<Outer>,
    before: &Before,
    channel: &Channel,
) -> Result<(), ChannelError> {
    let most = MemberKind::ALL.len() + 1;
    let (image, files) = channel.receive::<Image>(bound(SMALL, most))?;
    let mut files = files.into_iter();
    if options.dry_run {
        let shown = show(options, before, members(&image, files));
        return channel.send(&answer(shown.map(Planned::Shown)), &[]);
    }
    let host = files.next();
    let found = match find(options, before, members(&image, files)) {
        Ok(found) => found,
        Err(failure) => return channel.send(&answer::<Planned>(Err(failure)), &[]),
    };
    channel.send(&Answer::Ok(Planned::Record), &[])?;
    channel.send(&found.record, &[])?;
    let (planning, tasks) = match planned(options, before, &found) {
        Ok(planned) => planned,
        Err(failure) => return channel.send(&answer::<()>(Err(failure)), &[]),
    };
    channel.send(&Answer::Ok(()), &[])?;
    let mut sent = Ok(());
    planning.each(&mut |batch| {
        if sent.is_ok() {
            sent = channel.send(&Steps(batch), &[]);
        }
    });
    sent?;
    channel.send_end()?;
    let mounts = &found.record.mounts;
    if let (Some(compiled), Some(tasks)) = (&tasks, &found.tasks) {
        channel.send(&delivery(compiled, tasks, mounts), &[])?;
        channel.send(&compiled.plan, &[])?;
    }
    let host = match look_ahead(&found, host) {
        Ok(host) => host,
        Err(failure) => return channel.send(&answer::<()>(Err(failure)), &[]),
    };
    channel.send(&Answer::Ok(()), &[])?;
    let (restored, tables) = channel.receive::<Restored>(bound(FACTS, NAMESPACES))?;
    channel.send(&answer(judge(mounts, &restored, tables, host, outer)), &[])?;
    let Some(tasks) = &found.tasks else {
        return Ok(());
    };
    let (followed, files) = channel.receive::<Followed>(bound(SMALL, PROCESSES))?;
    channel.send(&answer(judge_tasks(tasks, &followed, files)), &[])
}

fn answer<T>(of: Result<T, Failure>) -> Answer<T> {
    of.map_err(Refusal::from)
}

/// Files of as many processes as one machine has.
const PROCESSES: usize = 1 << 20;

/// What is to be done for tasks.
struct Compilation {
    plan: TaskPlan,
    made: Vec<Option<Made>>,
    kept: Vec<Kept>,
    cgroups: CgroupPlan,
}

/// The planner's whole job on an image up to the plan, in the calling process, and what the builder asks of that: for
/// who feeds it hostile images. How many steps there are.
pub fn plan_here(options: &Options, members: Members) -> Result<usize, Failure> {
    let host = host::open_table()?;
    let before = Before {
        machine: machine::observe(),
        grounds: None,
    };
    let found = find(options, &before, members)?;
    let (planning, _) = planned(options, &before, &found)?;
    let plan = planning.plan();
    look_ahead(&found, Some(host))?;
    plan.check(&found.record.mounts).or_exit(Exit::Image)?;
    Ok(plan.steps().count())
}

/// What the supervisor is told of a plan.
fn delivery(compiled: &Compilation, tasks: &Tasks, mounts: &Mounts) -> Delivery {
    let Compilation {
        plan,
        made,
        kept,
        cgroups,
    } = compiled;
    let procs = mounts
        .origins
        .iter()
        .filter(|origin| matches!(origin, Origin::Own(own) if own.fs_type == OwnFsType::Proc));
    let pid = plan.birth.new.pid;
    Delivery {
        base: plan.base,
        birth: plan.birth.clone(),
        inherited: plan.inherited.clone(),
        processes: tasks.processes.len() as u64,
        threads: plan.threads.len() as u64,
        made: made.clone(),
        kept: kept.clone(),
        cgroups: cgroups.clone(),
        procs: if pid { procs.count() as u32 } else { 0 },
    }
}

/// Verification is not an option here either.
fn judge_tasks(tasks: &Tasks, followed: &Followed, files: Vec<OwnedFd>) -> Result<(), Failure> {
    let mut texts = Vec::with_capacity(files.len());
    for file in files {
        let mut text = Vec::new();
        File::from(file).read_to_end(&mut text).map_err(|error| {
            let what = "read what a restored process looks like";
            Failure::new(Exit::Undone, format_args!("{what}: {error}"))
        })?;
        texts.push(text);
    }
    let differences = tasks::verify::differences(tasks, &followed.processes, &texts);
    match differences.len() {
        0 => Ok(()),
        count => Err(Failure::new(
            Exit::Undone,
            format_args!(
                "verify the restored tasks: {count} differences from the image; \
                 the restore is undone:\n  {}",
                differences.join("\n  ")
            ),
        )),
    }
}

/// The tasks, where there are tasks to restore.
fn tasks_of(
    options: &Options,
    reader: &ImageReader,
    mounts: &Mounts,
) -> Result<Option<Tasks>, Failure> {
    if options.mounts_only {
        return Ok(None);
    }
    let tasks = reader.tasks(mounts).map_err(|error| refused(&error))?;
    tasks.map(Some).ok_or_else(|| {
        let images = options.images().display();
        let hint = "it is one of mounts alone; give --mounts-only";
        Failure::new(Exit::Usage, format_args!("find tasks in {images}: {hint}"))
    })
}

/// The scripts of the tasks.
fn compiled(
    options: &Options,
    before: &Before,
    found: &Found,
) -> Result<Option<Box<Compilation>>, Failure> {
    let Some(tasks) = &found.tasks else {
        return Ok(None);
    };
    let (mounts, wanted) = (&found.record.mounts, &found.record.wanted);
    let grants = &found.grants;
    if let Some(grounds) = &before.grounds {
        let missing = needs::missing(tasks, &before.machine);
        capabilities::check_tasks(&missing, grounds)?;
    }
    let granted = Granted {
        files: &grants.files,
        new: grants.new_terminals(),
    };
    let made = wanted::made(tasks, mounts, &granted);
    let kept = wanted::kept(tasks, mounts, &granted);
    console::check(options, &kept).map_err(|what| Failure::new(Exit::Usage, what))?;
    let mut machine = before.machine.clone();
    let terminals = wanted.iter().skip(wanted.len() - made.len());
    machine.given = terminals
        .zip(&made)
        .enumerate()
        .filter(|(_, (_, made))| made.is_none())
        .map(|(at, (wanted, _))| (at.into(), wanted.name.clone()))
        .collect();
    machine.ends = grants::ends(tasks, options).map_err(|error| {
        let exit = match error {
            EndError::Missing(..) => Exit::Obstacle,
            _ => Exit::Usage,
        };
        let images = options.images().display();
        Failure::new(exit, format_args!("restore {images}: {error}"))
    })?;
    let plan = compile(tasks, mounts, &machine).map_err(|obstacles| {
        let lines: Vec<_> = obstacles.iter().map(ToString::to_string).collect();
        let message = format!(
            "restore the tasks of the image here: {}",
            lines.join("\n  ")
        );
        Failure::new(Exit::Lacking, message)
    })?;
    let rights = CgroupRights {
        granted: options.granted_cgroups(),
        own: before.machine.cgroups.clone(),
    };
    let cgroups = CgroupPlan::new(tasks, &rights.own);
    let missing = cgroups.missing(&rights);
    if !missing.is_empty() {
        let (images, what) = (options.images().display(), ungranted(&missing));
        let message = format_args!("restore {images}: {what}");
        return Err(Failure::new(Exit::Obstacle, message));
    }
    Ok(Some(Box::new(Compilation {
        plan,
        made,
        kept,
        cgroups,
    })))
}

fn members(image: &Image, files: impl Iterator<Item = OwnedFd>) -> Members {
    let kinds = image.members.iter().copied();
    let kinds = kinds.filter_map(MemberKind::from_number);
    Members::from_files(kinds.zip(files))
}

/// What an image holds, and what was granted for it.
struct Found {
    reader: ImageReader,
    record: Record,
    tasks: Option<Tasks>,
    grants: Grants,
}

fn find(options: &Options, before: &Before, members: Members) -> Result<Found, Failure> {
    let reader =
        ImageReader::from_members(members, options.images()).map_err(|error| refused(&error))?;
    let mut mounts = reader.mounts().map_err(|error| refused(&error))?;
    if let Some(own) = before.machine.own {
        own.mounts(&mut mounts);
    }
    let tasks = tasks_of(options, &reader, &mounts)?;
    let (mut wanted, mut without_setgroups) = (Vec::new(), Vec::new());
    if let Some(tasks) = &tasks {
        wanted = wanted::wanted(tasks, &mounts);
        wanted::add_terminals(tasks, &mut mounts);
        without_setgroups.clone_from(&tasks.without_setgroups);
    }
    // The builder enforces them; here a person learns early what is missing.
    let grants = grant(&mounts, &wanted, options)?;
    unfit(&misfits(
        &wanted,
        &grants.files,
        &before.machine.descriptors,
    ))?;
    Ok(Found {
        reader,
        record: Record {
            mounts,
            without_setgroups,
            wanted,
        },
        tasks,
        grants,
    })
}

/// The plan in words. Nobody but this process will have run it on a model of the kernel's rules.
fn show(options: &Options, before: &Before, members: Members) -> Result<String, Failure> {
    let found = find(options, before, members)?;
    let mounts = &found.record.mounts;
    let plan = plan(mounts).or_exit(Exit::Image)?;
    plan.check(mounts).or_exit(Exit::Image)?;
    let tasks = compiled(options, before, &found)?;
    let tasks = tasks.as_ref().map(|tasks| &tasks.plan);
    Ok(report::dry_run(&plan, mounts, tasks, options))
}

/// That there is a plan. The builder runs its steps on a model of the kernel's rules before it begins, while they
/// are found here.
fn planned<'a>(
    options: &Options,
    before: &Before,
    found: &'a Found,
) -> Result<(Planning<'a>, Option<Box<Compilation>>), Failure> {
    let planning = Planning::begin(&found.record.mounts).or_exit(Exit::Image)?;
    Ok((planning, compiled(options, before, found)?))
}

/// What is left to be looked at before anything is made: the host's mounts, which are not to change, and the trees of
/// files. Both while the builder looks at the plan.
fn look_ahead(found: &Found, host: Option<OwnedFd>) -> Result<host::Table, Failure> {
    let host = host.ok_or_else(|| Failure::new(Exit::Undone, "see the host's mounts"))?;
    check_contents(&found.reader, &found.record.mounts)?;
    host::Table::read(host)
}

/// What was granted and cannot be used: all of it at once.
pub(super) fn unfit(problems: &[String]) -> Result<(), Failure> {
    let message = match problems {
        [] => return Ok(()),
        [one] => format!("use a granted source: {one}"),
        all => format!("use {} granted sources:\n  {}", all.len(), all.join("\n  ")),
    };
    Err(Failure::new(Exit::Usage, message))
}

/// The grants of the command line for what an image asks for.
pub(super) fn grant(
    mounts: &Mounts,
    wanted: &[Wanted],
    options: &Options,
) -> Result<Grants, Failure> {
    grants::grant(mounts, wanted, options).map_err(|error| {
        let exit = match error {
            GrantError::Missing(_) => Exit::Obstacle,
            _ => Exit::Usage,
        };
        let images = options.images().display();
        Failure::new(exit, format_args!("restore {images}: {error}"))
    })
}

pub(super) fn refused(error: &ImageError) -> Failure {
    Failure::new(Exit::Image, format_args!("read {error}"))
}

/// The trees of files that the builder will read, to their last entry.
fn check_contents(image: &ImageReader, mounts: &Mounts) -> Result<(), Failure> {
    let Some(mut contents) = open_contents(image, mounts)? else {
        return Ok(());
    };
    for origin in &mounts.origins {
        if let Origin::Own(own) = origin
            && let Contents::Tree(section) = own.contents
        {
            let tree = contents.section(section);
            let read = tree.and_then(|mut tree| tree.try_for_each(|entry| entry.map(drop)));
            read.map_err(|error| {
                Failure::new(Exit::Image, format_args!("read the contents: {error}"))
            })?;
        }
    }
    Ok(())
}

/// The contents of an image; none where no file system has any.
fn open_contents(image: &ImageReader, mounts: &Mounts) -> Result<Option<ContentsReader>, Failure> {
    if !mounts.origins.iter().any(has_tree) {
        return Ok(None);
    }
    let contents = image.contents().map_err(|error| refused(&error))?;
    Ok(Some(contents))
}

/// Whether an origin's files are in the image.
pub(super) fn has_tree(origin: &Origin) -> bool {
    match origin {
        Origin::Own(own) => matches!(own.contents, Contents::Tree(_)),
        Origin::External(_) => false,
    }
}

/// Verification is not an option: a difference undoes the restore.
fn judge(
    mounts: &Mounts,
    restored: &Restored,
    tables: Vec<OwnedFd>,
    host: host::Table,
    outer: Option<Outer>,
) -> Result<Verified, Failure> {
    check(mounts, &restored.facts, tables, outer)?;
    host.unchanged()?;
    let each = mounts.namespaces.iter().map(|ns| ns.mounts.len() as u64);
    Ok(Verified {
        namespaces: mounts.namespaces.len() as u64,
        mounts: each.sum(),
    })
}

fn check(
    mounts: &Mounts,
    facts: &[Option<verify::External>],
    files: Vec<OwnedFd>,
    outer: Option<Outer>,
) -> Result<(), Failure> {
    let mut tables = Vec::with_capacity(files.len());
    for table in files {
        let mut text = Vec::new();
        File::from(table).read_to_end(&mut text).map_err(|error| {
            let what = "read the mount table of a restored namespace";
            Failure::new(Exit::Undone, format_args!("{what}: {error}"))
        })?;
        let mut table = mountinfo::parse(&text).or_exit(Exit::Undone)?;
        if let Some(outer) = outer {
            for entry in &mut table {
                let options = &mut entry.options;
                options.retain(|it| !outer.is_shown_as(&it.key, it.value.as_deref()));
            }
        }
        tables.push(table);
    }
    verify::verify(mounts, facts, &tables).map_err(|differences| {
        let lines: Vec<_> = differences.iter().map(ToString::to_string).collect();
        let count = lines.len();
        Failure::new(
            Exit::Undone,
            format_args!(
                "verify the restored mounts: {count} differ from the image; \
                 the restore is undone:\n  {}",
                lines.join("\n  ")
            ),
        )
    })
}

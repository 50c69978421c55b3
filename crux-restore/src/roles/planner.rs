//! The planner: decodes the image, plans, simulates; later verifies what was built.
//!
//! Kind: shell, with no privilege at all. It reads descriptors that it is
//! given, and opens nothing.

use super::message::{
    Answer, Delivery, Followed, Image, Planned, Refusal, Restored, SMALL, Task, Verified, bound,
};
use crate::capabilities;
use crate::cli::Options;
use crate::failure::{Exit, Failure, OrExit};
use crate::grants::{self, GrantError};
use crate::privilege::Outer;
use crate::tasks::compile::{Machine, compile};
use crate::tasks::plan::TaskPlan;
use crate::tasks::{machine, needs};
use crate::{host, report, tasks};
use crux_image::contents::ContentsReader;
use crux_image::directory::{ImageReader, Members};
use crux_image::error::ImageError;
use crux_image::member::MemberKind;
use crux_image::mounts::{Contents, Mounts, Origin, OwnFsType};
use crux_image::tasks::Tasks;
use crux_mount::plan::{Plan, plan};
use crux_mount::simulate::simulate;
use crux_mount::{mountinfo, verify};
use crux_role::{Channel, ChannelError, Grounds};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;

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
    let host = if options.dry_run { None } else { files.next() };
    match prepare(options, before, &image, files, host) {
        Err(failure) => channel.send(&Answer::<Planned>::Err(failure.into()), &[]),
        Ok(Prepared::Shown(text)) => channel.send(&Answer::Ok(Planned::Shown(text)), &[]),
        Ok(Prepared::Task(task, tasks, host)) => {
            channel.send(&Answer::Ok(Planned::Task), &[])?;
            channel.send(&task, &[])?;
            if let Some((tasks, plan)) = &tasks {
                channel.send(&delivery(tasks, &task.mounts, plan), &[])?;
                channel.send(plan, &[])?;
            }
            let (restored, tables) =
                channel.receive::<Restored>(bound(super::message::FACTS, NAMESPACES))?;
            let verified = judge(&task.mounts, &restored, tables, host, outer);
            channel.send(&verified.map_err(Refusal::from), &[])?;
            let Some((tasks, _)) = tasks else {
                return Ok(());
            };
            let (followed, files) = channel.receive::<Followed>(bound(SMALL, PROCESSES))?;
            let verified = judge_tasks(&tasks, &followed, files);
            channel.send(&verified.map_err(Refusal::from), &[])
        }
    }
}

/// Files of as many processes as one machine has.
const PROCESSES: usize = 1 << 20;

type Compiled = Option<(Box<Tasks>, Box<TaskPlan>)>;

/// The planner's whole job on an image up to the plan, in the calling process, as a restore
/// with everything granted does it: for who feeds it hostile images. How many steps there are.
pub fn plan_here(members: Members) -> Result<usize, Failure> {
    let options = Options::for_image(Path::new("image"));
    let host = host::open_table()?;
    let before = Before {
        machine: machine::observe(),
        grounds: None,
    };
    match planned(&options, &before, members, Some(host))? {
        Prepared::Task(task, ..) => Ok(task.steps.len()),
        Prepared::Shown(text) => Ok(text.lines().count()),
    }
}

enum Prepared {
    Shown(String),
    Task(Task, Compiled, host::Table),
}

/// What the supervisor is told of a plan.
fn delivery(tasks: &Tasks, mounts: &Mounts, plan: &TaskPlan) -> Delivery {
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

/// The scripts of the tasks, where there are tasks to restore.
fn compiled(
    options: &Options,
    before: &Before,
    reader: &ImageReader,
    mounts: &Mounts,
) -> Result<Compiled, Failure> {
    if options.mounts_only {
        return Ok(None);
    }
    let tasks = reader.tasks(mounts).map_err(|error| refused(&error))?;
    let tasks = tasks.ok_or_else(|| {
        let images = options.images().display();
        let hint = "it is one of mounts alone; give --mounts-only";
        Failure::new(Exit::Usage, format_args!("find tasks in {images}: {hint}"))
    })?;
    if let Some(grounds) = &before.grounds {
        let missing = needs::missing(&tasks, &before.machine);
        capabilities::check_tasks(&missing, grounds)?;
    }
    let plan = compile(&tasks, mounts, &before.machine).map_err(|obstacles| {
        let lines: Vec<_> = obstacles.iter().map(ToString::to_string).collect();
        let message = format!(
            "restore the tasks of the image here: {}",
            lines.join("\n  ")
        );
        Failure::new(Exit::Lacking, message)
    })?;
    Ok(Some((Box::new(tasks), Box::new(plan))))
}

fn prepare(
    options: &Options,
    before: &Before,
    image: &Image,
    files: impl Iterator<Item = OwnedFd>,
    host: Option<OwnedFd>,
) -> Result<Prepared, Failure> {
    let kinds = image.members.iter().copied();
    let kinds = kinds.filter_map(MemberKind::from_number);
    planned(options, before, Members::from_files(kinds.zip(files)), host)
}

fn planned(
    options: &Options,
    before: &Before,
    members: Members,
    host: Option<OwnedFd>,
) -> Result<Prepared, Failure> {
    let reader =
        ImageReader::from_members(members, options.images()).map_err(|error| refused(&error))?;
    let mounts = reader.mounts().map_err(|error| refused(&error))?;
    check_grants(&mounts, options)?;
    let plan = checked_plan(&mounts)?;
    let tasks = compiled(options, before, &reader, &mounts)?;
    if options.dry_run {
        let tasks = tasks.as_ref().map(|(_, plan)| plan.as_ref());
        return Ok(Prepared::Shown(report::dry_run(
            &plan, &mounts, tasks, options,
        )));
    }
    let host = host.ok_or_else(|| Failure::new(Exit::Undone, "see the host's mounts"))?;
    let host = host::Table::read(host)?;
    check_contents(&reader, &mounts)?;
    let steps = plan.steps().to_vec();
    let denied = tasks
        .as_ref()
        .map(|(tasks, _)| tasks.without_setgroups.clone());
    let task = Task {
        mounts,
        steps,
        without_setgroups: denied.unwrap_or_default(),
    };
    Ok(Prepared::Task(task, tasks, host))
}

/// The builder enforces them; here a person learns early what is missing.
fn check_grants(mounts: &Mounts, options: &Options) -> Result<(), Failure> {
    grant(mounts, options).map(drop)
}

/// The grants of the command line for what an image asks for.
pub(super) fn grant(
    mounts: &Mounts,
    options: &Options,
) -> Result<Vec<Option<grants::Grant>>, Failure> {
    grants::grant(mounts, options).map_err(|error| {
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

/// The plan, which has been run on a model of the kernel's rules.
fn checked_plan(mounts: &Mounts) -> Result<Plan, Failure> {
    let plan = plan(mounts).or_exit(Exit::Image)?;
    let simulated = simulate(mounts, plan.steps())
        .map_err(|error| Failure::new(Exit::Image, format_args!("simulate the plan: {error}")))?;
    let differences = crux_image::diff::diff(mounts, &simulated);
    if let Some(first) = differences.first() {
        let more = differences.len() - 1;
        return Err(Failure::new(
            Exit::Image,
            format_args!("plan the restore: {first} (and {more} more differences)"),
        ));
    }
    Ok(plan)
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

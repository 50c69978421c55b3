//! One restore, from the image to the released namespace.
//!
//! Kind: shell. Each stage is a module; this file is their order and what each
//! failure means to the caller. Undoing is ending the builder and closing its
//! descriptors, which every early return does.

use crate::cli::Options;
use crate::contents::{self, ContentsError};
use crate::failure::{Exit, Failure, OrExit};
use crate::grants::{self, GrantError};
use crate::sources::{self, HostTable, Sources};
use crate::{builder, host, release, report};
use crux_image::contents::{ContentsReader, FormatError};
use crux_image::directory::ImageReader;
use crux_image::error::ImageError;
use crux_image::mounts::{Contents, Mounts, Origin, OwnFileSystem};
use crux_mount::exec::{Built, Pinning, Setup, execute};
use crux_mount::plan::{Plan, plan};
use crux_mount::simulate::simulate;
use crux_mount::{mountinfo, verify};
use std::fs::File;
use std::io::Read;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::ExitCode;

/// Restores as the options say; the exit code of the command, or success.
pub fn run(options: &Options) -> Result<ExitCode, Failure> {
    let image = ImageReader::open(&options.images).map_err(|error| refused(&error))?;
    let mounts = image.mounts().map_err(|error| refused(&error))?;
    let grants = grants::grant(&mounts, options).map_err(|error| {
        let exit = match error {
            GrantError::Missing(_) => Exit::Obstacle,
            _ => Exit::Usage,
        };
        Failure::new(
            exit,
            format_args!("restore {}: {error}", options.images.display()),
        )
    })?;
    let plan = checked_plan(&mounts)?;
    if options.dry_run {
        report::dry_run(&plan, &mounts, options);
        return Ok(ExitCode::SUCCESS);
    }
    let before = host::table()?;
    let sources = sources::open(&mounts, &grants, &HostTable::new(&before))
        .map_err(|problems| unfit(&problems))?;
    let mut contents = open_contents(&image, &mounts)?;
    host::raise_descriptor_limit();
    let pinning = match options.pin {
        Some(_) => Pinning::Wanted,
        None => Pinning::NotWanted,
    };
    let Sources {
        sources,
        outside,
        facts,
        terminals,
    } = sources;
    let built = builder::build(|| {
        // A step that fails on the image's contents is the image's fault.
        let mut exit = Exit::Undone;
        let mut fill = |own: &OwnFileSystem, root: BorrowedFd<'_>| match own.contents {
            Contents::Tree(section) => fill_tree(root, section, contents.as_mut(), &mut exit),
            Contents::Kernel | Contents::Terminals(_) => Ok(()),
        };
        let setup = Setup {
            mounts: &mounts,
            sources,
            outside,
            pinning,
            fill: &mut fill,
        };
        execute(&plan, setup).map_err(|error| Failure::new(exit, error))
    })?;
    check(&mounts, &facts, &built)?;
    host::unchanged(&before)?;
    let terminals = terminals.iter().chain(&built.terminals).collect();
    finish(options, &mounts, &built, terminals)
}

fn refused(error: &ImageError) -> Failure {
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

fn unfit(problems: &[String]) -> Failure {
    let count = problems.len();
    let message = match problems {
        [one] => format!("use a granted source: {one}"),
        _ => format!("use {count} granted sources:\n  {}", problems.join("\n  ")),
    };
    Failure::new(Exit::Usage, message)
}

fn open_contents(image: &ImageReader, mounts: &Mounts) -> Result<Option<ContentsReader>, Failure> {
    let has_tree = |origin: &Origin| match origin {
        Origin::Own(own) => matches!(own.contents, Contents::Tree(_)),
        Origin::External(_) => false,
    };
    if !mounts.origins.iter().any(has_tree) {
        return Ok(None);
    }
    let contents = image.contents().map_err(|error| refused(&error))?;
    Ok(Some(contents))
}

fn fill_tree(
    root: BorrowedFd<'_>,
    section: crux_image::contents::Section,
    reader: Option<&mut ContentsReader>,
    exit: &mut Exit,
) -> Result<(), String> {
    let reader = reader.ok_or("the image has no contents")?;
    contents::apply(root, section, reader).map_err(|error| {
        if let ContentsError::Format(format) = &error
            && !matches!(format, FormatError::Io { .. })
        {
            *exit = Exit::Image;
        }
        error.to_string()
    })
}

/// Verification is not an option: a difference undoes the restore.
fn check(
    mounts: &Mounts,
    facts: &[Option<verify::External>],
    built: &Built,
) -> Result<(), Failure> {
    let mut tables = Vec::with_capacity(built.namespaces.len());
    for namespace in &built.namespaces {
        let table = namespace.table.try_clone().or_exit(Exit::Undone)?;
        let mut text = Vec::new();
        File::from(table).read_to_end(&mut text).map_err(|error| {
            let what = "read the mount table of a restored namespace";
            Failure::new(Exit::Undone, format_args!("{what}: {error}"))
        })?;
        tables.push(mountinfo::parse(&text).or_exit(Exit::Undone)?);
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

/// A command that did not start undoes the restore, and so the pin.
fn not_started(options: &Options, cause: &str) -> Failure {
    let left = options.pin.as_deref().map_or(Ok(()), release::unpin);
    match left {
        Ok(()) => Failure::new(Exit::Undone, cause),
        Err(left) => Failure::new(Exit::Uncertain, format_args!("{cause}; {left}")),
    }
}

/// `terminals` are the masters of all ptys, which live until this returns.
fn finish(
    options: &Options,
    mounts: &Mounts,
    built: &Built,
    terminals: Vec<&OwnedFd>,
) -> Result<ExitCode, Failure> {
    if let Some(file) = &options.pin {
        release::pin(built, file).or_exit(Exit::Undone)?;
    }
    report::restored(options, mounts, terminals.len());
    if options.command.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    release::command(built, &options.command).map_err(|cause| not_started(options, &cause))
}

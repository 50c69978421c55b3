//! What a restore of mounts does, in one process that keeps all its privilege: what separating it into roles costs is
//! the difference.
//!
//! Kind: effect. A program of its own, as crux-restore is: `cargo xtask one-process`. The parts are those of crux-restore, in
//! its order. Nothing looks at grants and at what whoever restores lacks, which makes this quicker than it could be: the
//! difference is no less than the roles cost.

use anyhow::{Context as _, Result, bail, ensure};
use crux_image::contents::ContentsReader;
use crux_image::directory::{ImageReader, Members};
use crux_image::member::MemberKind;
use crux_image::mounts::{Contents, External, Mounts, Origin, OwnFileSystem, Wish};
use crux_image::path::{HostPath, RelPath};
use crux_mount::exec::{Built, BuiltNamespace, Pinning, Setup, Source, execute};
use crux_mount::mountinfo::{self, Entry};
use crux_mount::plan::{Plan, plan};
use crux_mount::{sys, verify};
use crux_tests::until_said;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{chroot, fchdir};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Seconds until a command inside has said something.
pub(super) fn restore(images: &Path) -> Result<f64> {
    let own = std::env::current_exe()?;
    let start = Instant::now();
    let (running, said) = until_said(&own, [OsStr::new("one-process"), images.as_os_str()])?;
    let seconds = start.elapsed().as_secs_f64();
    running.finish()?.success("the restore in one process")?;
    ensure!(said == b"here\n", "the command said {said:?}");
    Ok(seconds)
}

/// What that program does.
pub(crate) fn run(images: &Path) -> Result<()> {
    enter(&restored(images)?)?;
    let mut command = Command::new("/bin/busybox");
    let status = command.args(["echo", "here"]).status();
    let status = status.context("/bin/busybox")?;
    ensure!(status.success(), "the command ended with {status}");
    Ok(())
}

fn restored(images: &Path) -> Result<BuiltNamespace> {
    let members = Members::open(images)?;
    let mut contents = contents(&members)?;
    let mounts = ImageReader::from_members(members, images)?.mounts()?;
    let plan = checked(&mounts)?;
    // Where it ends up, there is no /proc.
    let mut table = File::open("/proc/self/mountinfo")?;
    let host = read(&mut table)?;
    let (sources, facts) = sources(&mounts, &host)?;
    let mut fill = |own: &OwnFileSystem, root: BorrowedFd<'_>| match own.contents {
        Contents::Tree(section) => crux_restore::contents::apply(root, section, &mut contents)
            .map_err(|error| error.to_string()),
        _ => Ok(()),
    };
    let built = execute(
        &plan,
        Setup {
            mounts: &mounts,
            outside: sources.iter().map(|_| None).collect(),
            sources,
            pinning: Pinning::NotWanted,
            descriptors: rustix::process::getrlimit(rustix::process::Resource::Nofile)
                .current
                .unwrap_or(u64::MAX),
            born: Default::default(),
            without_setgroups: Vec::new(),
            fill: &mut fill,
        },
    )?;
    let first = verified(&mounts, &facts, built)?;
    ensure!(read(&mut table)? == host, "the host's table changed");
    Ok(first)
}

fn contents(members: &Members) -> Result<ContentsReader<File>> {
    let copy = |wanted: MemberKind| {
        let found = members.files().find(|(kind, _)| *kind == wanted);
        let (_, file) = found.context("an image of mounts with contents")?;
        anyhow::Ok(File::from(file.try_clone_to_owned()?))
    };
    let (index, data) = (
        copy(MemberKind::ContentsIndex)?,
        copy(MemberKind::ContentsData)?,
    );
    Ok(ContentsReader::new(index, data)?)
}

fn checked(mounts: &Mounts) -> Result<Plan> {
    let plan = plan(mounts)?;
    plan.check(mounts)?;
    Ok(plan)
}

fn read(table: &mut File) -> Result<Vec<Entry>> {
    let mut text = Vec::new();
    table.rewind()?;
    table.read_to_end(&mut text)?;
    Ok(mountinfo::parse(&text)?)
}

type Facts = Vec<Option<verify::External>>;

/// What the image wishes for.
fn sources(mounts: &Mounts, host: &[Entry]) -> Result<(Vec<Option<Source>>, Facts)> {
    let (mut sources, mut facts) = (Vec::new(), Vec::new());
    for origin in &mounts.origins {
        let Origin::External(external) = origin else {
            sources.push(None);
            facts.push(None);
            continue;
        };
        let path = wished(external)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(CWD, path.to_bytes(), flags, Mode::empty())?;
        let stat = sys::statx(&file)?;
        let entry = host.iter().find(|entry| entry.id == stat.mount);
        let entry = entry.context("a source in the host's table")?;
        facts.push(Some(verify::External {
            device: Some(entry.device),
            root: root_of(&path, entry)?,
            group: None,
        }));
        sources.push(Some(Source::Path(file)));
    }
    Ok((sources, facts))
}

fn wished(external: &External) -> Result<HostPath> {
    match &external.wish {
        Some(Wish::Path(path)) if external.group_wish.is_none() => Ok(path.clone()),
        _ => bail!("{}: no source that this restore can open", external.name),
    }
}

/// Which part of its file system a path in this mount is.
fn root_of(path: &HostPath, entry: &Entry) -> Result<Vec<u8>> {
    let within = path
        .as_rel()
        .strip_prefix(&RelPath::from_absolute(&entry.mountpoint)?);
    let within = within.context("a source in its mount")?;
    Ok(RelPath::from_absolute(&entry.root.path)?
        .join(&within)
        .to_absolute())
}

/// The first namespace and its root, if all are what they were.
fn verified(mounts: &Mounts, facts: &Facts, built: Built) -> Result<BuiltNamespace> {
    let mut tables = Vec::new();
    for namespace in &built.namespaces {
        tables.push(read(&mut File::from(namespace.table.try_clone()?))?);
    }
    if let Err(differences) = verify::verify(mounts, facts, &tables) {
        bail!("the restored mounts are others: {differences:?}");
    }
    built.namespaces.into_iter().next().context("a namespace")
}

fn enter(inside: &BuiltNamespace) -> Result<()> {
    let kind = Some(LinkNameSpaceType::Mount);
    move_into_link_name_space(inside.namespace.as_fd(), kind)?;
    fchdir(&inside.root)?;
    Ok(chroot(".")?)
}

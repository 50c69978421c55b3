//! What propagation does, as opposed to what the table says of it.
//!
//! Kind: effect. A tmpfs is mounted on each mount of a container in turn, and
//! on each mount of the host that it is tied to; where it appears is written
//! down, and where it stays after it is unmounted.

use crate::mounting;
use crate::sys::in_child;
use crate::table::{Entry, Table};
use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns};
use nix::unistd::getppid;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

const SOURCE: &str = "crux-probe";

/// For each mount: the mounts in which a new one appears.
pub type Reach = BTreeMap<String, BTreeSet<String>>;

/// The side that a mount is on.
#[derive(Clone, Copy)]
enum Side {
    Host,
    /// Which of the container's namespaces.
    Container(usize),
}

/// Probes a container of one namespace, from the host side.
pub fn reach(pid: u32) -> Result<Reach> {
    reach_all(&[pid])
}

/// Probes a container, given a task of each of its mount namespaces.
pub fn reach_all(pids: &[u32]) -> Result<Reach> {
    let inside = pids.iter().map(Table::of).collect::<Result<Vec<_>>>()?;
    let host = Table::own()?;
    let mut reach = Reach::new();
    for (at, table) in inside.iter().enumerate() {
        for entry in &table.0 {
            probe(&mut reach, pids, Side::Container(at), table, entry)?;
        }
    }
    let tied = |entry: &&Entry| inside.iter().any(|table| tied(entry, table));
    for entry in host.0.iter().filter(tied) {
        probe(&mut reach, pids, Side::Host, &host, entry)?;
    }
    Ok(reach)
}

/// Whether events of this mount of the host can reach the container.
fn tied(entry: &Entry, inside: &Table) -> bool {
    let joins = |other: &Entry| other.shared == entry.shared || other.master == entry.shared;
    entry.shared.is_some() && inside.0.iter().any(joins)
}

fn probe(reach: &mut Reach, pids: &[u32], side: Side, table: &Table, entry: &Entry) -> Result<()> {
    let name = name(side, &table.label(entry.id));
    let answer = in_child(|| {
        let views = Views::open(pids)?;
        if let Side::Container(at) = side {
            go_inside(pids[at])?;
        }
        cover_and_look(&entry.path(), entry.id, &views)
    });
    let answer = answer.with_context(|| format!("failed to probe {name}"))?;
    if !answer.is_empty() {
        let places = String::from_utf8(answer)?;
        reach.insert(name, places.lines().map(str::to_owned).collect());
    }
    Ok(())
}

/// Moves the calling process to the root of a container's process.
pub(crate) fn go_inside(pid: u32) -> Result<()> {
    let namespace = File::open(format!("/proc/{pid}/ns/mnt"))?;
    let root = File::open(format!("/proc/{pid}/root"))?;
    setns(namespace, CloneFlags::CLONE_NEWNS).context("setns")?;
    rustix::process::fchdir(&root)?;
    Ok(rustix::process::chroot(".")?)
}

/// Where the probe appears, and where it stays, line by line; nothing where the
/// mount is covered or no directory.
fn cover_and_look(at: &Path, id: u64, views: &Views) -> Result<Vec<u8>> {
    let Some(place) = top_of(at, id)? else {
        return Ok(Vec::new());
    };
    let probe = new_mount()?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    match move_mount(&probe, "", &place, "", flags) {
        Ok(()) => {}
        // A directory that was removed takes no mount.
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(errno) => return Err(errno).context("move_mount"),
    }
    let mut lines = views.sightings()?;
    // Not by path: the probe may appear above its own mountpoint, and hide that.
    rustix::process::fchdir(&probe)?;
    mounting::detach(Path::new("."))?;
    let left = views.sightings()?.into_iter();
    lines.extend(left.map(|place| format!("left in {place}")));
    Ok(lines.join("\n").into_bytes())
}

/// The mountpoint, if it is a directory and this mount is on top there.
fn top_of(at: &Path, id: u64) -> Result<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = match open_long(at, flags) {
        Ok(place) => place,
        Err(Errno::NOTDIR | Errno::NOENT | Errno::LOOP) => return Ok(None),
        Err(errno) => return Err(errno).with_context(|| format!("open({at:?})")),
    };
    let found = statx(&place, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    Ok((found.stx_mnt_id == id).then_some(place))
}

/// Component by component, as a path can be longer than `PATH_MAX`.
fn open_long(at: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let mut here = openat(CWD, "/", flags, Mode::empty())?;
    for name in at
        .components()
        .filter(|part| matches!(part, Component::Normal(_)))
    {
        here = openat(&here, name.as_os_str(), flags, Mode::empty())?;
    }
    Ok(here)
}

fn new_mount() -> Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).context("fsopen")?;
    fsconfig_set_string(&context, "source", SOURCE).context("fsconfig")?;
    fsconfig_create(&context).context("fsconfig")?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RELATIME;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).context("fsmount")
}

/// All tables, to be read from anywhere.
struct Views(Vec<(Side, OwnedFd)>);

impl Views {
    fn open(pids: &[u32]) -> Result<Self> {
        // The lab itself stays where it is, unlike this process.
        let host = (Side::Host, getppid().as_raw().unsigned_abs());
        let inside = pids.iter().enumerate();
        let all = inside.map(|(at, &pid)| (Side::Container(at), pid));
        let views = all.chain([host]).map(|(side, pid)| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let process = openat(CWD, format!("/proc/{pid}"), flags, Mode::empty());
            Ok((side, process.with_context(|| format!("open(/proc/{pid})"))?))
        });
        views.collect::<Result<_>>().map(Self)
    }

    /// Where the probe is now.
    fn sightings(&self) -> Result<Vec<String>> {
        let mut seen = Vec::new();
        for (side, process) in &self.0 {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let mut bytes = Vec::new();
            File::from(openat(process, "mountinfo", flags, Mode::empty())?)
                .read_to_end(&mut bytes)?;
            let table = Table::parse(&bytes)?;
            let probes = table.0.iter().filter(|entry| entry.source == SOURCE);
            seen.extend(probes.map(|entry| name(*side, &table.label(entry.parent))));
        }
        Ok(seen)
    }
}

fn name(side: Side, label: &str) -> String {
    match side {
        Side::Host => format!("host:{label}"),
        Side::Container(0) => format!("container:{label}"),
        Side::Container(at) => format!("container's namespace {at}:{label}"),
    }
}

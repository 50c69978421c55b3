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
use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, statx};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

const SOURCE: &str = "crux-probe";

/// For each mount: the mounts in which a new one appears.
pub type Reach = BTreeMap<String, BTreeSet<String>>;

/// The side that a mount is on.
#[derive(Clone, Copy)]
enum Side {
    Host,
    Container,
}

/// Probes a container, from the host side.
pub fn reach(pid: u32) -> Result<Reach> {
    let inside = Table::of(pid)?;
    let host = Table::own()?;
    let mut reach = Reach::new();
    for entry in &inside.0 {
        probe(&mut reach, pid, Side::Container, &inside, entry)?;
    }
    for entry in host.0.iter().filter(|entry| tied(entry, &inside)) {
        probe(&mut reach, pid, Side::Host, &host, entry)?;
    }
    Ok(reach)
}

/// Whether events of this mount of the host can reach the container.
fn tied(entry: &Entry, inside: &Table) -> bool {
    let joins = |other: &Entry| other.shared == entry.shared || other.master == entry.shared;
    entry.shared.is_some() && inside.0.iter().any(joins)
}

fn probe(reach: &mut Reach, pid: u32, side: Side, table: &Table, entry: &Entry) -> Result<()> {
    let at = Path::new(&entry.mountpoint);
    let name = name(side, &table.label(entry.id));
    let act = |what: fn(&Path, u64) -> Result<bool>| on(side, pid, at, entry.id, what);
    if !act(cover)? {
        return Ok(());
    }
    let seen = sightings(pid)?;
    act(uncover).with_context(|| format!("failed to end the probe in {name}"))?;
    let left = sightings(pid)?
        .into_iter()
        .map(|place| format!("left in {place}"));
    reach.insert(name, seen.into_iter().chain(left).collect());
    Ok(())
}

/// Runs `what` on the host, or in the container's mount namespace.
fn on(
    side: Side,
    pid: u32,
    at: &Path,
    id: u64,
    what: fn(&Path, u64) -> Result<bool>,
) -> Result<bool> {
    let answer = in_child(|| {
        if let Side::Container = side {
            let namespace = File::open(format!("/proc/{pid}/ns/mnt"))?;
            let root = File::open(format!("/proc/{pid}/root"))?;
            setns(namespace, CloneFlags::CLONE_NEWNS).context("setns")?;
            rustix::process::fchdir(&root)?;
            rustix::process::chroot(".")?;
        }
        Ok(vec![u8::from(what(at, id)?)])
    })?;
    Ok(answer == [1])
}

/// Mounts the probe, unless the mount is covered or no directory.
fn cover(at: &Path, id: u64) -> Result<bool> {
    let wanted = StatxFlags::MNT_ID | StatxFlags::TYPE;
    let Ok(found) = statx(CWD, at, AtFlags::SYMLINK_NOFOLLOW, wanted) else {
        return Ok(false);
    };
    let directory = FileType::from_raw_mode(found.stx_mode.into()) == FileType::Directory;
    if found.stx_mnt_id != id || !directory {
        return Ok(false);
    }
    mounting::new("tmpfs", SOURCE, at, "rw,relatime", "").map(|()| true)
}

fn uncover(at: &Path, _id: u64) -> Result<bool> {
    mounting::detach(at).map(|()| true)
}

/// Where the probe is now.
fn sightings(pid: u32) -> Result<BTreeSet<String>> {
    let mut seen = BTreeSet::new();
    for (side, table) in [
        (Side::Container, Table::of(pid)?),
        (Side::Host, Table::own()?),
    ] {
        let probes = table.0.iter().filter(|entry| entry.source == SOURCE);
        seen.extend(probes.map(|entry| name(side, &table.label(entry.parent))));
    }
    Ok(seen)
}

fn name(side: Side, label: &str) -> String {
    match side {
        Side::Host => format!("host:{label}"),
        Side::Container => format!("container:{label}"),
    }
}

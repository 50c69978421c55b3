//! Containers whose mount tables were seen in the wild, to be built on any machine.
//!
//! Each module makes a table of `crux-mount/testdata/`, line by line: types, roots,
//! attributes, sharing. What differs is the file system of the container's root
//! (a tmpfs of the lab instead of a disk) and how large the tmpfs of /run is.

pub mod lxc5;
pub mod many;
pub mod systemd;
pub mod vivid;

use crate::container::Site;
use crate::mounting::{self, Depth, Kind};
use crate::table::{Entry, Table};
use anyhow::{Context as _, Result};
use std::path::Path;

/// The attributes of most kernel file systems.
const CAREFUL: &str = "rw,nosuid,nodev,noexec,relatime";
const CAREFUL_RO: &str = "ro,nosuid,nodev,noexec,relatime";

/// What LXC binds over /proc/sys/kernel/random/boot_id.
const BOOT_ID: &str = "/dev/.lxc-boot-id";

impl Site<'_> {
    /// Binds a path of the container's own.
    fn bind_own(&self, from: &str, at: &str, attributes: &str) -> Result<()> {
        self.bind(&self.at(from), at, attributes)
    }
}

/// Each mount in a peer group of its own, as `mount --make-rshared /` does it.
fn share_everything() -> Result<()> {
    mounting::propagation(Path::new("/"), Kind::Private, Depth::Tree)?;
    mounting::propagation(Path::new("/"), Kind::Shared, Depth::Tree)
}

/// From inside, after everything is shared: the bind is a peer of /dev.
fn bind_boot_id() -> Result<()> {
    let at = Path::new("/proc/sys/kernel/random/boot_id");
    mounting::bind(Path::new(BOOT_ID), at, Depth::One)?;
    mounting::attributes(at, CAREFUL_RO)
}

/// A table as lines without what no two machines have in common: ids, devices,
/// sources, sizes, and the file system that the container's root is on.
pub fn shape(table: &Table) -> Vec<String> {
    let mut lines: Vec<String> = table.0.iter().map(|entry| line(table, entry)).collect();
    lines.sort();
    lines
}

fn line(table: &Table, entry: &Entry) -> String {
    let peers = table.0.iter().filter(|other| {
        entry.shared.is_some() && other.shared == entry.shared && other.id != entry.id
    });
    let peers: Vec<String> = peers.map(|peer| table.label(peer.id)).collect();
    let top = entry.mountpoint == "/";
    let (root, fs) = match (top, entry.fs_type.as_str()) {
        (true, _) => ("", "disk"),
        _ if Some(&entry.device) == disk(table) => ("", "disk"),
        (_, fs) if fs.starts_with("cgroup") => ("", fs),
        (_, fs) => (entry.root.as_str(), fs),
    };
    format!(
        "{} in {}: {root} {} {fs} shared {} with {peers:?} slave {}",
        table.label(entry.id),
        if top {
            "nothing".into()
        } else {
            table.label(entry.parent)
        },
        entry.attributes,
        entry.shared.is_some(),
        entry.master.is_some(),
    )
}

/// The file system that the container has the host's libraries from, whatever it is.
fn disk(table: &Table) -> Option<&String> {
    let libraries = |entry: &&Entry| entry.mountpoint == "/usr/lib";
    table.0.iter().find(libraries).map(|entry| &entry.device)
}

/// Reads a table of `crux-mount/testdata/`.
pub fn recorded(text: &str) -> Result<Table> {
    Table::parse(text.as_bytes()).context("in tests/data")
}

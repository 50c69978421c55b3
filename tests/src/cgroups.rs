//! Cgroups of a test's own, in each hierarchy of the machine.
//!
//! Kind: effect. They are the one thing that a lab makes outside its own
//! namespace, so they are removed when dropped, and those of labs that were
//! killed by the next lab that makes some.

use crate::patience;
use crate::table::{Entry, Table};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Where the hierarchies are.
pub const CGROUP_ROOT: &str = "/sys/fs/cgroup";

const PREFIX: &str = "crux-lab-";

/// A cgroup in each hierarchy.
#[derive(Debug)]
pub struct Cgroups {
    made: Vec<PathBuf>,
}

impl Cgroups {
    /// Makes a cgroup `name` (see [`Lab::name`](crate::Lab::name)) in each of `hierarchies`.
    pub fn new(name: &str, hierarchies: &[&str]) -> Result<Self> {
        let mut cgroups = Self { made: Vec::new() };
        for hierarchy in hierarchies {
            let top = Path::new(CGROUP_ROOT).join(hierarchy);
            sweep(&top);
            let path = top.join(name);
            fs::create_dir(&path).with_context(|| format!("mkdir({path:?})"))?;
            cgroups.made.push(path);
        }
        Ok(cgroups)
    }

    /// Makes the cgroups again that the cgroup mounts of a container are of: those who made
    /// the container have removed them with it.
    pub fn again(container: &Table, host: &Table) -> Result<Self> {
        let mut cgroups = Self { made: Vec::new() };
        for path in cgroups_of(container, host) {
            if !cgroups.made.contains(&path) {
                fs::create_dir(&path).with_context(|| format!("mkdir({path:?})"))?;
                cgroups.made.push(path);
            }
        }
        Ok(cgroups)
    }

    /// Where they are, in the order of the hierarchies.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.made.iter().map(PathBuf::as_path)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for path in &self.made {
            // A container that has not ended keeps it; the next lab sweeps.
            let _ = fs::remove_dir(path);
        }
    }
}

/// Where the host has what the cgroup mounts of a container show.
fn cgroups_of(container: &Table, host: &Table) -> Vec<PathBuf> {
    let shown = container
        .0
        .iter()
        .filter(|entry| entry.fs_type.starts_with("cgroup"));
    let on_host = shown.filter_map(|entry| {
        let whole = |top: &&Entry| top.device == entry.device && top.root == "/";
        let top = host.0.iter().find(whole)?;
        let path = entry.root.trim_start_matches('/');
        Some(Path::new(&top.mountpoint).join(path))
    });
    on_host.filter(|path| !path.exists()).collect()
}

/// Removes the cgroups of labs that are no more.
fn sweep(top: &Path) {
    let Ok(entries) = fs::read_dir(top) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Removes what a lab has left, which may be what crux-restore made for containers that have just ended.
pub(crate) fn sweep_of(lab: &str) {
    let start = Instant::now();
    let is_of = |name: &str| {
        let name = name.strip_prefix("lxc.payload.").unwrap_or(name);
        name.strip_prefix("lxc.monitor.").unwrap_or(name) == lab
    };
    for hierarchy in fs::read_dir(CGROUP_ROOT).into_iter().flatten().flatten() {
        let entries = fs::read_dir(hierarchy.path()).into_iter().flatten();
        let left = entries
            .flatten()
            .filter(|it| it.file_name().to_str().is_some_and(is_of));
        for cgroup in left.map(|entry| entry.path()) {
            while cgroup.exists() && start.elapsed() < patience(5) {
                remove_all(&cgroup);
            }
        }
    }
}

/// Removes a cgroup and those in it; one that has a process stays.
pub(crate) fn remove_all(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_all(&entry.path());
        }
    }
    let _ = fs::remove_dir(cgroup);
}

//! Cgroups of a test's own, in each hierarchy of the machine.
//!
//! Kind: effect. They are the one thing that a lab makes outside its own
//! namespace, so they are removed when dropped, and those of labs that were
//! killed by the next lab that makes some.

use crate::table::{Entry, Table};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

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

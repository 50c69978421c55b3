//! What a live process holds: `/proc/PID/status` and `/proc/PID/fd`.
//!
//! Kind: effect.

use anyhow::{Context as _, Result};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;

/// One look at a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// `/proc/PID/comm`
    pub name: String,
    /// `/proc/PID/status`, by the names of its lines.
    pub status: BTreeMap<String, String>,
    /// Where each descriptor leads.
    pub descriptors: BTreeMap<u32, String>,
}

impl Sight {
    /// Looks at a process that has stopped.
    pub fn of(pid: Pid) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let lines = status.lines().filter_map(|line| line.split_once(':'));
        let mut descriptors = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
            let entry = entry?;
            let number = entry.file_name().to_string_lossy().parse()?;
            let target = fs::read_link(entry.path())?;
            descriptors.insert(number, target.to_string_lossy().into_owned());
        }
        Ok(Self {
            name: name(pid)?,
            status: lines
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .collect(),
            descriptors,
        })
    }

    /// A set of capabilities (`CapEff`, ...), one bit each.
    pub fn capabilities(&self, set: &str) -> Result<u64> {
        let text = self.status.get(set).context("no such line")?;
        Ok(u64::from_str_radix(text, 16)?)
    }

    /// A line that is one word.
    pub fn line(&self, name: &str) -> &str {
        self.status.get(name).map_or("", String::as_str)
    }
}

fn name(pid: Pid) -> Result<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm"))?;
    Ok(name.trim_end().to_owned())
}

/// Whether a process has this name and a filter.
pub(super) fn is_filtered(pid: Pid, role: &str) -> bool {
    Sight::of(pid).is_ok_and(|sight| sight.name == role && sight.line("Seccomp") == "2")
}

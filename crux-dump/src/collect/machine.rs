//! Every process of the machine, once: who descends from whom, and which mount
//! namespaces there are.
//!
//! Kind: effect. Processes that end meanwhile are left out.

use super::DumpError;
use super::process::Stat;
use crate::judge::NamespaceId;
use rustix::fs::{Dir, Mode, OFlags, openat, readlinkat};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};

/// The mount namespaces of all processes, by pid. Kernel threads, zombies and who may not be looked at
/// have none. Whose child a process is costs more to read, and is asked of few.
#[derive(Debug)]
pub(super) struct Machine {
    proc: OwnedFd,
    namespaces: BTreeMap<u32, NamespaceId>,
}

impl Machine {
    /// Reads /proc.
    pub(super) fn scan() -> Result<Self, DumpError> {
        let fail = |errno: rustix::io::Errno| DumpError::Proc {
            what: "/proc".into(),
            error: errno.into(),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = rustix::fs::open("/proc", flags, Mode::empty()).map_err(fail)?;
        let mut namespaces = BTreeMap::new();
        for entry in Dir::read_from(&proc).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_str().ok();
            let pid: Option<u32> = name.and_then(|name| name.parse().ok());
            if let Some((pid, id)) = pid.and_then(|pid| Some((pid, mounts_of(&proc, pid)?))) {
                namespaces.insert(pid, id);
            }
        }
        Ok(Self { proc, namespaces })
    }

    /// The descendants of a process in namespaces that are not in `known`, in the order of their pids.
    pub(super) fn descendants(
        &self,
        of: u32,
        known: &HashSet<NamespaceId>,
    ) -> Vec<(u32, NamespaceId)> {
        let mut descends = HashMap::from([(of, true), (0, false), (1, of == 1)]);
        let elsewhere = self.namespaces.iter().filter(|(_, id)| !known.contains(id));
        let elsewhere = elsewhere.map(|(&pid, &id)| (pid, id));
        let found = elsewhere.filter(|&(pid, _)| pid != of && self.descends(pid, &mut descends));
        found.collect()
    }

    /// Whether a line of parents leads to a process of which that is known. One that has gone has no parent; a
    /// pid that was reused meanwhile could close a circle.
    fn descends(&self, pid: u32, known: &mut HashMap<u32, bool>) -> bool {
        let mut line = vec![pid];
        let answer = loop {
            let here = line[line.len() - 1];
            if let Some(&answer) = known.get(&here) {
                break answer;
            }
            match self.parent(here) {
                Some(parent) if !line.contains(&parent) => line.push(parent),
                _ => break false,
            }
        };
        known.extend(line.into_iter().map(|pid| (pid, answer)));
        answer
    }

    fn parent(&self, pid: u32) -> Option<u32> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(&self.proc, pid.to_string(), flags, Mode::empty()).ok()?;
        Some(Stat::read(directory.as_fd())?.parent)
    }

    /// One process of each mount namespace that is not in `known`.
    pub(super) fn others(&self, known: &HashSet<NamespaceId>) -> Vec<u32> {
        let mut seen = known.clone();
        let new = |(&pid, &id): (&u32, &NamespaceId)| seen.insert(id).then_some(pid);
        self.namespaces.iter().filter_map(new).collect()
    }
}

fn mounts_of(proc: &OwnedFd, pid: u32) -> Option<NamespaceId> {
    let link = readlinkat(proc, format!("{pid}/ns/mnt"), Vec::new()).ok()?;
    inode(link.as_bytes())
}

/// The number in `mnt:[4026531841]`.
fn inode(link: &[u8]) -> Option<NamespaceId> {
    let number = link.strip_prefix(b"mnt:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(number)
        .ok()?
        .parse()
        .ok()
        .map(NamespaceId)
}

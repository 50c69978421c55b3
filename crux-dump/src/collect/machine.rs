//! Every process of the machine, once: who descends from whom, and which mount
//! namespaces there are.
//!
//! Kind: effect. Processes that end meanwhile are left out.

use super::DumpError;
use super::process::Stat;
use crate::judge::NamespaceId;
use crux_mount::sys::SysError;
use rustix::fs::{Dir, Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;
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
        let fail = |errno: Errno| DumpError::Proc {
            what: "/proc: open or getdents".into(),
            error: errno.into(),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = rustix::fs::open("/proc", flags, Mode::empty()).map_err(fail)?;
        let mut namespaces = BTreeMap::new();
        for entry in Dir::read_from(&proc).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_str().ok();
            let Some(pid) = name.and_then(|name| name.parse().ok()) else {
                continue;
            };
            if let Some(id) = mounts_of(&proc, pid)? {
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
    ) -> Result<Vec<(u32, NamespaceId)>, DumpError> {
        let mut descends = HashMap::from([(of, true), (0, false), (1, of == 1)]);
        let mut found = Vec::new();
        for (&pid, &id) in &self.namespaces {
            if !known.contains(&id) && pid != of && self.descends(pid, &mut descends)? {
                found.push((pid, id));
            }
        }
        Ok(found)
    }

    /// Whether a line of parents leads to a process of which that is known. One that has gone has no parent; a
    /// pid that was reused meanwhile could close a circle.
    fn descends(&self, pid: u32, known: &mut HashMap<u32, bool>) -> Result<bool, DumpError> {
        let mut line = vec![pid];
        let answer = loop {
            let here = line[line.len() - 1];
            if let Some(&answer) = known.get(&here) {
                break answer;
            }
            match self.parent(here)? {
                Some(parent) if !line.contains(&parent) => line.push(parent),
                _ => break false,
            }
        };
        known.extend(line.into_iter().map(|pid| (pid, answer)));
        Ok(answer)
    }

    fn parent(&self, pid: u32) -> Result<Option<u32>, DumpError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match openat(&self.proc, pid.to_string(), flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::SRCH) => return Ok(None),
            Err(errno) => return Err(failed(pid, "open(\"/proc/PID\")", errno)),
        };
        match Stat::read(directory.as_fd()) {
            Ok(stat) => Ok(Some(stat.parent)),
            Err(error) if matches!(error.errno(), Errno::NOENT | Errno::SRCH) => Ok(None),
            Err(error) => Err(DumpError::Process { pid, error }),
        }
    }

    /// One process of each mount namespace that is not in `known`.
    pub(super) fn others(&self, known: &HashSet<NamespaceId>) -> Vec<u32> {
        let mut seen = known.clone();
        let new = |(&pid, &id): (&u32, &NamespaceId)| seen.insert(id).then_some(pid);
        self.namespaces.iter().filter_map(new).collect()
    }
}

/// The mount namespace of a process, if it has one that may be looked at. Any other
/// failure is one of the dump: leaving a process out could lose a namespace.
fn mounts_of(proc: &OwnedFd, pid: u32) -> Result<Option<NamespaceId>, DumpError> {
    match readlinkat(proc, format!("{pid}/ns/mnt"), Vec::new()) {
        Ok(link) => Ok(inode(link.as_bytes())),
        // Not ours to look at; a zombie; a kernel thread; gone.
        Err(Errno::ACCESS | Errno::PERM | Errno::NOENT | Errno::SRCH) => Ok(None),
        Err(errno) => Err(failed(pid, "readlink(\"ns/mnt\")", errno)),
    }
}

fn failed(pid: u32, call: &str, errno: Errno) -> DumpError {
    let error = SysError::new(call, errno);
    DumpError::Process { pid, error }
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

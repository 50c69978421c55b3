//! Every process of the machine, once: who descends from whom, and which mount
//! namespaces there are.
//!
//! Kind: effect. Processes that end meanwhile are left out.

use super::DumpError;
use super::capabilities;
use super::process::Stat;
use crate::judge::NamespaceId;
use crux_mount::sys::SysError;
use rustix::fs::{CWD, Dir, Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};

/// The mount namespaces of all processes, by pid. Kernel threads, zombies and who may not be looked at
/// ([`Machine::forbidden`]) have none. Whose child a process is costs more to read, and is asked of few.
#[derive(Debug)]
pub(super) struct Machine {
    proc: OwnedFd,
    namespaces: BTreeMap<u32, NamespaceId>,
    forbidden: Vec<u32>,
}

/// What a process is to whoever looks.
enum Sight {
    In(NamespaceId),
    Forbidden(Errno),
    Nowhere,
}

impl Machine {
    /// Reads /proc.
    pub(super) fn scan() -> Result<Self, DumpError> {
        let fail = |errno: Errno| DumpError::Proc {
            what: "/proc: open or getdents".into(),
            error: errno.into(),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = openat(CWD, "/proc", flags, Mode::empty()).map_err(fail)?;
        let mut namespaces = BTreeMap::new();
        let mut forbidden = Vec::new();
        for entry in Dir::read_from(&proc).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_str().ok();
            let Some(pid) = name.and_then(|name| name.parse().ok()) else {
                continue;
            };
            match mounts_of(&proc, pid)? {
                Sight::In(id) => drop(namespaces.insert(pid, id)),
                Sight::Forbidden(_) => forbidden.push(pid),
                Sight::Nowhere => {}
            }
        }
        Ok(Self {
            proc,
            namespaces,
            forbidden,
        })
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
        // One that has ended meanwhile may be looked at, and has nothing.
        for &pid in &self.forbidden {
            if self.descends(pid, &mut descends)? && !self.is_zombie(pid)? {
                capabilities::check_processes()?;
                if let Sight::Forbidden(errno) = mounts_of(&self.proc, pid)? {
                    let error = SysError::new("readlink(\"ns/mnt\")", errno);
                    return Err(DumpError::Forbidden { pid, error });
                }
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
        Ok(self.stat(pid)?.map(|stat| stat.parent))
    }

    fn is_zombie(&self, pid: u32) -> Result<bool, DumpError> {
        Ok(self.stat(pid)?.is_none_or(|stat| stat.is_zombie()))
    }

    fn stat(&self, pid: u32) -> Result<Option<Stat>, DumpError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match openat(&self.proc, pid.to_string(), flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::SRCH) => return Ok(None),
            Err(errno) => return Err(failed(pid, "open(\"/proc/PID\")", errno)),
        };
        match Stat::read(directory.as_fd()) {
            Ok(stat) => Ok(Some(stat)),
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

/// The mount namespace of a process. A failure for any other reason than these is one of
/// the dump: leaving a process out could lose a namespace.
fn mounts_of(proc: &OwnedFd, pid: u32) -> Result<Sight, DumpError> {
    match readlinkat(proc, format!("{pid}/ns/mnt"), Vec::new()) {
        Ok(link) => Ok(inode(link.as_bytes()).map_or(Sight::Nowhere, Sight::In)),
        Err(errno @ (Errno::ACCESS | Errno::PERM)) => Ok(Sight::Forbidden(errno)),
        // A zombie; a kernel thread; gone.
        Err(Errno::NOENT | Errno::SRCH) => Ok(Sight::Nowhere),
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

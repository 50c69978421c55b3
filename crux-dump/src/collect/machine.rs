//! Every process of the machine, once: who descends from whom, and which mount
//! namespaces there are.
//!
//! Kind: effect. Processes that end meanwhile are left out.

use super::DumpError;
use super::process::{Stat, open_directory};
use crate::judge::NamespaceId;
use crux_mount::sys::SysError;
use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::AsFd;

/// What was seen of a process.
#[derive(Debug, Clone, Copy)]
struct Seen {
    parent: u32,
    /// `None`: it may not be looked at, or is a kernel thread or a zombie.
    mounts: Option<NamespaceId>,
}

/// All processes, by pid.
#[derive(Debug)]
pub(super) struct Machine(BTreeMap<u32, Seen>);

impl Machine {
    /// Reads /proc.
    pub(super) fn scan() -> Result<Self, DumpError> {
        let fail = |errno: Errno| DumpError::Proc {
            what: "/proc: open or getdents".into(),
            error: errno.into(),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = rustix::fs::open("/proc", flags, Mode::empty()).map_err(fail)?;
        let mut all = BTreeMap::new();
        for entry in Dir::read_from(&proc).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let pid = entry
                .file_name()
                .to_str()
                .ok()
                .and_then(|name| name.parse().ok());
            let Some(pid) = pid else { continue };
            match look(pid) {
                Ok(seen) => drop(all.insert(pid, seen)),
                // It has ended meanwhile.
                Err(error) if matches!(error.errno(), Errno::NOENT | Errno::SRCH) => {}
                // Any other may be of the container: leaving it out could lose a namespace.
                Err(error) => return Err(DumpError::Process { pid, error }),
            }
        }
        Ok(Self(all))
    }

    /// The descendants of a process, itself left out, in the order of their pids.
    pub(super) fn descendants(&self, of: u32) -> Vec<u32> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for (&pid, seen) in &self.0 {
            children.entry(seen.parent).or_default().push(pid);
        }
        let mut found = Vec::new();
        let mut open = vec![of];
        while let Some(parent) = open.pop() {
            // A pid that was reused while /proc was read could close a circle.
            let below = children.remove(&parent).unwrap_or_default();
            open.extend(&below);
            found.extend(below);
        }
        found.sort_unstable();
        found
    }

    /// The mount namespace of a process.
    pub(super) fn mounts_of(&self, pid: u32) -> Option<NamespaceId> {
        self.0.get(&pid)?.mounts
    }

    /// One process of each mount namespace that is not in `known`.
    pub(super) fn others(&self, known: &HashSet<NamespaceId>) -> Vec<u32> {
        let mut seen = known.clone();
        let new = |(&pid, process): (&u32, &Seen)| seen.insert(process.mounts?).then_some(pid);
        self.0.iter().filter_map(new).collect()
    }
}

fn look(pid: u32) -> Result<Seen, SysError> {
    let directory = open_directory(&format!("/proc/{pid}"))?;
    let parent = Stat::read(directory.as_fd())?.parent;
    let mounts = match rustix::fs::readlinkat(&directory, "ns/mnt", Vec::new()) {
        Ok(link) => inode(link.as_bytes()),
        // Not ours to look at; a zombie; a kernel thread.
        Err(Errno::ACCESS | Errno::PERM | Errno::NOENT | Errno::SRCH) => None,
        Err(errno) => return Err(SysError::new("readlink(\"ns/mnt\")", errno)),
    };
    Ok(Seen { parent, mounts })
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

//! User namespaces that own mount namespaces, and those that tasks are in.
//!
//! Kind: effect. The kernel shows maps as the dumper's user namespace sees them; they are recorded as
//! the parent has them. One whose parent nobody is in has none in the record, and the maps as they are shown.

use super::machine::Machine;
use super::process::{self, Process};
use super::{DumpError, namespace_of};
use crate::judge::NamespaceId;
use crux_image::mounts::{IdRange, UserNamespace, UserNsIndex};
use crux_mount::sys::{NamespaceKind, open_process_namespace};
use rustix::io::Errno;
use std::collections::HashSet;
use std::os::fd::OwnedFd;

/// The owners met so far.
#[derive(Debug)]
pub(super) struct Users {
    own: NamespaceId,
    known: Vec<NamespaceId>,
    records: Vec<UserNamespace>,
    /// The maps as the dumper sees them, in the same order.
    shown: Vec<[Vec<IdRange>; 2]>,
    without_setgroups: Vec<UserNsIndex>,
}

impl Users {
    /// None yet.
    pub(super) fn new(own: &Process) -> Result<Self, DumpError> {
        let own = namespace_of(own, NamespaceKind::User)?;
        Ok(Self {
            own,
            known: Vec::new(),
            records: Vec::new(),
            shown: Vec::new(),
            without_setgroups: Vec::new(),
        })
    }

    /// The owner of a process's mount namespace, if it is not the dumper's own user namespace.
    pub(super) fn owner(
        &mut self,
        process: &Process,
        all: &[Process],
    ) -> Result<Option<UserNsIndex>, DumpError> {
        let pid = process.pid;
        let fail = |error| DumpError::Process { pid, error };
        let namespace =
            crate::sys::owning_user_namespace(&process.mount_namespace).map_err(fail)?;
        let owner = process::identity(&namespace).map_err(fail)?;
        if owner == self.own {
            return Ok(None);
        }
        if let Some(at) = self.known.iter().position(|known| *known == owner) {
            return Ok(Some(UserNsIndex::from(at)));
        }
        let is_in_it = |p: &&Process| p.user_namespace().is_ok_and(|id| id == owner);
        let witness = std::iter::once(process)
            .chain(all)
            .find(is_in_it)
            .ok_or(DumpError::UserMaps(pid))?;
        self.add(owner, &namespace, witness)?;
        Ok(Some(UserNsIndex::from(self.records.len() - 1)))
    }

    /// Those that a process and its descendants are in.
    pub(super) fn of_tasks(&mut self, pid: u32, machine: &Machine) -> Result<(), DumpError> {
        let descendants = machine.descendants(pid, &HashSet::new())?;
        let pids = descendants.into_iter().map(|(pid, _)| pid);
        for pid in std::iter::once(pid).chain(pids) {
            let process = match Process::open(pid) {
                Ok(process) => process,
                // Zombies are in none.
                Err(DumpError::NoProcess(_) | DumpError::Zombie(_)) => continue,
                Err(error) => return Err(error),
            };
            let fail = |error| DumpError::Process { pid, error };
            let namespace = open_process_namespace(process.directory(), NamespaceKind::User);
            let namespace = namespace.map_err(fail)?;
            let id = process::identity(&namespace).map_err(fail)?;
            if id != self.own && !self.known.contains(&id) {
                self.add(id, &namespace, &process)?;
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        id: NamespaceId,
        namespace: &OwnedFd,
        witness: &Process,
    ) -> Result<(), DumpError> {
        let fail = |error| DumpError::Process {
            pid: witness.pid,
            error,
        };
        let shown = [map(witness, "uid_map")?, map(witness, "gid_map")?];
        let parent = match crate::sys::parent_namespace(namespace) {
            Ok(parent) => Some(process::identity(&parent).map_err(fail)?),
            // Outside of the dumper's own.
            Err(error) if error.errno() == Errno::PERM => None,
            Err(error) => return Err(fail(error)),
        };
        let parent = self.known.iter().position(|it| Some(*it) == parent);
        let within = parent.and_then(|at| {
            let [uids, gids] = &self.shown[at];
            Some((within(&shown[0], uids)?, within(&shown[1], gids)?, at))
        });
        let (uid_map, gid_map, parent) = match within {
            Some((uids, gids, at)) => (uids, gids, Some(at.into())),
            None => (shown[0].clone(), shown[1].clone(), None),
        };
        if witness.read("setgroups").as_deref() == Some(b"deny\n") {
            self.without_setgroups.push(self.records.len().into());
        }
        self.known.push(id);
        self.shown.push(shown);
        self.records.push(UserNamespace {
            parent,
            uid_map,
            gid_map,
        });
        Ok(())
    }

    /// The records, the inode number of each, and those without setgroups(2).
    pub(super) fn into_records(self) -> (Vec<UserNamespace>, Vec<u64>, Vec<UserNsIndex>) {
        let ids = self.known.into_iter().map(|id| id.0).collect();
        (self.records, ids, self.without_setgroups)
    }
}

/// A map as the parent has it. The kernel lets no range go beyond one of the parent's.
fn within(shown: &[IdRange], parent: &[IdRange]) -> Option<Vec<IdRange>> {
    let range = |range: &IdRange| {
        parent.iter().find_map(|above| {
            let at = range.outside.checked_sub(above.outside)?;
            let fits = u64::from(at) + u64::from(range.count) <= u64::from(above.count);
            fits.then_some(IdRange {
                inside: range.inside,
                outside: above.inside.checked_add(at)?,
                count: range.count,
            })
        })
    };
    shown.iter().map(range).collect()
}

fn map(process: &Process, name: &'static str) -> Result<Vec<IdRange>, DumpError> {
    let text = process.read(name).unwrap_or_default();
    parse(&text).ok_or(DumpError::UserMaps(process.pid))
}

/// Lines of `inside outside count`.
fn parse(text: &[u8]) -> Option<Vec<IdRange>> {
    let line = |line: &str| {
        let mut numbers = line
            .split_ascii_whitespace()
            .map(|number| number.parse().ok());
        Some(IdRange {
            inside: numbers.next()??,
            outside: numbers.next()??,
            count: numbers.next()??,
        })
    };
    std::str::from_utf8(text).ok()?.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_read() {
        let range = IdRange {
            inside: 0,
            outside: 100_000,
            count: 65_536,
        };
        assert_eq!(
            parse(b"         0     100000      65536\n"),
            Some(vec![range])
        );
        assert_eq!(parse(b"0 1\n"), None);
    }

    #[test]
    fn maps_are_those_of_the_parent() {
        let range = |inside, outside, count| IdRange {
            inside,
            outside,
            count,
        };
        let parent = [range(0, 100_000, 1000), range(5000, 7, 2)];
        let shown = [range(0, 100_010, 10), range(10, 8, 1)];
        let wanted = vec![range(0, 10, 10), range(10, 5001, 1)];
        assert_eq!(within(&shown, &parent), Some(wanted));
        assert_eq!(within(&[range(0, 9, 1)], &parent), None);
    }
}

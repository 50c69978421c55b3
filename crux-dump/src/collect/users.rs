//! User namespaces that own mount namespaces, and those that tasks are in.
//!
//! Kind: effect. Maps are recorded as the dumper's user namespace sees them, so
//! a nested one needs no parent in the record.

use super::machine::Machine;
use super::process::{self, Process};
use super::{DumpError, namespace_of};
use crate::judge::NamespaceId;
use crux_image::mounts::{IdRange, UserNamespace, UserNsIndex};
use crux_mount::sys::NamespaceKind;
use std::collections::HashSet;

/// The owners met so far.
#[derive(Debug)]
pub(super) struct Users {
    own: NamespaceId,
    known: Vec<NamespaceId>,
    records: Vec<UserNamespace>,
}

impl Users {
    /// None yet.
    pub(super) fn new(own: &Process) -> Result<Self, DumpError> {
        let own = namespace_of(own, NamespaceKind::User)?;
        Ok(Self {
            own,
            known: Vec::new(),
            records: Vec::new(),
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
        let owner = crate::sys::owning_user_namespace(&process.mount_namespace).map_err(fail)?;
        let owner = process::identity(&owner).map_err(fail)?;
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
        self.add(owner, witness)?;
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
            let id = namespace_of(&process, NamespaceKind::User)?;
            if id != self.own && !self.known.contains(&id) {
                self.add(id, &process)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, id: NamespaceId, witness: &Process) -> Result<(), DumpError> {
        self.known.push(id);
        self.records.push(UserNamespace {
            parent: None,
            uid_map: map(witness, "uid_map")?,
            gid_map: map(witness, "gid_map")?,
        });
        Ok(())
    }

    /// The records, and the inode number of each.
    pub(super) fn into_records(self) -> (Vec<UserNamespace>, Vec<u64>) {
        let ids = self.known.into_iter().map(|id| id.0).collect();
        (self.records, ids)
    }
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
}

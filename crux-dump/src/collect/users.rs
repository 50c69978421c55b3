//! User namespaces that own mount namespaces.
//!
//! Kind: effect. Maps are recorded as the dumper's user namespace sees them, so
//! a nested one needs no parent in the record.

use super::process::{self, Process};
use super::{DumpError, namespace_of};
use crate::judge::NamespaceId;
use crux_image::mounts::{IdRange, UserNamespace, UserNsIndex};
use crux_mount::sys::NamespaceKind;

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
        self.known.push(owner);
        self.records.push(UserNamespace {
            parent: None,
            uid_map: map(witness, "uid_map")?,
            gid_map: map(witness, "gid_map")?,
        });
        Ok(Some(UserNsIndex::from(self.records.len() - 1)))
    }

    /// The records.
    pub(super) fn into_records(self) -> Vec<UserNamespace> {
        self.records
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

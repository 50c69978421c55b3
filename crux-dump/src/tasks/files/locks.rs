//! Locks on files, as fdinfo tells of them (`__show_fd_locks()`, fs/locks.c).
//!
//! Kind: effect; what a line says is pure. A lock is shown where a descriptor leads to the description by which it was taken:
//! one of the description at each, one of a process (POSIX) at those of the process that has it.

use super::fdinfo::fields;
use super::{Collector, Seen};
use crate::tasks::{Target, TaskCause};
use crux_image::tasks::{DescriptorTableIndex, FileIndex, FileLock, LockOwner};

/// A lock as a line says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown {
    kind: Kind,
    exclusive: bool,
    start: u64,
    last: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Process,
    Description,
    Whole,
}

/// `1: POSIX  ADVISORY  WRITE 1234 00:2e:5 0 EOF`; otherwise what it is, in words that go on from the descriptor.
fn shown(line: &str) -> Result<Shown, &'static str> {
    const UNKNOWN: &str = "has a lock of a kind that is not known";
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, kind, mode, access, _, _, start, end] = words[..] else {
        return Err(UNKNOWN);
    };
    let kind = match (kind, mode) {
        ("POSIX", "ADVISORY") => Kind::Process,
        ("OFDLCK", "ADVISORY") => Kind::Description,
        ("FLOCK", "ADVISORY") => Kind::Whole,
        ("LEASE", _) => return Err("has a lease, which cannot be dumped yet"),
        ("DELEG", _) => return Err("has a delegation, which cannot be dumped"),
        _ => return Err(UNKNOWN),
    };
    let exclusive = match access {
        "READ" => false,
        "WRITE" => true,
        _ => return Err(UNKNOWN),
    };
    let last = match end {
        "EOF" => None,
        end => Some(end.parse().map_err(|_| UNKNOWN)?),
    };
    Ok(Shown {
        kind,
        exclusive,
        start: start.parse().map_err(|_| UNKNOWN)?,
        last,
    })
}

impl Collector<'_> {
    /// Those that a description has, and what cannot be dumped.
    pub(super) fn locks_of_description(&mut self, target: &Target, seen: &Seen, file: FileIndex) {
        for line in fields(&seen.text, "lock") {
            match shown(line) {
                Err(what) => self.refuse(target, seen, TaskCause::Other(what.to_owned())),
                Ok(lock) => match lock.kind {
                    Kind::Process => {}
                    Kind::Description => self.note_lock(file, lock, LockOwner::Description),
                    Kind::Whole => self.note_lock(file, lock, LockOwner::Whole),
                },
            }
        }
    }

    /// Those that the processes of a table have by a descriptor of it.
    pub(super) fn locks_of_table(
        &mut self,
        text: &[u8],
        file: FileIndex,
        table: DescriptorTableIndex,
    ) {
        for lock in fields(text, "lock").filter_map(|line| shown(line).ok()) {
            if lock.kind == Kind::Process {
                self.note_lock(file, lock, LockOwner::Table(table));
            }
        }
    }

    /// Once, however many descriptors show it.
    fn note_lock(&mut self, file: FileIndex, lock: Shown, owner: LockOwner) {
        let lock = FileLock {
            file,
            owner,
            exclusive: lock.exclusive,
            start: lock.start,
            last: lock.last,
        };
        if self.known_locks.insert(lock) {
            self.files.locks.push(lock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_each_kind_are_told_apart() {
        let lock = |kind, exclusive, start, last| {
            Ok(Shown {
                kind,
                exclusive,
                start,
                last,
            })
        };
        assert_eq!(
            shown("1: POSIX  ADVISORY  WRITE 1234 00:2e:5 0 EOF"),
            lock(Kind::Process, true, 0, None)
        );
        assert_eq!(
            shown("2: OFDLCK ADVISORY  READ -1 fd:00:7 10 19"),
            lock(Kind::Description, false, 10, Some(19))
        );
        assert_eq!(
            shown("1: FLOCK  ADVISORY  WRITE 0 00:2e:5 0 EOF"),
            lock(Kind::Whole, true, 0, None)
        );
        let lease = shown("1: LEASE  ACTIVE    READ 7 00:2e:5 0 EOF");
        assert!(lease.is_err_and(|what| what.contains("has a lease")));
        for odd in ["", "1: POSIX", "1: FLOCK MANDATORY WRITE 0 0:0:0 0 EOF"] {
            assert!(
                shown(odd).is_err_and(|what| what.contains("not known")),
                "{odd}"
            );
        }
    }
}

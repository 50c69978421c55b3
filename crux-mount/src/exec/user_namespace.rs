//! User namespaces: owners of mount namespaces, and carriers of id-maps.
//!
//! Kind: effect.

use super::child::Child;
use super::error::{StepError, named};
use crate::sys::{self, NamespaceKind};
use crux_image::mounts::{FsOption, IdMap, IdRange, UserNamespace, UserNsIndex};
use rustix::fs::{Mode, OFlags, openat};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The user namespaces of a container, made anew.
pub(super) struct UserNamespaces {
    made: Vec<OwnedFd>,
    maps: Vec<Maps>,
    /// The caller's own, as its parent sees it.
    caller: Maps,
}

/// What a user namespace's ids are in its parent.
struct Maps {
    parent: Option<UserNsIndex>,
    uids: Vec<IdRange>,
    gids: Vec<IdRange>,
}

/// Ids, as the executor's own user namespace has them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl UserNamespaces {
    /// The namespaces themselves.
    pub(super) fn release(self) -> Vec<OwnedFd> {
        self.made
    }

    /// Parents before children, as in the image.
    /// One may be there already.
    pub(super) fn make(
        records: &[UserNamespace],
        denied: &[UserNsIndex],
        mut there: Option<(UserNsIndex, OwnedFd)>,
        proc: BorrowedFd<'_>,
    ) -> Result<Self, StepError> {
        let mut made: Vec<OwnedFd> = Vec::new();
        for (at, record) in records.iter().enumerate() {
            let at = UserNsIndex::from(at);
            if let Some((_, namespace)) = there.take_if(|(it, _)| *it == at) {
                made.push(namespace);
                continue;
            }
            let parent = record.parent.map(|parent| Parent {
                namespace: made[parent.at()].as_fd(),
                root: root(&records[parent.at()]),
            });
            let setgroups = match denied.contains(&at) {
                true => Setgroups::Denied,
                false => Setgroups::Allowed,
            };
            let maps = (&record.uid_map[..], &record.gid_map[..]);
            made.push(make(parent, maps, setgroups, proc)?);
        }
        let maps = records.iter().map(|record| Maps {
            parent: record.parent,
            uids: record.uid_map.clone(),
            gids: record.gid_map.clone(),
        });
        let caller = Maps {
            parent: None,
            uids: read(proc, "thread-self/uid_map")?,
            gids: read(proc, "thread-self/gid_map")?,
        };
        Ok(Self {
            made,
            maps: maps.collect(),
            caller,
        })
    }

    pub(super) fn get(&self, at: UserNsIndex) -> BorrowedFd<'_> {
        self.made[at.at()].as_fd()
    }

    /// An id that is mapped there: files of a superblock that belongs to the
    /// namespace can be made only by such a one.
    pub(super) fn root_of(&self, at: UserNsIndex) -> Identity {
        let first = |ids: fn(&Maps) -> &Vec<IdRange>| {
            let mut id = ids(&self.maps[at.at()])
                .first()
                .map_or(0, |range| range.inside);
            let mut here = Some(at);
            while let Some(maps) = here.map(|at| &self.maps[at.at()]) {
                id = outside(ids(maps), id).unwrap_or(id);
                here = maps.parent;
            }
            id
        };
        Identity {
            uid: first(|maps| &maps.uids),
            gid: first(|maps| &maps.gids),
        }
    }

    /// The options of a file system for one who mounts it in `user`, or in the caller's user
    /// namespace: mountinfo shows ids as the first user namespace has them, fsconfig(2) takes
    /// them as the mounter has them.
    pub(super) fn options_for(
        &self,
        user: Option<UserNsIndex>,
        options: &[FsOption],
    ) -> Vec<FsOption> {
        let mut options = options.to_vec();
        for FsOption { key, value } in &mut options {
            let ids: fn(&Maps) -> &Vec<IdRange> = match key.as_str() {
                "uid" => |maps| &maps.uids,
                "gid" => |maps| &maps.gids,
                _ => continue,
            };
            let text = value
                .as_deref()
                .and_then(|text| std::str::from_utf8(text).ok());
            let id = text.and_then(|text| text.parse().ok());
            // What is not mapped stays as it is, for the kernel to refuse by name.
            if let Some(id) = id.and_then(|id| self.inner(user, ids, id)) {
                *value = Some(id.to_string().into_bytes());
            }
        }
        options
    }

    fn inner(
        &self,
        user: Option<UserNsIndex>,
        ids: fn(&Maps) -> &Vec<IdRange>,
        id: u32,
    ) -> Option<u32> {
        let Some(at) = user else {
            return inside(ids(&self.caller), id);
        };
        let maps = &self.maps[at.at()];
        // Parents come before children, so this ends.
        inside(ids(maps), self.inner(maps.parent, ids, id)?)
    }
}

/// What an id of a namespace is in its parent.
fn outside(map: &[IdRange], id: u32) -> Option<u32> {
    map.iter().find_map(|range| {
        let at = id
            .checked_sub(range.inside)
            .filter(|at| *at < range.count)?;
        range.outside.checked_add(at)
    })
}

/// What an id of the parent is in a namespace.
fn inside(map: &[IdRange], id: u32) -> Option<u32> {
    map.iter().find_map(|range| {
        let at = id
            .checked_sub(range.outside)
            .filter(|at| *at < range.count)?;
        range.inside.checked_add(at)
    })
}

fn read(proc: BorrowedFd<'_>, path: &str) -> Result<Vec<IdRange>, StepError> {
    let file = openat(proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(named(&format!("open(\"/proc/{path}\")")))?;
    let mut text = String::new();
    File::from(file)
        .read_to_string(&mut text)
        .map_err(|error| StepError::Child(format!("read(\"/proc/{path}\"): {error}")))?;
    let range = |line: &str| {
        let mut numbers = line.split_whitespace().map(|word| word.parse().ok());
        Some(IdRange {
            inside: numbers.next()??,
            outside: numbers.next()??,
            count: numbers.next()??,
        })
    };
    Ok(text.lines().filter_map(range).collect())
}

/// A user namespace whose maps are the id-map of a mount.
pub(super) fn of_map(map: &IdMap, proc: BorrowedFd<'_>) -> Result<OwnedFd, StepError> {
    make(None, (&map.uids, &map.gids), Setgroups::Allowed, proc)
}

/// A user namespace with one id, which is root's outside; to try what it can be used for.
pub(crate) fn own_user_namespace() -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::open("/proc", flags, Mode::empty()).ok()?;
    let ids = [IdRange {
        inside: 0,
        outside: 0,
        count: 1,
    }];
    make(None, (&ids, &ids), Setgroups::Allowed, proc.as_fd()).ok()
}

/// A user namespace in which another one is made.
#[derive(Clone, Copy)]
struct Parent<'a> {
    namespace: BorrowedFd<'a>,
    /// Ids that it maps: who makes a namespace in it has to have such.
    root: (u32, u32),
}

/// `/proc/PID/setgroups`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Setgroups {
    Allowed,
    Denied,
}

fn root(record: &UserNamespace) -> (u32, u32) {
    let first = |map: &[IdRange]| map.first().map_or(0, |range| range.inside);
    (first(&record.uid_map), first(&record.gid_map))
}

fn make(
    parent: Option<Parent<'_>>,
    (uids, gids): (&[IdRange], &[IdRange]),
    setgroups: Setgroups,
    proc: BorrowedFd<'_>,
) -> Result<OwnedFd, StepError> {
    let child = Child::start(|| {
        if let Some(parent) = parent {
            sys::setns(parent.namespace, NamespaceKind::User)?;
            sys::set_ids(parent.root.0, parent.root.1)?;
        }
        sys::unshare_user_namespace()?;
        openat(
            proc,
            "thread-self/ns/user",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(named("openat(proc, \"thread-self/ns/user\")"))
    })?;
    let pid = child.pid().as_raw_nonzero();
    // All are written from outside, by one in the parent that holds SETUID and SETGID over
    // it: a map of more than one id is not the namespace's own to choose.
    let write_all = || {
        if setgroups == Setgroups::Denied {
            write(proc, &format!("{pid}/setgroups"), "deny\n")?;
        }
        write(proc, &format!("{pid}/gid_map"), &lines(gids))?;
        write(proc, &format!("{pid}/uid_map"), &lines(uids))
    };
    let written = match parent {
        None => write_all(),
        Some(parent) => Child::start(|| {
            sys::setns(parent.namespace, NamespaceKind::User)?;
            write_all()?;
            parent
                .namespace
                .try_clone_to_owned()
                .map_err(|error| StepError::Child(error.to_string()))
        })
        .and_then(Child::finish)
        .map(drop),
    };
    let namespace = child.finish()?;
    written.map(|()| namespace)
}

fn lines(map: &[IdRange]) -> String {
    let mut lines = String::new();
    for IdRange {
        inside,
        outside,
        count,
    } in map
    {
        let _ = writeln!(lines, "{inside} {outside} {count}");
    }
    lines
}

fn write(proc: BorrowedFd<'_>, path: &str, lines: &str) -> Result<(), StepError> {
    let describe = |call: &str| format!("{call}(\"/proc/{path}\", {lines:?})");
    let file = openat(proc, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(named(&describe("open")))?;
    // One write: the kernel takes a map whole or not at all.
    rustix::io::write(file, lines.as_bytes())
        .map(drop)
        .map_err(named(&describe("write")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_in_the_range_that_holds_them() {
        let range = |inside, outside, count| IdRange {
            inside,
            outside,
            count,
        };
        let map = [range(0, 100_000, 1000), range(1000, 5000, 10)];
        for (inner, outer) in [(0, 100_000), (999, 100_999), (1003, 5003)] {
            assert_eq!(outside(&map, inner), Some(outer));
            assert_eq!(inside(&map, outer), Some(inner));
        }
        for (inner, outer) in [(1010, 101_000), (u32::MAX, 4999)] {
            assert_eq!(outside(&map, inner), None);
            assert_eq!(inside(&map, outer), None);
        }
        assert_eq!(outside(&[range(0, u32::MAX, 5)], 1), None);
    }
}

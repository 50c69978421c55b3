//! What the root of each mount is.
//!
//! Kind: effect. Mounts that a path reaches are looked at from outside; the
//! others in a copy of the namespace.

use super::DumpError;
use super::capabilities;
use super::inside::{self, Home};
use super::peel::{self, Reached};
use super::process::Process;
use super::queues;
use crate::contents::Beneath;
use crate::judge::{Fill, RootFact, SeenQueue, Tree};
use crux_image::mounts::FileKind;
use crux_image::path::{PathError, RelPath};
use crux_mount::ids::{Device, MountId};
use crux_mount::mountinfo::Entry;
use crux_mount::sys::{self, FileStat, SysError};
use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The facts of one namespace's mounts, and clones of those that are hidden.
#[derive(Debug, Default)]
pub(super) struct Roots {
    /// By id. What could not be looked at has none.
    pub(super) facts: HashMap<MountId, RootFact>,
    /// Hidden mounts of file systems in memory.
    pub(super) hidden: HashMap<MountId, (OwnedFd, Beneath)>,
    /// Queues, by the device of their file system.
    pub(super) queues: HashMap<Device, Vec<SeenQueue>>,
    /// Why others could not be reached.
    pub(super) failures: Vec<(MountId, String)>,
}

/// Looks at the root of every mount of a table: once at each part of a file system that
/// mounts show, through the first of them that a path leads to.
pub(super) fn look(process: &Process, home: &Home, table: &[Entry]) -> Result<Roots, DumpError> {
    let mut roots = Roots::default();
    // A table that is no tree is for the judge to refuse.
    let Ok(tree) = Tree::new(process.pid, table) else {
        return Ok(roots);
    };
    let mut known: HashMap<Part<'_>, RootFact> = HashMap::new();
    let mut out_of_reach = Vec::new();
    for (node, placed) in tree.nodes.iter().enumerate() {
        let entry = &table[placed.entry];
        if part(entry).is_some_and(|part| known.contains_key(&part)) {
            continue;
        }
        match visible(process, entry) {
            // An unbindable mount can be cloned only where it no longer is one: in a private copy.
            Ok(_) if entry.unbindable && is_in_memory(entry) => {
                out_of_reach.push((node, "it is unbindable".to_owned()));
            }
            Ok((fd, stat)) => {
                roots.add(entry, &stat, fd.as_fd());
                if let (Some(part), Some(fact)) = (part(entry), roots.facts.get(&entry.id)) {
                    known.insert(part, *fact);
                }
            }
            Err(cause) => {
                if matches!(&cause, Unseen::Call(error) if error.errno() == Errno::ACCESS) {
                    capabilities::check_files()?;
                }
                out_of_reach.push((node, cause.to_string()));
            }
        }
    }
    for entry in tree.nodes.iter().map(|placed| &table[placed.entry]) {
        if let Some(fact) = part(entry).and_then(|part| known.get(&part)) {
            roots.facts.entry(entry.id).or_insert(*fact);
        }
    }
    let looked_at = |node: usize| roots.facts.contains_key(&table[tree.nodes[node].entry].id);
    out_of_reach.retain(|(node, _)| !looked_at(*node));
    if !out_of_reach.is_empty() {
        let hidden: Vec<usize> = out_of_reach.iter().map(|(node, _)| *node).collect();
        let reached = peel::reach(process, home, table, &tree, &hidden)?;
        let causes = out_of_reach.into_iter();
        let causes = causes.map(|(node, cause)| (table[tree.nodes[node].entry].id, cause));
        roots.add_hidden(table, reached, &causes.collect());
    }
    Ok(roots)
}

/// A part of a file system, which is the same file through whatever mount it is seen.
type Part<'a> = (Device, &'a [u8]);

/// What a mount shows. A name that was removed says nothing, nor do owners through an id-map.
fn part(entry: &Entry) -> Option<Part<'_>> {
    let plain = !entry.root.deleted && !entry.idmapped;
    plain.then_some((entry.device, &entry.root.path))
}

fn is_in_memory(entry: &Entry) -> bool {
    matches!(&entry.fs_type[..], b"tmpfs" | b"ramfs")
}

/// Why the root of a mount cannot be seen from outside.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unseen {
    #[error(transparent)]
    Call(#[from] SysError),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("another mount hides it")]
    Hidden,
}

/// The root of a mount, if its path leads there; or why not.
pub(super) fn visible(process: &Process, entry: &Entry) -> Result<(OwnedFd, FileStat), Unseen> {
    let path = RelPath::from_absolute(&entry.mountpoint)?;
    let fd = inside::open_across(process.root.as_fd(), &path)?;
    let stat = sys::statx(&fd)?;
    // The root directory itself may be one that was chrooted to.
    match stat.mount == entry.id && (stat.is_mount_root || path.is_root()) {
        true => Ok((fd, stat)),
        false => Err(Unseen::Hidden),
    }
}

/// The root of a mount in a copy of its namespace whose root directory is `copy`, if its path leads
/// to the same directory there. Through which mount does not matter to what is in it.
pub(super) fn counterpart(
    copy: BorrowedFd<'_>,
    entry: &Entry,
    fact: &RootFact,
) -> Result<OwnedFd, String> {
    let path = RelPath::from_absolute(&entry.mountpoint).map_err(|error| error.to_string())?;
    let fd = inside::open_across(copy, &path).map_err(|error| error.to_string())?;
    let stat = sys::statx(&fd).map_err(|error| error.to_string())?;
    let same = (stat.device, stat.ino) == (entry.device, fact.inode);
    match same && (stat.is_mount_root || path.is_root()) {
        true => Ok(fd),
        false => Err("another mount hides it now".to_owned()),
    }
}

impl Roots {
    fn add(&mut self, entry: &Entry, stat: &FileStat, root: BorrowedFd<'_>) {
        let found = fact(entry, stat, root).and_then(|fact| {
            self.add_queues(entry, &fact, root)?;
            Ok(fact)
        });
        match found {
            Ok(fact) => drop(self.facts.insert(entry.id, fact)),
            Err(cause) => self.failures.push((entry.id, cause)),
        }
    }

    fn add_queues(
        &mut self,
        entry: &Entry,
        fact: &RootFact,
        root: BorrowedFd<'_>,
    ) -> Result<(), String> {
        if entry.fs_type != b"mqueue" {
            return Ok(());
        }
        let own = inside::own_directory().map_err(|error| error.to_string())?;
        let read = queues::read(entry, fact.kind, root, own.as_fd());
        let known = self.queues.entry(entry.device).or_default();
        for queue in read.map_err(|error| error.to_string())? {
            if !known
                .iter()
                .any(|other| other.queue.name == queue.queue.name)
            {
                known.push(queue);
            }
        }
        Ok(())
    }

    fn add_hidden(
        &mut self,
        table: &[Entry],
        reached: Reached,
        from_outside: &HashMap<MountId, String>,
    ) {
        let by_id: HashMap<MountId, &Entry> = table.iter().map(|entry| (entry.id, entry)).collect();
        for (id, result) in reached {
            let described = result.and_then(|(fd, beneath)| Ok((sys::statx(&fd)?, fd, beneath)));
            match described {
                Ok((stat, fd, beneath)) => {
                    self.add(by_id[&id], &stat, fd.as_fd());
                    if is_in_memory(by_id[&id]) {
                        self.hidden.insert(id, (fd, beneath));
                    }
                }
                Err(error) => {
                    let first = from_outside.get(&id).map_or("", String::as_str);
                    self.failures
                        .push((id, format!("{first}; in a copy: {error}")));
                }
            }
        }
    }
}

fn fact(entry: &Entry, stat: &FileStat, root: BorrowedFd<'_>) -> Result<RootFact, String> {
    let kind = sys::file_kind(stat);
    let kind = kind.ok_or_else(|| "it is a file of an unknown kind".to_owned())?;
    Ok(RootFact {
        kind,
        inode: stat.ino,
        uid: stat.uid,
        gid: stat.gid,
        mode: (stat.mode & 0o7777) as u16,
        fill: fill(entry, kind, root),
    })
}

/// Looks into file systems whose contents are not recorded.
fn fill(entry: &Entry, kind: FileKind, root: BorrowedFd<'_>) -> Fill {
    if !matches!(&entry.fs_type[..], b"hugetlbfs" | b"bpf") {
        return Fill::NotAsked;
    }
    if !kind.is_directory() {
        return Fill::Filled;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let names = rustix::fs::openat(root, c".", flags, Mode::empty()).and_then(Dir::new);
    let Ok(names) = names else {
        return Fill::Filled;
    };
    // In a bpf file system nobody but the kernel makes names with a dot (its iterators).
    let reserved = |name: &[u8]| entry.fs_type == b"bpf" && name.contains(&b'.');
    let is_name = |name: &[u8]| !matches!(name, b"." | b"..") && !reserved(name);
    match names
        .into_iter()
        .any(|entry| entry.map_or(true, |entry| is_name(entry.file_name().to_bytes())))
    {
        true => Fill::Filled,
        false => Fill::Empty,
    }
}

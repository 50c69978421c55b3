//! What the root of each mount is.
//!
//! Kind: effect. Mounts that a path reaches are looked at from outside; the
//! others in a copy of the namespace.

use super::DumpError;
use super::inside;
use super::peel::{self, Reached};
use super::process::Process;
use crate::judge::{Fill, RootFact, Tree};
use crux_image::mounts::FileKind;
use crux_image::path::RelPath;
use crux_mount::ids::MountId;
use crux_mount::mountinfo::Entry;
use crux_mount::sys;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, StatxFlags};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The facts of one namespace's mounts, and clones of those that are hidden.
#[derive(Debug, Default)]
pub(super) struct Roots {
    /// By id. What could not be looked at has none.
    pub(super) facts: HashMap<MountId, RootFact>,
    /// Hidden mounts of file systems in memory.
    pub(super) hidden: HashMap<MountId, OwnedFd>,
    /// Why others could not be reached.
    pub(super) failures: Vec<(MountId, String)>,
}

/// Looks at the root of every mount of a table.
pub(super) fn look(process: &Process, table: &[Entry]) -> Result<Roots, DumpError> {
    let mut roots = Roots::default();
    // A table that is no tree is for the judge to refuse.
    let Ok(tree) = Tree::new(process.pid, table) else {
        return Ok(roots);
    };
    let mut hidden = Vec::new();
    let mut from_outside = HashMap::new();
    for (node, placed) in tree.nodes.iter().enumerate() {
        let entry = &table[placed.entry];
        match visible(process, entry) {
            // An unbindable mount can be cloned only where it no longer is one: in a private copy.
            Ok(fd) if !(entry.unbindable && is_in_memory(entry)) => roots.add(entry, fd.as_fd()),
            Ok(_) => hidden.push(node),
            Err(cause) => {
                from_outside.insert(entry.id, cause);
                hidden.push(node);
            }
        }
    }
    if !hidden.is_empty() {
        let reached = peel::reach(process, table, &tree, &hidden);
        roots.add_hidden(table, reached, &from_outside);
    }
    Ok(roots)
}

fn is_in_memory(entry: &Entry) -> bool {
    matches!(&entry.fs_type[..], b"tmpfs" | b"ramfs")
}

/// The root of a mount, if its path leads there; or why not.
pub(super) fn visible(process: &Process, entry: &Entry) -> Result<OwnedFd, String> {
    let path = RelPath::from_absolute(&entry.mountpoint).map_err(|error| error.to_string())?;
    let fd = inside::open_across(process.root.as_fd(), &path).map_err(|error| error.to_string())?;
    let stat = sys::statx(&fd).map_err(|error| error.to_string())?;
    match stat.mount == entry.id && stat.is_mount_root {
        true => Ok(fd),
        false => Err("another mount hides it".to_owned()),
    }
}

impl Roots {
    fn add(&mut self, entry: &Entry, root: BorrowedFd<'_>) {
        match fact(entry, root) {
            Ok(fact) => drop(self.facts.insert(entry.id, fact)),
            Err(cause) => self.failures.push((entry.id, cause)),
        }
    }

    fn add_hidden(
        &mut self,
        table: &[Entry],
        reached: Reached,
        from_outside: &HashMap<MountId, String>,
    ) {
        let by_id: HashMap<MountId, &Entry> = table.iter().map(|entry| (entry.id, entry)).collect();
        for (id, result) in reached {
            match result {
                Ok(fd) => {
                    self.add(by_id[&id], fd.as_fd());
                    if is_in_memory(by_id[&id]) {
                        self.hidden.insert(id, fd);
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

fn fact(entry: &Entry, root: BorrowedFd<'_>) -> Result<RootFact, String> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = rustix::fs::statx(root, c"", flags, StatxFlags::BASIC_STATS);
    let stat = stat.map_err(|errno| format!("statx: {}", std::io::Error::from(errno)))?;
    let mode = u32::from(stat.stx_mode);
    let (major, minor) = (stat.stx_rdev_major, stat.stx_rdev_minor);
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => FileKind::Directory,
        FileType::RegularFile => FileKind::Regular,
        FileType::Symlink => FileKind::Symlink,
        FileType::CharacterDevice => FileKind::CharDevice { major, minor },
        FileType::BlockDevice => FileKind::BlockDevice { major, minor },
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
        FileType::Unknown => return Err("it is a file of an unknown kind".to_owned()),
    };
    let (inode, uid, gid) = (stat.stx_ino, stat.stx_uid, stat.stx_gid);
    Ok(RootFact {
        kind,
        inode,
        uid,
        gid,
        mode: stat.stx_mode & 0o7777,
        fill: fill(entry, kind, root),
    })
}

/// Looks into file systems whose contents are not recorded.
fn fill(entry: &Entry, kind: FileKind, root: BorrowedFd<'_>) -> Fill {
    if !matches!(&entry.fs_type[..], b"mqueue" | b"hugetlbfs" | b"bpf") {
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
    let is_name = |name: &[u8]| !matches!(name, b"." | b"..");
    match names
        .into_iter()
        .any(|entry| entry.map_or(true, |entry| is_name(entry.file_name().to_bytes())))
    {
        true => Fill::Filled,
        false => Fill::Empty,
    }
}

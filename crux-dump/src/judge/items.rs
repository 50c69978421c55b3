//! All mounts of the container in one list, with what each says by itself.
//!
//! Kind: pure.

use super::obstacle::{Cause, Obstacle, Place};

use super::seen::{RootFact, Seen};
use super::tree::Tree;
use crux_image::mounts::Lock;
use crux_image::path::RelPath;
use crux_mount::ids::Device;
use crux_mount::mountinfo::{Entry, Unknown};

/// One mount.
#[derive(Debug)]
pub(super) struct Item<'a> {
    /// Which namespace it is in.
    pub(super) namespace: usize,
    /// Its line.
    pub(super) entry: &'a Entry,
    /// What it shows.
    pub(super) root: Shown,
    /// What is known of its root.
    pub(super) fact: Option<RootFact>,
}

/// Which part of a file system a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Shown {
    /// A directory or file.
    Path(RelPath),
    /// Something that is no path beneath the file system's root as the dumper
    /// sees it: `net:[4026531840]`, or `/../x` of another cgroup namespace.
    Opaque,
    /// Something that was removed.
    Deleted,
}

impl Item<'_> {
    /// Its superblock.
    pub(super) fn device(&self) -> Device {
        self.entry.device
    }

    /// What its namespace's owner may not change of it.
    pub(super) fn lock(&self, seen: &Seen) -> Lock {
        seen.locks.get(&self.entry.id).copied().unwrap_or_default()
    }

    /// The path that it shows, if that is one.
    pub(super) fn path(&self) -> Option<&RelPath> {
        match &self.root {
            Shown::Path(path) => Some(path),
            Shown::Opaque | Shown::Deleted => None,
        }
    }
}

/// Lists the mounts of all trees, in order.
pub(super) fn list<'a>(seen: &'a Seen, trees: &[Tree]) -> Vec<Item<'a>> {
    let mut items = Vec::with_capacity(trees.iter().map(|tree| tree.nodes.len()).sum());
    for (namespace, (space, tree)) in seen.container.iter().zip(trees).enumerate() {
        for placed in &tree.nodes {
            let entry = &space.table[placed.entry];
            let fact = seen.roots.get(&entry.id).copied();
            items.push(Item {
                namespace,
                entry,
                root: shown(entry),
                fact,
            });
        }
    }
    items
}

fn shown(entry: &Entry) -> Shown {
    match RelPath::from_absolute(&entry.root.path) {
        _ if entry.root.deleted => Shown::Deleted,
        Ok(path) => Shown::Path(path),
        Err(_) => Shown::Opaque,
    }
}

/// A mount, for people.
pub(super) fn place(seen: &Seen, item: &Item<'_>) -> Place {
    Place {
        pid: seen.container[item.namespace].pid,
        mountpoint: item.entry.mountpoint.clone(),
        fs_type: item.entry.fs_type.clone(),
    }
}

/// What a line alone has against it.
pub(super) fn inspect(seen: &Seen, item: &Item<'_>, obstacles: &mut Vec<Obstacle>) {
    let entry = item.entry;
    let unknown = entry.unknown.iter().map(|unknown| match unknown {
        Unknown::Attribute(word) => Cause::UnknownAttribute(word.clone()),
        Unknown::Field(field) => Cause::UnknownField(field.clone()),
    });
    let idmap =
        (entry.idmapped && entry.attributes.idmap.is_none()).then_some(Cause::UnreadableIdMap);
    let fact = item.fact.is_none().then(|| Cause::UnknownRoot {
        why: seen.unlooked.get(&entry.id).cloned().unwrap_or_default(),
    });
    let task = is_task_directory(entry).then_some(Cause::TaskDirectory);
    let causes = unknown.chain(idmap).chain(fact).chain(task);
    obstacles.extend(causes.map(|cause| Obstacle {
        place: Some(place(seen, item)),
        cause,
    }));
}

fn is_task_directory(entry: &Entry) -> bool {
    let first = entry
        .root
        .path
        .strip_prefix(b"/")
        .and_then(|path| path.split(|&b| b == b'/').next());
    entry.fs_type == b"proc"
        && first.is_some_and(|name| !name.is_empty() && name.iter().all(u8::is_ascii_digit))
}

//! What is left to do on the live system once a container was judged.
//!
//! Kind: pure.

use super::items::{Item, Shown};
use crux_image::mounts::OriginIndex;
use crux_image::path::{HostPath, RelPath};
use crux_mount::ids::{Device, MountId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The contents of one file system to collect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentsWork {
    /// Which.
    pub origin: OriginIndex,
    /// Mounts that show all that is shown of it, with no overlap. Several where none shows the whole root.
    pub views: Vec<View>,
    /// What was removed, and is still mounted.
    pub orphans: Vec<Orphan>,
}

/// A part of a file system, and mounts that show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Which part.
    pub root: RelPath,
    /// Mounts whose root it is; any will do.
    pub mounts: Vec<SeenMount>,
}

/// Something that was removed from a file system and is still mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    /// The name that it gets in the image: made there and removed again.
    pub name: RelPath,
    /// Mounts whose root it is; any will do.
    pub mounts: Vec<SeenMount>,
}

/// A mount of the container, live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SeenMount {
    /// Its namespace: a position in `Seen::container`.
    pub namespace: usize,
    /// Its id.
    pub id: MountId,
}

/// A path of the host that should show what a mount of the container shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WishCheck {
    /// The origin whose wish it is.
    pub origin: OriginIndex,
    /// The path.
    pub path: HostPath,
    /// The device of its file system.
    pub device: Device,
    /// The inode that it should lead to, where a mount of the container shows the same.
    pub inode: Option<u64>,
}

/// The views of a superblock's members: those roots that lie beneath no other.
pub(super) fn views(items: &[Item<'_>], members: &[usize]) -> Vec<View> {
    let mut by_root: BTreeMap<&RelPath, Vec<SeenMount>> = BTreeMap::new();
    for &member in members {
        if let Some(path) = items[member].path() {
            by_root.entry(path).or_default().push(live(&items[member]));
        }
    }
    let roots: HashSet<&RelPath> = by_root.keys().copied().collect();
    let is_widest = |root: &RelPath| {
        let mut parents = std::iter::successors(parent(root), parent);
        !parents.any(|above| roots.contains(&above))
    };
    let widest = by_root.into_iter().filter(|(root, _)| is_widest(root));
    widest
        .map(|(root, mounts)| View {
            root: root.clone(),
            mounts,
        })
        .collect()
}

fn parent(path: &RelPath) -> Option<RelPath> {
    path.split_last().map(|(parent, _)| parent)
}

/// The deleted roots among a superblock's members, each once however many mounts show it, and
/// the name of each for its mounts.
pub(super) fn orphans(
    items: &[Item<'_>],
    members: &[usize],
) -> (Vec<Orphan>, HashMap<usize, RelPath>) {
    let mut all: Vec<Orphan> = Vec::new();
    let mut known: HashMap<(u64, &[u8]), usize> = HashMap::new();
    let mut names = HashMap::new();
    for &member in members
        .iter()
        .filter(|&&member| items[member].root == Shown::Deleted)
    {
        let Some(fact) = items[member].fact else {
            continue;
        };
        // One file may have been removed by several names.
        let called = (fact.inode, items[member].entry.root.path.as_slice());
        let at = *known.entry(called).or_insert(all.len());
        if at == all.len() {
            let name = RelPath::new(format!(".crux-deleted-{at}")).expect("a plain name");
            all.push(Orphan {
                name,
                mounts: Vec::new(),
            });
        }
        all[at].mounts.push(live(&items[member]));
        names.insert(member, all[at].name.clone());
    }
    (all, names)
}

fn live(item: &Item<'_>) -> SeenMount {
    SeenMount {
        namespace: item.namespace,
        id: item.entry.id,
    }
}

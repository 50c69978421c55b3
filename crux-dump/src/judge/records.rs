//! The records of mounts and namespaces, once it is known where each mount comes from.
//!
//! Kind: pure.

use super::groups::Inside;
use super::items::{Item, Shown, place};
use super::obstacle::{Cause, Obstacle};
use super::origins::{Given, Origins, Source};
use super::tree::Tree;
use super::work::{self, ContentsWork, View, WishCheck};
use super::{Judged, superblocks::Provider};
use crux_image::mounts::{
    FileKind, Lock, Mount, MountIndex, Mounts, Namespace, Origin, OriginIndex, OwnFsType, Wish,
};
use crux_image::path::RelPath;
use crux_mount::plan::settle_locks;
use std::collections::HashMap;

/// Puts the record together.
pub(super) fn assemble(
    given: &Given<'_>,
    inside: &Inside,
    trees: &[Tree],
    origins: Origins,
    obstacles: &mut Vec<Obstacle>,
) -> Judged {
    let (contents, deleted) = contents(given, &origins, obstacles);
    let wishes = wish_checks(given, &origins);
    let records = Records {
        given,
        inside,
        origins: &origins,
        deleted: &deleted,
    };
    let mut first = 0;
    let mut namespaces = Vec::with_capacity(trees.len());
    for (at, tree) in trees.iter().enumerate() {
        namespaces.push(records.namespace(at, tree, first, obstacles));
        first += tree.nodes.len();
    }
    let groups = inside.records(given.items, given.relations, &origins.of);
    let user_namespaces = given.seen.user_namespaces.clone();
    let mounts = Mounts {
        user_namespaces,
        namespaces,
        origins: origins.all,
        groups,
    };
    Judged {
        mounts,
        contents,
        wishes,
        left_out: given
            .seen
            .container
            .iter()
            .map(|space| space.unreached)
            .sum(),
    }
}

struct Records<'a> {
    given: &'a Given<'a>,
    inside: &'a Inside,
    origins: &'a Origins,
    deleted: &'a HashMap<usize, RelPath>,
}

impl Records<'_> {
    fn namespace(
        &self,
        at: usize,
        tree: &Tree,
        first: usize,
        obstacles: &mut Vec<Obstacle>,
    ) -> Namespace {
        let space = &self.given.seen.container[at];
        let mounts = (0..tree.nodes.len())
            .map(|node| self.mount(tree, node, first + node))
            .collect();
        let is_root = |node: &super::tree::Node| space.table[node.entry].id == space.root;
        let root = tree.nodes.iter().position(is_root).unwrap_or_else(|| {
            obstacles.push(Obstacle::general(Cause::Chrooted(space.pid)));
            0
        });
        let mut namespace = Namespace {
            owner: space.owner,
            mounts,
            root: MountIndex::from(root),
        };
        settle_locks(&mut namespace);
        namespace
    }

    fn mount(&self, tree: &Tree, node: usize, at: usize) -> Mount {
        let item = &self.given.items[at];
        let placed = &tree.nodes[node];
        let origin = self.origins.of[at];
        let (root, deleted) = self.root(at, item, origin);
        Mount {
            parent: placed.parent.map(MountIndex::from),
            mountpoint: placed.mountpoint.clone(),
            origin,
            root,
            former: former_name(item).filter(|_| deleted),
            deleted,
            kind: item.fact.map_or(FileKind::Directory, |fact| fact.kind),
            attributes: item.entry.attributes.clone(),
            propagation: self
                .inside
                .propagation(item, self.given.relations[at], origin),
            lock: match self.given.seen.container[item.namespace].owner {
                Some(_) => item.lock(self.given.seen),
                None => Lock::Free,
            },
        }
    }

    /// The root relative to that of the origin, and whether that is a made-up name.
    fn root(&self, at: usize, item: &Item<'_>, origin: OriginIndex) -> (RelPath, bool) {
        if let Some(name) = self.deleted.get(&at) {
            return (name.clone(), true);
        }
        let relative = match (self.origins.sources[origin.at()], &item.root) {
            (Source::Own(_), Shown::Path(path)) => path.clone(),
            (Source::External(class), Shown::Path(path)) => {
                match &self.given.classes.all[class].root {
                    Shown::Path(source) => path.strip_prefix(source).unwrap_or_default(),
                    Shown::Opaque | Shown::Deleted => RelPath::root(),
                }
            }
            (_, Shown::Opaque | Shown::Deleted) => RelPath::root(),
        };
        (relative, false)
    }
}

/// The name of what was removed, where that is a path.
fn former_name(item: &Item<'_>) -> Option<RelPath> {
    let path = RelPath::from_absolute(&item.entry.root.path).ok()?;
    (!path.is_root()).then_some(path)
}

/// What has to be collected, and the made-up names of deleted roots.
fn contents(
    given: &Given<'_>,
    origins: &Origins,
    obstacles: &mut Vec<Obstacle>,
) -> (Vec<ContentsWork>, HashMap<usize, RelPath>) {
    let mut all = Vec::new();
    let mut deleted = HashMap::new();
    for (at, source) in origins.sources.iter().enumerate() {
        let Source::Own(superblock) = *source else {
            continue;
        };
        let superblock = &given.superblocks[superblock];
        let Provider::Own(kind) = superblock.provider else {
            continue;
        };
        if matches!(kind, OwnFsType::Tmpfs | OwnFsType::Ramfs) {
            let views = work::views(given.items, &superblock.members);
            let (orphans, names) = work::orphans(given.items, &superblock.members);
            if let Some(&lone) = superblock
                .members
                .iter()
                .find(|&&m| is_lone(given, &views, m))
            {
                let place = Some(place(given.seen, &given.items[lone]));
                obstacles.push(Obstacle {
                    place,
                    cause: Cause::PartOfNothing,
                });
            }
            deleted.extend(names);
            all.push(ContentsWork {
                origin: OriginIndex::from(at),
                views,
                orphans,
            });
            continue;
        }
        let removed = superblock
            .members
            .iter()
            .filter(|&&m| given.items[m].root == Shown::Deleted);
        obstacles.extend(removed.map(|&member| Obstacle {
            place: Some(place(given.seen, &given.items[member])),
            cause: Cause::DeletedRoot,
        }));
    }
    (all, deleted)
}

/// Whether no mount shows the root of the file system, and this one shows no directory of it that could be recorded.
fn is_lone(given: &Given<'_>, views: &[View], member: usize) -> bool {
    let item = &given.items[member];
    let is_directory = item.fact.is_none_or(|fact| fact.kind.is_directory());
    let is_view = views.iter().any(|view| item.path() == Some(&view.root));
    match views {
        [whole] if whole.root.is_root() => false,
        _ => item.root == Shown::Deleted || (is_view && !is_directory),
    }
}

fn wish_checks(given: &Given<'_>, origins: &Origins) -> Vec<WishCheck> {
    let mut checks = Vec::new();
    for (at, (origin, source)) in origins.all.iter().zip(&origins.sources).enumerate() {
        let (Origin::External(external), Source::External(class)) = (origin, *source) else {
            continue;
        };
        let Some(Wish::Path(path)) = &external.wish else {
            continue;
        };
        let class = &given.classes.all[class];
        let same = class
            .members
            .iter()
            .find(|&&member| given.items[member].root == class.root);
        checks.push(WishCheck {
            origin: OriginIndex::from(at),
            path: path.clone(),
            device: class.device,
            inode: same
                .and_then(|&member| given.items[member].fact)
                .map(|fact| fact.inode),
        });
    }
    checks
}

//! Origins: a record of where each file system comes from, and which part of
//! it each mount shows.
//!
//! Kind: pure.

use super::classes::{Class, Classes, Role};
use super::groups::Relation;
use super::items::{Item, Shown, place};
use super::names::Names;
use super::obstacle::{Cause, Obstacle};
use super::outside::{Outside, Target};
use super::policy::{SlaveMap, Undeclared};
use super::seen::Seen;
use super::superblocks::{self, Contexts, Provider, Superblock};
use crux_image::mounts::{
    External, ExternalRole, FileKind, FsOption, KernelFs, Origin, OriginIndex, Wish,
};
use crux_image::path::{Escaped, HostPath, RelPath};
use crux_mount::filesystems::{self, Class as FsClass, Row};
use crux_mount::ids::PeerGroupId;
use std::collections::HashMap;

/// Everything that origins are made from.
pub(super) struct Given<'a> {
    /// Tables and facts.
    pub(super) seen: &'a Seen,
    /// The mounts.
    pub(super) items: &'a [Item<'a>],
    /// Their superblocks.
    pub(super) superblocks: &'a [Superblock],
    /// External mounts by source.
    pub(super) classes: &'a Classes,
    /// How each mount is tied to the outside.
    pub(super) relations: &'a [Relation],
    /// Tables outside.
    pub(super) outside: &'a Outside<'a>,
    /// Whether an undeclared external mount is an obstacle.
    pub(super) undeclared: Undeclared,
    /// `--slave-mount-map`, by mount.
    pub(super) slave_maps: &'a HashMap<usize, &'a SlaveMap>,
}

/// The origins, and what each mount has of them.
#[derive(Debug, Default)]
pub(super) struct Origins {
    /// In the order of the first mount of each.
    pub(super) all: Vec<Origin>,
    /// The superblock of an own one, the class of an external one.
    pub(super) sources: Vec<Source>,
    /// For each mount, which it is of.
    pub(super) of: Vec<OriginIndex>,
}

/// What an origin stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// A superblock of the container's own.
    Own(usize),
    /// A class of external mounts.
    External(usize),
}

impl Origins {
    /// Makes the records.
    pub(super) fn new(given: &Given<'_>, names: &mut Names, obstacles: &mut Vec<Obstacle>) -> Self {
        let mut contexts = Contexts::default();
        let mut origins = Self::default();
        let mut known: HashMap<Source, OriginIndex> = HashMap::new();
        for source in given.sources() {
            let next = OriginIndex::from(origins.all.len());
            let index = *known.entry(source).or_insert(next);
            if index == next {
                origins.sources.push(source);
                origins
                    .all
                    .push(given.origin(source, names, &mut contexts, obstacles));
            }
            origins.of.push(index);
        }
        origins
    }
}

impl Given<'_> {
    /// What each mount comes from.
    fn sources(&self) -> Vec<Source> {
        let mut own = vec![0; self.items.len()];
        for (at, superblock) in self.superblocks.iter().enumerate() {
            superblock
                .members
                .iter()
                .for_each(|&member| own[member] = at);
        }
        let class = |at: usize| self.classes.source_of[at].map(Source::External);
        own.iter()
            .enumerate()
            .map(|(at, &sb)| class(at).unwrap_or(Source::Own(sb)))
            .collect()
    }

    fn origin(
        &self,
        source: Source,
        names: &mut Names,
        contexts: &mut Contexts,
        obstacles: &mut Vec<Obstacle>,
    ) -> Origin {
        match source {
            Source::External(class) => {
                Origin::External(self.external(&self.classes.all[class], names, obstacles))
            }
            Source::Own(at) => {
                let superblock = &self.superblocks[at];
                let Provider::Own(kind) = superblock.provider else {
                    unreachable!("every mount of an external superblock has a class");
                };
                let (seen, items, outside) = (self.seen, self.items, self.outside);
                Origin::Own(superblocks::record(
                    seen, items, superblock, kind, contexts, outside, obstacles,
                ))
            }
        }
    }

    fn external(
        &self,
        class: &Class,
        names: &mut Names,
        obstacles: &mut Vec<Obstacle>,
    ) -> External {
        let first = &self.items[class.members[0]];
        let name = match (&class.name, class.role) {
            (Some(name), _) => name.clone(),
            (None, Role::Root) => names.root(),
            (None, Role::Other) => names.after(&first.entry.mountpoint),
        };
        let mut object = |cause| {
            obstacles.push(Obstacle {
                place: Some(place(self.seen, first)),
                cause,
            })
        };
        if let Some(cause) = self.undeclared(class, &name) {
            object(cause);
        }
        let (wish, group_wish) = self.wishes(class).unwrap_or_else(|cause| {
            object(cause);
            (None, None)
        });
        External {
            name,
            role: if class.role == Role::Root {
                ExternalRole::Root
            } else {
                ExternalRole::Bind
            },
            kind: self.kind(class),
            wish,
            group_wish,
            fs_type: Escaped(&first.entry.fs_type).to_string(),
        }
    }

    /// Why this may not come from outside, unless somebody said so.
    fn undeclared(&self, class: &Class, name: &str) -> Option<Cause> {
        let mapped = class
            .members
            .iter()
            .any(|member| self.slave_maps.contains_key(member));
        if class.name.is_some() {
            return None;
        }
        if class.root == Shown::Deleted {
            return Some(Cause::DeletedSource {
                name: name.to_owned(),
            });
        }
        if class.role == Role::Root || mapped || self.undeclared == Undeclared::NameAfterMountpoint
        {
            return None;
        }
        let root = self.items[class.members[0]].entry.root.path.clone();
        Some(Cause::Undeclared {
            root,
            name: name.to_owned(),
        })
    }

    /// Where the host shows it, and a member of the outside group it belongs with.
    fn wishes(&self, class: &Class) -> Result<(Option<Wish>, Option<HostPath>), Cause> {
        let target = match &class.root {
            Shown::Path(root) => Target::Path(root),
            Shown::Opaque => Target::Opaque(&self.items[class.members[0]].entry.root.path),
            Shown::Deleted => return Ok((None, None)),
        };
        if let Some(group) = class.relation {
            let (path, member) = self.member(class, group, target)?;
            return Ok((Some(Wish::Path(path)), Some(member)));
        }
        let path = self.outside.path_of(class.device, target).map(Wish::Path);
        let wish = path.or_else(|| self.kernel(class));
        match wish.is_none() && self.is_merged(class) {
            true => Err(Cause::DisjointGroup),
            false => Ok((wish, None)),
        }
    }

    fn member(
        &self,
        class: &Class,
        group: PeerGroupId,
        target: Target<'_>,
    ) -> Result<(HostPath, HostPath), Cause> {
        let mapped = class
            .members
            .iter()
            .find_map(|member| self.slave_maps.get(member));
        match mapped {
            Some(map) => self
                .outside
                .mapped_path(&map.source, class.device, group, target)
                .ok_or_else(|| Cause::WrongMaster {
                    source_path: map.source.clone(),
                    group,
                }),
            None => self
                .outside
                .member_path(class.device, group, target)
                .ok_or_else(|| Cause::NoOutsideMember {
                    group,
                    seen_by: self.outside.seen_by(group),
                }),
        }
    }

    /// A file system that the kernel has once can be mounted, where no path shows it.
    fn kernel(&self, class: &Class) -> Option<Wish> {
        let first = &self.items[class.members[0]];
        let Some(Row {
            class: FsClass::KernelGlobal(fs),
            ..
        }) = filesystems::find(&first.entry.fs_type)
        else {
            return None;
        };
        let whole = class.root == Shown::Path(RelPath::root());
        whole.then(|| Wish::Kernel {
            fs: *fs,
            options: hierarchy(*fs, first),
        })
    }

    /// Whether no member shows as much as the source has to.
    fn is_merged(&self, class: &Class) -> bool {
        !class
            .members
            .iter()
            .any(|&member| self.items[member].root == class.root)
    }

    fn kind(&self, class: &Class) -> FileKind {
        let same = class
            .members
            .iter()
            .find(|&&member| self.items[member].root == class.root);
        let fact = same.and_then(|&member| self.items[member].fact);
        // What has something beneath it is a directory.
        fact.map_or(FileKind::Directory, |fact| fact.kind)
    }
}

fn hierarchy(fs: KernelFs, first: &Item<'_>) -> Vec<FsOption> {
    if fs != KernelFs::Cgroup {
        return Vec::new();
    }
    let options = first
        .entry
        .options
        .iter()
        .filter(|o| filesystems::cgroup_hierarchy_option(&o.key));
    options
        .map(|o| FsOption {
            key: Escaped(&o.key).to_string(),
            value: o.value.clone(),
        })
        .collect()
}

//! What the image tells of the file systems beneath the mounts: which origins
//! are one superblock, and of what kind the files are that mounts show.
//!
//! Kind: pure. Nothing here is about where mounts are or how they propagate.

use super::kernel::Superblock;
use crux_image::mounts::{FileKind, GroupLink, Master, Mounts, Origin, OriginIndex, Propagation};
use crux_image::path::RelPath;
use std::collections::HashMap;

/// A file that some mount of the image shows, or a directory on the way to one.
#[derive(Debug, Clone, Copy)]
pub(super) struct File {
    pub(super) kind: FileKind,
    /// How many of the known files are directly in it.
    names: usize,
    pub(super) unlinked: bool,
    /// Whether a step mounted something on it, through any mount.
    pub(super) mounted_on: bool,
}

impl File {
    fn new(kind: FileKind, names: usize) -> Self {
        Self {
            kind,
            names,
            unlinked: false,
            mounted_on: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names == 0
    }
}

/// The known files of one origin. Most have a root and nothing else.
#[derive(Debug)]
struct Tree<'a> {
    root: File,
    beneath: HashMap<&'a [u8], File>,
}

impl Tree<'_> {
    fn new(origin: &Origin) -> Self {
        let kind = match origin {
            Origin::Own(_) => FileKind::Directory,
            Origin::External(external) => external.kind,
        };
        Self {
            root: File::new(kind, 0),
            beneath: HashMap::new(),
        }
    }

    fn get(&self, path: &[u8]) -> Option<&File> {
        match path {
            [] => Some(&self.root),
            _ => self.beneath.get(path),
        }
    }

    fn get_mut(&mut self, path: &[u8]) -> Option<&mut File> {
        match path {
            [] => Some(&mut self.root),
            _ => self.beneath.get_mut(path),
        }
    }
}

/// The known files of every origin.
#[derive(Debug)]
pub(super) struct Files<'a> {
    image: &'a Mounts,
    origins: Vec<Tree<'a>>,
    superblocks: Vec<u32>,
    /// The origin by which the image names the group outside that each is in.
    outside: Vec<OriginIndex>,
}

impl<'a> Files<'a> {
    pub(super) fn new(image: &'a Mounts) -> Self {
        let mut files = Self {
            image,
            origins: image.origins.iter().map(Tree::new).collect(),
            superblocks: (0..image.origins.len())
                .map(|at| OriginIndex::from(at).0)
                .collect(),
            outside: (0..image.origins.len()).map(OriginIndex::from).collect(),
        };
        for mount in image
            .namespaces
            .iter()
            .flat_map(|namespace| &namespace.mounts)
        {
            files.learn(mount.origin, mount.root.as_bytes(), mount.kind);
        }
        files.learn_superblocks();
        files.learn_groups_outside();
        files
    }

    fn learn(&mut self, origin: OriginIndex, path: &'a [u8], kind: FileKind) {
        let Some(files) = self.origins.get_mut(origin.at()) else {
            return;
        };
        let (mut path, mut kind, mut names) = (path, kind, 0);
        while files.get(path).is_none() {
            files.beneath.insert(path, File::new(kind, names));
            (path, kind, names) = (parent_of(path), FileKind::Directory, 1);
        }
        let known = files.get_mut(path);
        known.expect("the loop ends at a known file").names += names;
    }

    /// Mounts that share or receive events are of one superblock (the kernel lets
    /// nothing else into a group), so external origins found together in a group are
    /// one. Superblocks that the restore makes are one each, whatever an image says.
    fn learn_superblocks(&mut self) {
        let mut seen: Vec<Option<OriginIndex>> = vec![None; self.image.groups.len()];
        for mount in self
            .image
            .namespaces
            .iter()
            .flat_map(|namespace| &namespace.mounts)
        {
            match mount.propagation {
                Propagation::Shared(group) => self.found(&mut seen, group.at(), mount.origin),
                Propagation::Slave(master) => self.found_master(&mut seen, master, mount.origin),
                Propagation::Private | Propagation::Unbindable => {}
            }
        }
        for (at, group) in self.image.groups.iter().enumerate() {
            let Some(origin) = seen[at] else { continue };
            match group.link {
                GroupLink::None => {}
                GroupLink::SlaveOf(master) => self.found_master(&mut seen, master, origin),
                GroupLink::PeerOfOutside(outside) => self.unite(origin, outside),
            }
        }
    }

    /// A recorded group with members outside shows that the sources of all its
    /// members are in one group there.
    fn learn_groups_outside(&mut self) {
        for mount in self
            .image
            .namespaces
            .iter()
            .flat_map(|namespace| &namespace.mounts)
        {
            if let Propagation::Shared(group) = mount.propagation
                && let Some(group) = self.image.groups.get(group.at())
                && let GroupLink::PeerOfOutside(name) = group.link
                && let Some(outside) = self.outside.get_mut(mount.origin.at())
            {
                *outside = name;
            }
        }
    }

    /// The origin that names the group outside that the source of an origin is in.
    pub(super) fn outside(&self, origin: OriginIndex) -> OriginIndex {
        self.outside[origin.at()]
    }

    fn found(&mut self, seen: &mut [Option<OriginIndex>], group: usize, origin: OriginIndex) {
        let Some(first) = seen.get_mut(group) else {
            return;
        };
        let first = *first.get_or_insert(origin);
        self.unite(first, origin);
    }

    fn found_master(
        &mut self,
        seen: &mut [Option<OriginIndex>],
        master: Master,
        origin: OriginIndex,
    ) {
        match master {
            Master::Group(group) => self.found(seen, group.at(), origin),
            Master::Outside(outside) => self.unite(origin, outside),
        }
    }

    fn unite(&mut self, a: OriginIndex, b: OriginIndex) {
        let external =
            |o: OriginIndex| matches!(self.image.origins.get(o.at()), Some(Origin::External(_)));
        if a != b && external(a) && external(b) {
            let (a, b) = (self.find(a.0), self.find(b.0));
            self.superblocks[b as usize] = a;
        }
    }

    fn find(&mut self, mut at: u32) -> u32 {
        while self.superblocks[at as usize] != at {
            let above = self.superblocks[self.superblocks[at as usize] as usize];
            self.superblocks[at as usize] = above;
            at = above;
        }
        at
    }

    /// The superblock of an origin that the image has.
    pub(super) fn superblock(&mut self, origin: OriginIndex) -> Superblock {
        Superblock(OriginIndex(self.find(origin.0)))
    }

    /// The known file at a path of an origin.
    pub(super) fn get(&self, origin: OriginIndex, path: &RelPath) -> Option<&File> {
        self.origins.get(origin.at())?.get(path.as_bytes())
    }

    /// Notes that something is mounted on a file.
    pub(super) fn mount_on(&mut self, origin: OriginIndex, path: &RelPath) {
        let files = self.origins.get_mut(origin.at());
        if let Some(file) = files.and_then(|files| files.get_mut(path.as_bytes())) {
            file.mounted_on = true;
        }
    }

    /// Takes a name away. Mounts that show the file go on showing it.
    pub(super) fn unlink(&mut self, origin: OriginIndex, path: &RelPath) {
        let Some(files) = self.origins.get_mut(origin.at()) else {
            return;
        };
        if let Some(file) = files.get_mut(path.as_bytes()) {
            file.unlinked = true;
            if let Some(directory) = files.get_mut(parent_of(path.as_bytes())) {
                directory.names -= 1;
            }
        }
    }

    /// The nearest known file on the way to `path`, itself included.
    pub(super) fn nearest(&self, origin: OriginIndex, path: &RelPath) -> Option<(&File, Way)> {
        let files = self.origins.get(origin.at())?;
        if files.beneath.is_empty() {
            let way = if path.is_root() {
                Way::Whole
            } else {
                Way::Part
            };
            return Some((&files.root, way));
        }
        let mut at = path.as_bytes();
        let mut way = Way::Whole;
        while files.get(at).is_none() {
            (at, way) = (parent_of(at), Way::Part);
        }
        files.get(at).map(|file| (file, way))
    }
}

/// How far a path is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// To its end.
    Whole,
    /// Not to its end.
    Part,
}

/// `a` of `a/b`, and the empty path of `a`.
fn parent_of(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|&b| b == b'/');
    &path[..slash.unwrap_or(0)]
}

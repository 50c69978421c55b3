//! Mounts of external superblocks, put together where they need one source.
//!
//! Kind: pure. Peers, and a slave and its master, are of one superblock; only
//! what comes from one source is so again after a restore.

use super::groups::{Inside, Relation};
use super::items::{Item, Shown};
use super::obstacle::Cause;
use crux_image::path::RelPath;
use crux_mount::ids::{Device, PeerGroupId};
use std::collections::HashMap;

/// Mounts that need one source.
#[derive(Debug)]
pub(super) struct Class {
    /// The mounts, in order.
    pub(super) members: Vec<usize>,
    /// Their superblock.
    pub(super) device: Device,
    /// What the source has to show: all that any member shows.
    pub(super) root: Shown,
    /// The outside group that one of them, and so all, belong with.
    pub(super) relation: Option<PeerGroupId>,
    /// The name that it was declared under.
    pub(super) name: Option<String>,
    /// Whether the container's root is among them.
    pub(super) role: Role,
}

/// Whether a class holds the first mount of the first namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It does.
    Root,
    /// It does not.
    Other,
}

/// The classes, and which one each mount is in (if it is external).
#[derive(Debug)]
pub(super) struct Classes {
    /// In the order of their first members.
    pub(super) all: Vec<Class>,
    /// For each mount, the class whose source it is taken from: its own, or a wider one.
    pub(super) source_of: Vec<Option<usize>>,
}

impl Classes {
    /// Puts the mounts for which `external` holds together.
    pub(super) fn new(
        items: &[Item<'_>],
        relations: &[Relation],
        inside: &Inside,
        declared: &HashMap<usize, &str>,
        external: &[bool],
        mut object: impl FnMut(usize, Cause),
    ) -> Self {
        let mut sets = Sets::new(items.len());
        for (at, item) in items.iter().enumerate().filter(|(at, _)| external[*at]) {
            inside
                .tied_to(item, relations[at])
                .for_each(|other| sets.join(at, other));
        }
        let mut classes = Self {
            all: Vec::new(),
            source_of: vec![None; items.len()],
        };
        let mut of_set: HashMap<usize, usize> = HashMap::new();
        for (at, item) in items.iter().enumerate().filter(|(at, _)| external[*at]) {
            let class = *of_set.entry(sets.find(at)).or_insert(classes.all.len());
            if class == classes.all.len() {
                classes.all.push(Class::of_first(at, item));
            }
            let name = declared.get(&at).copied();
            if let Err(cause) = classes.all[class].add(at, item, relations[at], name) {
                object(at, cause);
            }
            classes.source_of[at] = Some(class);
        }
        classes.derive();
        classes
    }

    /// Takes the mounts of a class from the source of a wider one, where nothing forbids it.
    fn derive(&mut self) {
        let mut widest: HashMap<(Device, &RelPath), usize> = HashMap::new();
        for (at, class) in self.all.iter().enumerate() {
            let Shown::Path(root) = &class.root else {
                continue;
            };
            let here = widest.entry((class.device, root)).or_insert(at);
            if class.rank() < self.all[*here].rank() {
                *here = at;
            }
        }
        let targets: Vec<usize> = (0..self.all.len())
            .map(|at| self.source_for(at, &widest))
            .collect();
        for class in self.source_of.iter_mut().flatten() {
            *class = targets[*class];
        }
    }

    fn source_for(&self, at: usize, widest: &HashMap<(Device, &RelPath), usize>) -> usize {
        let class = &self.all[at];
        let (Shown::Path(root), Rank::Derivable) = (&class.root, class.rank()) else {
            return at;
        };
        let mut above = RelPath::root();
        let mut found = widest.get(&(class.device, &above));
        for name in root.components() {
            if found.is_some() {
                break;
            }
            above = above.join(&RelPath::new(name).expect("a component of a path is one"));
            found = widest.get(&(class.device, &above));
        }
        found.copied().unwrap_or(at)
    }
}

/// Which of several classes that show the same is the source of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Root,
    Derivable,
    Tied,
    Named,
}

impl Class {
    fn of_first(at: usize, item: &Item<'_>) -> Self {
        let role = if at == 0 { Role::Root } else { Role::Other };
        let root = item.root.clone();
        Self {
            members: Vec::new(),
            device: item.device(),
            root,
            relation: None,
            name: None,
            role,
        }
    }

    fn add(
        &mut self,
        at: usize,
        item: &Item<'_>,
        relation: Relation,
        name: Option<&str>,
    ) -> Result<(), Cause> {
        self.members.push(at);
        self.relation = self.relation.or(relation.group());
        match (&self.name, name) {
            (Some(first), Some(second)) => {
                return Err(Cause::TwoNames {
                    first: first.clone(),
                    second: second.to_owned(),
                });
            }
            (None, Some(name)) => self.name = Some(name.to_owned()),
            (_, None) => {}
        }
        match (&mut self.root, &item.root) {
            (Shown::Path(root), Shown::Path(other)) if !other.is_beneath(root) => {
                *root = root.common_ancestor(other);
            }
            (Shown::Path(_), Shown::Path(_))
            | (Shown::Opaque, Shown::Opaque)
            | (Shown::Deleted, Shown::Deleted) => {}
            _ => return Err(Cause::MixedGroup),
        }
        Ok(())
    }

    fn rank(&self) -> Rank {
        match (self.role, &self.name, self.relation) {
            (Role::Root, _, _) => Rank::Root,
            (_, Some(_), _) => Rank::Named,
            (_, None, Some(_)) => Rank::Tied,
            (_, None, None) => Rank::Derivable,
        }
    }
}

/// Disjoint sets of mounts.
struct Sets(Vec<usize>);

impl Sets {
    fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    fn find(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        // The smaller number stays, so that a set is called after its first mount.
        self.0[a.max(b)] = a.min(b);
    }
}

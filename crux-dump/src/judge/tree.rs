//! From a table to a tree: who is mounted on whom, and where.
//!
//! Kind: pure. A table is hostile: its ids may form cycles, its paths may not fit.

use super::obstacle::{Cause, Obstacle};
use crux_image::path::RelPath;
use crux_mount::{ids::MountId, mountinfo::Entry};
use std::collections::HashMap;

/// A table in the order that an image wants: parents first.
#[derive(Debug)]
pub struct Tree {
    /// The mounts; the first has no parent.
    pub nodes: Vec<Node>,
    children: HashMap<(usize, RelPath), usize>,
}

/// A mount in its tree.
#[derive(Debug, PartialEq, Eq)]
pub struct Node {
    /// Its place in the table.
    pub entry: usize,
    /// Its parent's place in [`Tree::nodes`].
    pub parent: Option<usize>,
    /// Where on the parent, relative to the root of that mount.
    pub mountpoint: RelPath,
}

impl Tree {
    /// Orders `table`, which a task `pid` showed.
    pub fn new(pid: u32, table: &[Entry]) -> Result<Self, Obstacle> {
        let bad = |what: String| Obstacle::general(Cause::NoTree { pid, what });
        let (top, below) = relations(table).map_err(bad)?;
        let mut tree = Self {
            nodes: Vec::with_capacity(table.len()),
            children: HashMap::new(),
        };
        tree.nodes.push(Node {
            entry: top,
            parent: None,
            mountpoint: RelPath::root(),
        });
        // Depth first, so that a person finds what is beneath a mount right after it.
        let mut open = vec![(0, 0)];
        while let Some((node, next)) = open.pop() {
            let parent = &table[tree.nodes[node].entry];
            let Some(&child) = below.get(&parent.id).and_then(|all| all.get(next)) else {
                continue;
            };
            open.push((node, next + 1));
            let mountpoint = relative(parent, &table[child]).map_err(bad)?;
            open.push((tree.nodes.len(), 0));
            tree.push(node, child, mountpoint).map_err(bad)?;
        }
        match tree.nodes.len() == table.len() {
            true => Ok(tree),
            false => Err(bad("some mounts are their own ancestors".to_owned())),
        }
    }

    fn push(&mut self, parent: usize, entry: usize, mountpoint: RelPath) -> Result<(), String> {
        let here = self.nodes.len();
        if self
            .children
            .insert((parent, mountpoint.clone()), here)
            .is_some()
        {
            return Err(format!("two mounts are at {mountpoint} of one"));
        }
        self.nodes.push(Node {
            entry,
            parent: Some(parent),
            mountpoint,
        });
        Ok(())
    }

    /// The mount that a path from the root of `start` ends in, and where in it: symlinks
    /// aside, what the kernel finds. What is stacked on `start` itself is not in the way.
    pub fn resolve(&self, start: usize, path: &RelPath) -> (usize, RelPath) {
        let mut here = start;
        let mut rest = RelPath::root();
        for name in path.components() {
            rest = rest.join(&RelPath::new(name).expect("a component of a path is one"));
            if let Some(&child) = self.children.get(&(here, rest.clone())) {
                here = self.top_of_stack(child);
                rest = RelPath::root();
            }
        }
        (here, rest)
    }

    /// The mount that has to go first for `target` to be reached by its path from the root of the
    /// first mount, or from above that root if it [lies there](Self::is_above_root): what hides its
    /// place, or is stacked on it. `None`: nothing is in the way.
    pub fn hider(&self, target: usize) -> Option<usize> {
        let chain = self.chain(target);
        let hiders = chain
            .windows(2)
            .map(|pair| self.hider_between(pair[0], pair[1]));
        let on_top = || self.on_root_of(target);
        hiders.into_iter().flatten().next().or_else(on_top)
    }

    /// What is in the way from a mount to one that is mounted on it.
    fn hider_between(&self, above: usize, below: usize) -> Option<usize> {
        let mountpoint = &self.nodes[below].mountpoint;
        if mountpoint.is_root() {
            return None;
        }
        if let Some(hider) = self.on_root_of(above) {
            return Some(hider);
        }
        let mut place = RelPath::root();
        mountpoint.components().find_map(|name| {
            place = place.join(&RelPath::new(name).expect("a component of a path is one"));
            let child = self.children.get(&(above, place.clone()));
            child.copied().filter(|&child| child != below)
        })
    }

    /// What is stacked on the root of a mount and hides it. The root directory is not hidden by
    /// what lies on it: paths begin beneath that.
    fn on_root_of(&self, node: usize) -> Option<usize> {
        match node {
            0 => None,
            _ => self.children.get(&(node, RelPath::root())).copied(),
        }
    }

    /// Whether a mount is part of what is stacked on the root directory, where only ".." leads.
    pub fn is_above_root(&self, node: usize) -> bool {
        let first = self.chain(node).get(1).copied();
        first.is_some_and(|first| self.nodes[first].mountpoint.is_root())
    }

    /// The way to a mount from the first.
    fn chain(&self, node: usize) -> Vec<usize> {
        let parents = std::iter::successors(Some(node), |&n| self.nodes[n].parent);
        let mut chain: Vec<usize> = parents.collect();
        chain.reverse();
        chain
    }

    /// Forgets a mount and all beneath it.
    pub fn detach(&mut self, node: usize) {
        if let Some(parent) = self.nodes[node].parent {
            self.children
                .remove(&(parent, self.nodes[node].mountpoint.clone()));
        }
    }

    /// Whether neither `node` nor what it is beneath was detached.
    pub fn is_attached(&self, node: usize) -> bool {
        let mut chain = std::iter::successors(Some(node), |&n| self.nodes[n].parent);
        chain.all(|n| match self.nodes[n].parent {
            None => true,
            Some(parent) => {
                self.children
                    .get(&(parent, self.nodes[n].mountpoint.clone()))
                    == Some(&n)
            }
        })
    }

    /// The node of another tree of the same shape that is in the place of `node` in this one.
    pub fn counterpart(&self, node: usize, other: &Self) -> Option<usize> {
        self.chain(node).iter().skip(1).try_fold(0, |at, &n| {
            other
                .children
                .get(&(at, self.nodes[n].mountpoint.clone()))
                .copied()
        })
    }

    /// What is mounted on the root of `node`, on top of that, and so on.
    pub fn top_of_stack(&self, node: usize) -> usize {
        let mut here = node;
        while let Some(&above) = self.children.get(&(here, RelPath::root())) {
            here = above;
        }
        here
    }
}

type Below = HashMap<MountId, Vec<usize>>;

/// The mount whose parent is not in the table, and the others by parent.
fn relations(table: &[Entry]) -> Result<(usize, Below), String> {
    let known: HashMap<MountId, usize> =
        table.iter().enumerate().map(|(at, e)| (e.id, at)).collect();
    if known.len() != table.len() {
        return Err("an id is there twice".to_owned());
    }
    let mut below: Below = HashMap::new();
    let mut tops = Vec::new();
    for (at, entry) in table.iter().enumerate() {
        match entry.parent != entry.id && known.contains_key(&entry.parent) {
            true => below.entry(entry.parent).or_default().push(at),
            false => tops.push(at),
        }
    }
    match tops[..] {
        [top] => Ok((top, below)),
        [] => Err("it is empty".to_owned()),
        _ => Err(format!(
            "{} mounts have a parent that is not in it",
            tops.len()
        )),
    }
}

fn relative(parent: &Entry, child: &Entry) -> Result<RelPath, String> {
    let path = |bytes: &[u8]| {
        RelPath::from_absolute(bytes)
            .map_err(|e| format!("mountpoint {}: {e}", crux_image::path::Escaped(bytes)))
    };
    let (above, below) = (path(&parent.mountpoint)?, path(&child.mountpoint)?);
    below
        .strip_prefix(&above)
        .ok_or_else(|| format!("{below} is not beneath {above}, which it is mounted on"))
}

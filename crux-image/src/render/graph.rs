//! The propagation graph: who receives mount events from whom.
//!
//! Kind: pure. Nodes are peer groups, slaves that are in no group, and peer
//! groups outside; an edge leads from a master to what receives from it. Each
//! node has at most one master, so the graph is a forest.

use super::order::{GroupNumbers, display_order, name_of};
use super::tree::cut;
use super::words;
use crate::mounts::{GroupLink, Master, Mounts, OriginIndex, Propagation};
use serde::Serialize;
use std::collections::BTreeMap;

/// What a node stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeKind {
    /// A peer group of the container.
    Group,
    /// A mount that is a slave and in no peer group.
    Slave,
    /// A peer group outside.
    Outside,
}

/// How the edge from the master is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EdgeKind {
    /// Events go one way.
    Slave,
    /// Events go both ways.
    Peer,
}

/// A node of the graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// What it stands for.
    pub kind: NodeKind,
    /// A line about it.
    pub title: String,
    /// Paths of the mounts, escaped.
    pub members: Vec<String>,
    /// The position of the node that it receives from, and how.
    pub above: Option<(usize, EdgeKind)>,
}

/// A propagation graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Graph {
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// How many mounts neither send nor receive.
    pub private: usize,
    /// How many mount namespaces there are; with more than one, names begin with its number.
    pub namespaces: usize,
}

impl Graph {
    /// The graph of all namespaces together.
    pub fn new(mounts: &Mounts) -> Self {
        let numbers = GroupNumbers::new(mounts);
        let mut graph = Self {
            nodes: Vec::new(),
            private: 0,
            namespaces: mounts.namespaces.len(),
        };
        for group in numbers.ordered() {
            let title = format!("shared({})", numbers.of(group));
            graph.add(NodeKind::Group, title, None);
        }
        let mut outside = BTreeMap::new();
        for (at, group) in numbers.ordered().into_iter().enumerate() {
            graph.nodes[at].above = match mounts.groups[group.at()].link {
                GroupLink::None => None,
                GroupLink::SlaveOf(master) => Some((
                    graph.master(mounts, &numbers, &mut outside, master),
                    EdgeKind::Slave,
                )),
                GroupLink::PeerOfOutside(origin) => {
                    Some((graph.outside(mounts, &mut outside, origin), EdgeKind::Peer))
                }
            };
        }
        graph.place_mounts(mounts, &numbers, &mut outside);
        graph
    }

    fn place_mounts(
        &mut self,
        mounts: &Mounts,
        numbers: &GroupNumbers,
        outside: &mut BTreeMap<OriginIndex, usize>,
    ) {
        for (at, namespace) in mounts.namespaces.iter().enumerate() {
            for placed in display_order(namespace) {
                let mut name = cut(&name_of(namespace, placed.mount));
                if mounts.namespaces.len() > 1 {
                    name = format!("{at}: {name}");
                }
                match namespace.mounts[placed.mount.at()].propagation {
                    Propagation::Private | Propagation::Unbindable => self.private += 1,
                    Propagation::Shared(group) => {
                        self.nodes[numbers.of(group) - 1].members.push(name);
                    }
                    Propagation::Slave(master) => {
                        let above = self.master(mounts, numbers, outside, master);
                        let node = self.add(
                            NodeKind::Slave,
                            "slave".into(),
                            Some((above, EdgeKind::Slave)),
                        );
                        self.nodes[node].members.push(name);
                    }
                }
            }
        }
    }

    fn add(&mut self, kind: NodeKind, title: String, above: Option<(usize, EdgeKind)>) -> usize {
        self.nodes.push(Node {
            kind,
            title,
            members: Vec::new(),
            above,
        });
        self.nodes.len() - 1
    }

    fn master(
        &mut self,
        mounts: &Mounts,
        numbers: &GroupNumbers,
        outside: &mut BTreeMap<OriginIndex, usize>,
        master: Master,
    ) -> usize {
        match master {
            Master::Group(group) => numbers.of(group) - 1,
            Master::Outside(origin) => self.outside(mounts, outside, origin),
        }
    }

    fn outside(
        &mut self,
        mounts: &Mounts,
        outside: &mut BTreeMap<OriginIndex, usize>,
        origin: OriginIndex,
    ) -> usize {
        *outside.entry(origin).or_insert_with(|| {
            self.add(
                NodeKind::Outside,
                cut(&words::outside(mounts, origin)),
                None,
            )
        })
    }

    /// What receives from each node.
    pub(super) fn below(&self) -> Vec<Vec<usize>> {
        let mut below = vec![Vec::new(); self.nodes.len()];
        for (at, node) in self.nodes.iter().enumerate() {
            if let Some((above, _)) = node.above {
                below[above].push(at);
            }
        }
        below
    }
}

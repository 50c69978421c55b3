//! The judge: from what was observed to what is recorded, or to every reason why
//! that cannot be restored.
//!
//! Kind: pure. It reads nothing: tables, facts and the operator's policy go in
//! as data ([`Seen`], [`Policy`]), records come out ([`Judged`]).
//!
//! In this order: trees from tables; groups and what ties them to the outside;
//! superblocks, own or external; external mounts put together by source;
//! origins; mounts.

mod classes;
mod groups;
mod items;
mod names;
mod obstacle;
mod origins;
mod outside;
mod policy;
mod records;
mod seen;
mod superblocks;
#[cfg(test)]
mod tests;
mod tree;
mod work;

pub use obstacle::{Cause, Obstacle, Place};
pub use policy::{Declared, DeclaredDescriptor, Policy, PolicyError, SlaveMap, Undeclared};
pub use seen::{Fill, ForeignTable, NamespaceId, RootFact, Seen, SeenNamespace, SeenQueue};
pub use tree::Tree;
pub use work::{ContentsWork, Orphan, SeenMount, View, WishCheck};

use classes::Classes;
use crux_image::mounts::Mounts;
use groups::{Inside, Relation};
use items::Item;
use names::Names;
use origins::{Given, Origins};
use outside::Outside;
use std::collections::HashMap;
use superblocks::Provider;

/// A container that can be dumped.
#[derive(Debug)]
pub struct Judged {
    /// The record; sections of contents are still empty.
    pub mounts: Mounts,
    /// The contents to collect, in the order of the origins.
    pub contents: Vec<ContentsWork>,
    /// Paths of the host to check before they are recorded as wishes.
    pub wishes: Vec<WishCheck>,
    /// How many mounts are out of reach of the container's root directories (chroot), and left out.
    pub left_out: usize,
}

/// Judges what was seen. All obstacles are found in one go, unless a table is no tree.
pub fn judge(seen: &Seen, policy: &Policy) -> Result<Judged, Vec<Obstacle>> {
    let mut obstacles = Vec::new();
    let trees = trees(seen, &mut obstacles);
    if !obstacles.is_empty() {
        return Err(obstacles);
    }
    let items = items::list(seen, &trees);
    items
        .iter()
        .for_each(|item| items::inspect(seen, item, &mut obstacles));

    let outside = Outside::new(seen);
    let inside = Inside::new(&items);
    let relations = relations(seen, &items, &inside, &outside, &mut obstacles);
    let (declared, slave_maps) = asked(&trees, policy, &relations, &mut obstacles);
    let superblocks = superblocks::sort(&items, &relations, &declared, &outside);
    superblocks
        .iter()
        .for_each(|sb| superblocks::inspect(seen, &items, sb, &mut obstacles));

    let mut external = vec![false; items.len()];
    for superblock in superblocks
        .iter()
        .filter(|sb| sb.provider == Provider::External)
    {
        superblock
            .members
            .iter()
            .for_each(|&member| external[member] = true);
    }
    let classes = Classes::new(
        &items,
        &relations,
        &inside,
        &declared,
        &external,
        |at, cause| {
            obstacles.push(Obstacle {
                place: Some(items::place(seen, &items[at])),
                cause,
            });
        },
    );
    let given = Given {
        seen,
        items: &items,
        superblocks: &superblocks,
        classes: &classes,
        relations: &relations,
        outside: &outside,
        undeclared: policy.undeclared,
        slave_maps: &slave_maps,
    };
    let mut names = Names::new(policy.declared.iter().map(|d| d.name.as_str()));
    let origins = Origins::new(&given, &mut names, &mut obstacles);
    let judged = records::assemble(&given, &inside, &trees, origins, &mut obstacles);
    match obstacles.is_empty() {
        true => Ok(judged),
        false => Err(obstacles),
    }
}

fn trees(seen: &Seen, obstacles: &mut Vec<Obstacle>) -> Vec<Tree> {
    let mut trees = Vec::with_capacity(seen.container.len());
    for space in &seen.container {
        match Tree::new(space.pid, &space.table) {
            Ok(tree) => trees.push(tree),
            Err(obstacle) => obstacles.push(obstacle),
        }
    }
    trees
}

fn relations(
    seen: &Seen,
    items: &[Item<'_>],
    inside: &Inside,
    outside: &Outside<'_>,
    obstacles: &mut Vec<Obstacle>,
) -> Vec<Relation> {
    let relation = |item: &Item<'_>| {
        inside.relation(item, outside).unwrap_or_else(|cause| {
            obstacles.push(Obstacle {
                place: Some(items::place(seen, item)),
                cause,
            });
            Relation::None
        })
    };
    items.iter().map(relation).collect()
}

type Asked<'a> = (HashMap<usize, &'a str>, HashMap<usize, &'a SlaveMap>);

/// The mounts that the operator's options name.
fn asked<'a>(
    trees: &[Tree],
    policy: &'a Policy,
    relations: &[Relation],
    obstacles: &mut Vec<Obstacle>,
) -> Asked<'a> {
    let mut declared = HashMap::new();
    for Declared { name, mountpoint } in &policy.declared {
        match mount_at(trees, mountpoint) {
            None => obstacles.push(Obstacle::general(Cause::NothingToDeclare {
                name: name.clone(),
                mountpoint: mountpoint.clone(),
            })),
            Some(at) => {
                if let Some(first) = declared.insert(at, name.as_str()) {
                    let (first, second) = (first.to_owned(), name.clone());
                    obstacles.push(Obstacle::general(Cause::TwoNames { first, second }));
                }
            }
        }
    }
    let mut slave_maps = HashMap::new();
    for map in &policy.slave_maps {
        match mount_at(trees, &map.target) {
            None => obstacles.push(Obstacle::general(Cause::NothingToMap(map.target.clone()))),
            Some(at) if relations[at] == Relation::None => {
                obstacles.push(Obstacle::general(Cause::NoSlave(map.target.clone())));
            }
            Some(at) => {
                slave_maps.insert(at, map);
            }
        }
    }
    (declared, slave_maps)
}

/// The mount of the first namespace that is on top at `mountpoint`.
fn mount_at(trees: &[Tree], mountpoint: &[u8]) -> Option<usize> {
    let path = crux_image::path::RelPath::from_absolute(mountpoint).ok()?;
    let (node, rest) = trees.first()?.resolve(0, &path);
    rest.is_root().then_some(node)
}

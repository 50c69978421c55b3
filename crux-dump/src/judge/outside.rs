//! What is outside the container: where a superblock or a peer group is seen
//! there, and at which path of the host.
//!
//! Kind: pure. Paths are for wishes; the effect side checks that they lead where they should.

use super::tree::Tree;
use crate::judge::seen::Seen;
use crux_image::path::{HostPath, RelPath};
use crux_mount::ids::{Device, PeerGroupId};
use crux_mount::mountinfo::Entry;
use std::collections::{HashMap, HashSet};

/// What a source has to show.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'a> {
    /// A path within a file system.
    Path(&'a RelPath),
    /// A root that is no path, as mountinfo prints it.
    Opaque(&'a [u8]),
}

impl Target<'_> {
    /// Where in what `entry` shows it is.
    fn within(self, entry: &Entry) -> Option<RelPath> {
        match self {
            Self::Path(root) => root.strip_prefix(&RelPath::from_absolute(&entry.root.path).ok()?),
            Self::Opaque(root) => (entry.root.path == root).then(RelPath::root),
        }
    }
}

/// All tables outside the container.
#[derive(Debug)]
pub(super) struct Outside<'a> {
    host: &'a [Entry],
    tree: Option<Tree>,
    /// Tree nodes of the host's table, by what they show.
    by_root: HashMap<(Device, &'a [u8]), Vec<usize>>,
    by_group: HashMap<PeerGroupId, Vec<usize>>,
    host_devices: HashSet<Device>,
    foreign_devices: HashSet<Device>,
    foreign_groups: HashMap<PeerGroupId, Vec<u32>>,
}

impl<'a> Outside<'a> {
    /// Indexes the tables. A host table that is no tree gives no wishes.
    pub(super) fn new(seen: &'a Seen) -> Self {
        let mut outside = Self {
            host: &seen.host,
            tree: Tree::new(0, &seen.host).ok(),
            by_root: HashMap::new(),
            by_group: HashMap::new(),
            host_devices: seen.host.iter().map(|e| e.device).collect(),
            foreign_devices: HashSet::new(),
            foreign_groups: HashMap::new(),
        };
        outside.index_host();
        for foreign in &seen.foreign {
            for entry in &foreign.table {
                outside.foreign_devices.insert(entry.device);
                let Some(group) = entry.shared else { continue };
                let pids = outside.foreign_groups.entry(group).or_default();
                if pids.last() != Some(&foreign.pid) {
                    pids.push(foreign.pid);
                }
            }
        }
        outside
    }

    fn index_host(&mut self) {
        let nodes = self
            .tree
            .iter()
            .flat_map(|tree| tree.nodes.iter().enumerate());
        for (at, node) in nodes {
            let entry = &self.host[node.entry];
            if entry.root.deleted {
                continue;
            }
            self.by_root
                .entry((entry.device, &entry.root.path))
                .or_default()
                .push(at);
            if let Some(group) = entry.shared {
                self.by_group.entry(group).or_default().push(at);
            }
        }
    }

    /// Whether a mount outside shows this superblock.
    pub(super) fn shows(&self, device: Device) -> bool {
        self.host_devices.contains(&device) || self.foreign_devices.contains(&device)
    }

    /// Whether the dumper's own table shows this superblock.
    pub(super) fn host_shows(&self, device: Device) -> bool {
        self.host_devices.contains(&device)
    }

    /// Whether a mount outside is a member of this group.
    pub(super) fn has_group(&self, group: PeerGroupId) -> bool {
        self.by_group.contains_key(&group)
            || self.foreign_groups.contains_key(&group)
            || (self.tree.is_none() && self.host.iter().any(|e| e.shared == Some(group)))
    }

    /// Tasks in whose namespaces, other than the dumper's, the group has members.
    pub(super) fn seen_by(&self, group: PeerGroupId) -> Vec<u32> {
        self.foreign_groups.get(&group).cloned().unwrap_or_default()
    }

    /// A path of the host that shows `target`, through the mount that shows least besides.
    pub(super) fn path_of(&self, device: Device, target: Target<'_>) -> Option<HostPath> {
        let Target::Path(root) = target else {
            return self.opaque_path(device, target);
        };
        let mut above = Some(root.clone());
        while let Some(here) = above {
            let key = here.to_absolute();
            let rest = root.strip_prefix(&here)?;
            let shown = self
                .by_root
                .get(&(device, key.as_slice()))
                .into_iter()
                .flatten();
            if let Some(path) = shown.filter_map(|&node| self.visible(node, &rest)).next() {
                return Some(path);
            }
            above = here.split_last().map(|(parent, _)| parent);
        }
        None
    }

    fn opaque_path(&self, device: Device, target: Target<'_>) -> Option<HostPath> {
        let Target::Opaque(root) = target else {
            return None;
        };
        let shown = self.by_root.get(&(device, root))?;
        shown
            .iter()
            .find_map(|&node| self.visible(node, &RelPath::root()))
    }

    /// A member of `group` that shows `target`: the path that shows it, and the member's mountpoint.
    pub(super) fn member_path(
        &self,
        device: Device,
        group: PeerGroupId,
        target: Target<'_>,
    ) -> Option<(HostPath, HostPath)> {
        let members = self.by_group.get(&group)?;
        members.iter().find_map(|&node| {
            let entry = self.entry(node).filter(|entry| entry.device == device)?;
            let path = self.visible(node, &target.within(entry)?)?;
            Some((path, HostPath::new(&entry.mountpoint).ok()?))
        })
    }

    /// The same, through the mount that holds the host path `source`, if that is a member.
    pub(super) fn mapped_path(
        &self,
        source: &HostPath,
        device: Device,
        group: PeerGroupId,
        target: Target<'_>,
    ) -> Option<(HostPath, HostPath)> {
        let (node, _) = self.tree.as_ref()?.resolve(0, source.as_rel());
        let entry = self
            .entry(node)
            .filter(|e| e.shared == Some(group) && e.device == device)?;
        Some((self.visible(node, &target.within(entry)?)?, source.clone()))
    }

    fn entry(&self, node: usize) -> Option<&'a Entry> {
        Some(&self.host[self.tree.as_ref()?.nodes[node].entry])
    }

    /// The path of `rest` in the mount `node`, if no other mount hides it.
    fn visible(&self, node: usize, rest: &RelPath) -> Option<HostPath> {
        let path = RelPath::from_absolute(&self.entry(node)?.mountpoint)
            .ok()?
            .join(rest);
        let (found, place) = self.tree.as_ref()?.resolve(0, &path);
        if found != node || place != *rest {
            return None;
        }
        HostPath::new(&path.to_absolute()).ok()
    }
}

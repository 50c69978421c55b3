//! From what /proc says of a file to a place in the record of mounts.
//!
//! Kind: pure. The order of the mounts is that of the record: both come from [`Tree`].

use crate::judge::{Obstacle, SeenNamespace, Tree};
use crux_image::mounts::{MountIndex, NamespaceIndex};
use crux_image::path::RelPath;
use crux_image::tasks::Location;
use crux_mount::ids::{Device, MountId};
use std::collections::HashMap;

/// Where each mount of the container stands in the record.
#[derive(Debug)]
pub struct Places {
    mounts: HashMap<MountId, Place>,
    trees: Vec<Tree>,
    /// Mounts of devpts, with what they show of which.
    terminals: Vec<(Device, RelPath, NamespaceIndex, MountIndex)>,
    /// Device numbers, mounts and mountpoints.
    devices: Vec<((u32, u32), MountId, Vec<u8>)>,
}

#[derive(Debug)]
struct Place {
    namespace: NamespaceIndex,
    mount: MountIndex,
    mountpoint: RelPath,
}

impl Places {
    /// From the tables of the container.
    pub fn new(container: &[SeenNamespace]) -> Result<Self, Obstacle> {
        let mut places = Self {
            mounts: HashMap::new(),
            trees: Vec::with_capacity(container.len()),
            terminals: Vec::new(),
            devices: Vec::new(),
        };
        for (namespace, space) in container.iter().enumerate() {
            let tree = Tree::new(space.pid, &space.table)?;
            for (at, node) in tree.nodes.iter().enumerate() {
                let entry = &space.table[node.entry];
                if entry.fs_type == b"devpts"
                    && let Ok(root) = RelPath::from_absolute(&entry.root.path)
                {
                    let shown = (entry.device, root, namespace.into(), at.into());
                    places.terminals.push(shown);
                }
                let device = (entry.device.major, entry.device.minor);
                let shown = (device, entry.id, entry.mountpoint.clone());
                places.devices.push(shown);
                let Ok(mountpoint) = RelPath::from_absolute(&entry.mountpoint) else {
                    continue;
                };
                let place = Place {
                    namespace: namespace.into(),
                    mount: at.into(),
                    mountpoint,
                };
                places.mounts.insert(entry.id, place);
            }
            places.trees.push(tree);
        }
        Ok(places)
    }

    /// The mounts that show a file system, and their mountpoints as absolute paths.
    pub fn of_device(&self, device: (u32, u32)) -> impl Iterator<Item = (MountId, &[u8])> {
        let mounts = self.devices.iter();
        mounts
            .filter(move |(of, ..)| *of == device)
            .map(|(_, mount, mountpoint)| (*mount, &mountpoint[..]))
    }

    /// Whether a mount is the container's.
    pub fn has(&self, mount: MountId) -> bool {
        self.mounts.contains_key(&mount)
    }

    /// Whether a device is a devpts that the container's mounts show something of.
    pub fn has_terminals(&self, device: Device) -> bool {
        self.terminals.iter().any(|(known, ..)| *known == device)
    }

    /// Where the container's mounts show a terminal of a devpts: a mount of it alone first.
    pub fn terminal(&self, device: Device, number: u32) -> Option<Location> {
        let name = RelPath::new(number.to_string().as_bytes()).ok()?;
        let shown = self.terminals.iter().filter(|it| it.0 == device);
        let alone = shown.clone().find(|it| it.1 == name);
        let among = || shown.clone().find(|it| it.1.is_root());
        let (_, root, namespace, mount) = alone.or_else(among)?;
        Some(Location {
            namespace: *namespace,
            mount: *mount,
            path: if root.is_root() {
                name
            } else {
                RelPath::root()
            },
        })
    }

    /// The path by which a place is reached.
    pub fn path(&self, place: &Location) -> Option<RelPath> {
        let mut mounts = self.mounts.values();
        let found = mounts.find(|it| it.namespace == place.namespace && it.mount == place.mount)?;
        Some(found.mountpoint.join(&place.path))
    }

    /// The place of a file in `mount` that /proc shows as `path`. None if the mount is not
    /// the container's, or the path is not beneath its mountpoint.
    pub fn locate(&self, mount: MountId, path: &[u8]) -> Option<Location> {
        let place = self.mounts.get(&mount)?;
        let path = RelPath::from_absolute(path).ok()?;
        Some(Location {
            namespace: place.namespace,
            mount: place.mount,
            path: path.strip_prefix(&place.mountpoint)?,
        })
    }

    /// The place that a path leads to in a namespace, symlinks aside: for files of which
    /// the kernel does not tell the mount.
    pub fn resolve(&self, namespace: NamespaceIndex, path: &[u8]) -> Option<Location> {
        let tree = self.trees.get(namespace.at())?;
        let path = RelPath::from_absolute(path).ok()?;
        let (mount, path) = tree.resolve(tree.top_of_stack(0), &path);
        Some(Location {
            namespace,
            mount: mount.into(),
            path,
        })
    }
}

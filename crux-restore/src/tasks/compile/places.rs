//! The path that leads to a place in the restored mounts.
//!
//! Kind: pure.

use crux_image::mounts::{MountIndex, Mounts, NamespaceIndex};
use crux_image::path::RelPath;
use crux_image::tasks::Location;
use std::collections::HashMap;

/// The restored mounts, as paths see them.
pub(super) struct Places<'a> {
    mounts: &'a Mounts,
    children: HashMap<(NamespaceIndex, MountIndex, &'a RelPath), MountIndex>,
}

impl<'a> Places<'a> {
    pub(super) fn new(mounts: &'a Mounts) -> Self {
        let all = mounts.every_mount();
        let children = all.filter_map(|(namespace, at, mount)| {
            Some(((namespace, mount.parent?, &mount.mountpoint), at))
        });
        Self {
            mounts,
            children: children.collect(),
        }
    }

    /// The path from the root directory of the namespace's tasks. None if other mounts hide the place.
    pub(super) fn path(&self, place: &Location) -> Option<RelPath> {
        let namespace = &self.mounts.namespaces[place.namespace.at()];
        let path = namespace.path_of(place.mount).join(&place.path);
        let found = self.resolve(place.namespace, namespace.root, &path)?;
        let same = found.0 == place.mount && found.1 == place.path;
        same.then_some(path)
    }

    fn resolve(
        &self,
        namespace: NamespaceIndex,
        root: MountIndex,
        path: &RelPath,
    ) -> Option<(MountIndex, RelPath)> {
        let (mut here, mut rest) = (root, RelPath::root());
        for name in path.components() {
            rest = rest.join(&RelPath::new(name).ok()?);
            while let Some(child) = self.children.get(&(namespace, here, &rest)) {
                (here, rest) = (*child, RelPath::root());
            }
        }
        Some((here, rest))
    }
}

//! From the recorded mounts of a container to the steps that rebuild them.
//!
//! Kind: pure. The phases and why they come in this order: `docs/mounts.md`.
//! This file holds the frame and the attach phase; `create.rs` and
//! `propagate.rs` hold the others.

use super::create::{self, Uses};
use super::propagate;
use super::{Plan, Slot, Step};
use crux_image::mounts::{MountIndex, Mounts, Namespace, NamespaceIndex, OriginIndex};

/// Why there is no plan for a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Mounts of one peer group, or a slave and its master, can only be of one file system.
    #[error(
        "plan the propagation of mount {}:{}: it takes part in a peer group of origin {}, but shows origin {}",
        .mount.0.0, .mount.1.0, .group.0, .own.0
    )]
    GroupAcrossOrigins {
        /// The mount.
        mount: (NamespaceIndex, MountIndex),
        /// The origin of the others.
        group: OriginIndex,
        /// Its own.
        own: OriginIndex,
    },
    /// A name cannot be unlinked on a superblock that is read-only by then.
    #[error(
        "plan mount {}:{}: its root was deleted from a file system that is read-only",
        .0.0, .1.0
    )]
    DeletedReadOnly(NamespaceIndex, MountIndex),
    /// Removing a file of the host's is not ours to do.
    #[error("plan mount {}:{}: its root was deleted from an external file system", .0.0, .1.0)]
    DeletedExternal(NamespaceIndex, MountIndex),
}

/// Plans the restore of `mounts`, which has passed [`Mounts::check`].
pub fn plan(mounts: &Mounts) -> Result<Plan, PlanError> {
    let uses = Uses::of(mounts);
    let groups = propagate::Groups::of(mounts)?;
    let helpers = create::helpers(mounts, &uses, &groups)?;
    let mut steps = Vec::new();
    create::sources(mounts, &uses, &helpers, &mut steps);
    steps.push(Step::EnterYard);
    for at in 0..mounts.namespaces.len() {
        steps.push(Step::NewNamespace {
            namespace: at.into(),
        });
    }
    create::own_and_clones(mounts, &uses, &helpers, &groups, &mut steps);
    for (at, namespace) in mounts.namespaces.iter().enumerate() {
        attach(at.into(), namespace, &mut steps);
    }
    create::unlink_deleted(mounts, &mut steps);
    propagate::steps(mounts, &groups, &mut steps);
    Ok(Plan { steps })
}

/// Attaches a namespace's mounts: parents first; of the mounts on one parent the
/// deeper first, because a mount hides what lies beneath its mountpoint.
fn attach(at: NamespaceIndex, namespace: &Namespace, steps: &mut Vec<Step>) {
    steps.push(Step::EnterNamespace { namespace: at });
    steps.push(Step::AttachRoot {
        mount: Slot::Mount(at, MountIndex(0)),
    });
    for index in attach_order(namespace) {
        let mount = &namespace.mounts[index.at()];
        if let Some(parent) = mount.parent {
            steps.push(Step::Attach {
                mount: Slot::Mount(at, index),
                parent: Slot::Mount(at, parent),
                at: mount.mountpoint.clone(),
            });
        }
    }
}

/// The order in which every mount is reachable when its turn comes. In reverse,
/// each mount can be unmounted when its turn comes.
pub fn attach_order(namespace: &Namespace) -> Vec<MountIndex> {
    let mut children = vec![Vec::new(); namespace.mounts.len()];
    for (at, mount) in namespace.mounts.iter().enumerate() {
        if let Some(parent) = mount.parent {
            children[parent.at()].push(MountIndex::from(at));
        }
    }
    let path = |m: &MountIndex| namespace.mounts[m.at()].mountpoint.as_bytes();
    let mut order = Vec::with_capacity(namespace.mounts.len());
    let mut pending = vec![MountIndex(0)];
    while let Some(mount) = pending.pop() {
        order.push(mount);
        let mut below = std::mem::take(&mut children[mount.at()]);
        // A path sorts after its prefixes; what is pushed last is taken first.
        below.sort_by(|a, b| path(a).cmp(path(b)));
        pending.extend(below);
    }
    order
}

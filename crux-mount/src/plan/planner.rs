//! From the recorded mounts of a container to the steps that rebuild them.
//!
//! Kind: pure. The phases and why they come in this order: `docs/mounts.md`.
//! This file holds the frame and the waves of attaching; `create.rs` and
//! `propagate.rs` hold the others.

use super::batch::Batches;
use super::create::{self, Uses};
use super::{Plan, Slot, Step};
use super::{lock, propagate};
use crux_image::mounts::{Lock, MountIndex, Mounts, Namespace, NamespaceIndex, OriginIndex};

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
    /// It would not be found again once it is locked.
    #[error("plan mount {}:{}: it cannot be locked to its place", .0.0, .1.0)]
    Lock(NamespaceIndex, MountIndex),
}

/// How many mounts are made before they are attached.
///
/// KERNEL: until then each has an anonymous mount namespace, and counts against
/// `user.max_mnt_namespaces` (`alloc_mnt_ns`, fs/namespace.c): half of what the machine may have of
/// threads, so that a small one does not even allow ten thousand. On the other hand, each wave
/// takes two setns(2).
const WAVE: usize = 256;

/// Plans the restore of `mounts`, which has passed [`Mounts::check`].
pub fn plan(mounts: &Mounts) -> Result<Plan, PlanError> {
    Ok(Planning::begin(mounts)?.plan())
}

/// A plan of which nothing but the steps has to be found: there is one.
pub struct Planning<'a> {
    mounts: &'a Mounts,
    uses: Uses,
    groups: propagate::Groups,
    /// Which origins need a helper.
    helpers: Vec<bool>,
}

impl<'a> Planning<'a> {
    /// Looks whether there is a plan for `mounts`, which has passed [`Mounts::check`].
    pub fn begin(mounts: &'a Mounts) -> Result<Self, PlanError> {
        let uses = Uses::of(mounts);
        let groups = propagate::Groups::of(mounts)?;
        let helpers = create::helpers(mounts, &uses, &groups)?;
        for (at, namespace) in mounts.namespaces.iter().enumerate() {
            if let Some(mount) = lock::unlockable(namespace).next() {
                return Err(PlanError::Lock(at.into(), mount));
            }
        }
        Ok(Self {
            mounts,
            uses,
            groups,
            helpers,
        })
    }

    /// All steps together.
    pub fn plan(&self) -> Plan {
        let mut batches = Vec::new();
        self.each(&mut |batch| batches.push(batch));
        Plan { batches }
    }

    /// Gives the steps, batch by batch as they are found.
    pub fn each(&self, give: &mut dyn FnMut(Vec<Step>)) {
        let Self {
            mounts,
            uses,
            groups,
            helpers,
        } = self;
        let mut steps = Batches::new(give);
        create::sources(mounts, uses, helpers, &mut steps);
        steps.push(Step::EnterYard);
        for at in 0..mounts.namespaces.len() {
            steps.push(Step::NewNamespace {
                namespace: at.into(),
            });
        }
        create::yard(mounts, uses, helpers, groups, &mut steps);
        for (at, namespace) in mounts.namespaces.iter().enumerate() {
            attach(mounts, at.into(), namespace, helpers, &mut steps);
        }
        create::unlink_deleted(mounts, &mut steps);
        propagate::steps(mounts, groups, &mut steps);
        steps.end();
    }
}

/// Makes a namespace's mounts and attaches them: parents first; of the mounts on one
/// parent the deeper first, because a mount hides what lies beneath its mountpoint.
fn attach(
    mounts: &Mounts,
    at: NamespaceIndex,
    namespace: &Namespace,
    helpers: &[bool],
    steps: &mut Batches<'_>,
) {
    for wave in waves(lock::trees(namespace)) {
        // Only what is in one's own namespace can be cloned, so mounts are made in the yard.
        if matches!(
            steps.last(),
            Some(Step::Attach { .. } | Step::AttachRoot { .. })
        ) {
            steps.push(Step::ReturnToYard);
        }
        for &index in &wave {
            create::mount(mounts, (at, index), helpers, steps);
        }
        steps.extend(lock::step(at, namespace, &wave));
        steps.push(Step::EnterNamespace { namespace: at });
        // Those that are locked are on their parents already.
        let loose = wave
            .iter()
            .filter(|index| namespace.mounts[index.at()].lock != Lock::Place);
        steps.extend(loose.map(|&index| attachment(at, index, namespace)));
    }
}

/// Trees, put together until they are enough.
fn waves(trees: Vec<Vec<MountIndex>>) -> Vec<Vec<MountIndex>> {
    let mut waves: Vec<Vec<MountIndex>> = Vec::new();
    for tree in trees {
        match waves.last_mut() {
            Some(wave) if wave.len() + tree.len() <= WAVE => wave.extend(tree),
            _ => waves.push(tree),
        }
    }
    waves
}

fn attachment(at: NamespaceIndex, index: MountIndex, namespace: &Namespace) -> Step {
    let mount = Slot::Mount(at, index);
    let recorded = &namespace.mounts[index.at()];
    match recorded.parent {
        None => Step::AttachRoot { mount },
        Some(parent) => Step::Attach {
            mount,
            parent: Slot::Mount(at, parent),
            at: recorded.mountpoint.clone(),
        },
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

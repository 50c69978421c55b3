//! The phases before anything is attached in the container: sources, yard, create.
//!
//! Kind: pure.

use super::batch::Batches;
use super::propagate::Groups;
use super::{PlanError, Slot, Step};
use crux_image::mounts::{
    GroupLink, Master, Mount, MountAttributes, MountIndex, Mounts, NamespaceIndex, Origin,
    OriginIndex, OwnFsType, Propagation,
};

/// Which mounts show each origin, in the order of the image.
pub(super) struct Uses(Vec<Vec<(NamespaceIndex, MountIndex)>>);

impl Uses {
    pub(super) fn of(mounts: &Mounts) -> Self {
        let mut uses = vec![Vec::new(); mounts.origins.len()];
        for (ns, index, mount) in mounts.every_mount() {
            uses[mount.origin.at()].push((ns, index));
        }
        Self(uses)
    }
}

/// Which origins need a helper: those that several mounts show, or none shows
/// whole, or of which a namespace's root, a deleted root or a carrier has to be cloned.
pub(super) fn helpers(
    mounts: &Mounts,
    uses: &Uses,
    groups: &Groups,
) -> Result<Vec<bool>, PlanError> {
    let mut needed: Vec<bool> = uses.0.iter().map(|users| users.len() > 1).collect();
    for (ns, at, mount) in mounts.every_mount() {
        needed[mount.origin.at()] |= !mount.root.is_root();
        // KERNEL: statmount(2) and listmount(2) from outside find a namespace's root among
        // the mounts with a higher id than its base, which the yard's copy has: so a
        // namespace's first mount is made after the namespace, as a clone.
        needed[mount.origin.at()] |= mount.parent.is_none() && is_made_early(mounts, mount);
        if mount.deleted {
            match &mounts.origins[mount.origin.at()] {
                Origin::External(_) => return Err(PlanError::DeletedExternal(ns, at)),
                Origin::Own(own) if own.flags.readonly => {
                    return Err(PlanError::DeletedReadOnly(ns, at));
                }
                Origin::Own(_) => {}
            }
        }
    }
    for (_, origin, _) in groups.extra_carriers() {
        needed[origin.at()] = true;
    }
    Ok(needed)
}

fn is_made_early(mounts: &Mounts, mount: &Mount) -> bool {
    match &mounts.origins[mount.origin.at()] {
        Origin::External(_) => true,
        Origin::Own(own) => needs_host_visible(own.fs_type),
    }
}

/// What is done in the caller's namespace.
pub(super) fn sources(mounts: &Mounts, uses: &Uses, helpers: &[bool], steps: &mut Batches<'_>) {
    let outside = joined_outside(mounts);
    for (at, origin) in mounts.origins.iter().enumerate() {
        let Some(into) = first_slot(at.into(), uses, helpers) else {
            continue;
        };
        match origin {
            Origin::External(_) => steps.push(Step::OpenSource {
                origin: at.into(),
                into,
            }),
            Origin::Own(own) if needs_host_visible(own.fs_type) => {
                steps.push(Step::Create {
                    origin: at.into(),
                    into,
                });
            }
            Origin::Own(_) => {}
        }
    }
    for (at, _) in outside.iter().enumerate().filter(|(_, joined)| **joined) {
        steps.push(Step::OpenOutside { origin: at.into() });
    }
}

/// What the yard has: a helper for each origin that needs one, and carriers of groups.
pub(super) fn yard(
    mounts: &Mounts,
    uses: &Uses,
    helpers: &[bool],
    groups: &Groups,
    steps: &mut Batches<'_>,
) {
    let used = |at: &usize| helpers[*at] && !uses.0[*at].is_empty();
    for at in (0..mounts.origins.len()).filter(used) {
        let (origin, helper) = (at.into(), Slot::Helper(at.into()));
        if is_made_in_yard(&mounts.origins[at]) {
            let into = helper;
            steps.push(Step::Create { origin, into });
        }
        steps.push(Step::AttachHelper { helper });
    }
    for (carrier, origin, root) in groups.extra_carriers() {
        let (from, root) = (Slot::Helper(origin), root.clone());
        steps.push(Step::Clone {
            from,
            root,
            into: carrier,
        });
        steps.push(Step::AttachHelper { helper: carrier });
    }
}

/// Makes one mount of the container, detached.
pub(super) fn mount(
    mounts: &Mounts,
    (ns, index): (NamespaceIndex, MountIndex),
    helpers: &[bool],
    steps: &mut Batches<'_>,
) {
    let mount = &mounts.namespaces[ns.at()].mounts[index.at()];
    let (origin, into) = (mount.origin, Slot::Mount(ns, index));
    let provider = &mounts.origins[origin.at()];
    if helpers[origin.at()] {
        let from = Slot::Helper(origin);
        let root = mount.root.clone();
        steps.push(Step::Clone { from, root, into });
    } else if is_made_in_yard(provider) {
        steps.push(Step::Create { origin, into });
    }
    let own = matches!(provider, Origin::Own(_));
    if !own || mount.attributes != MountAttributes::default() {
        steps.push(Step::SetAttributes {
            mount: into,
            attributes: mount.attributes.clone(),
        });
    }
}

fn is_made_in_yard(origin: &Origin) -> bool {
    matches!(origin, Origin::Own(own) if !needs_host_visible(own.fs_type))
}

/// After everything is attached: names that only served to make a deleted root.
/// The deepest first, so that a directory is empty when its turn comes.
pub(super) fn unlink_deleted(mounts: &Mounts, steps: &mut Batches<'_>) {
    let deleted = mounts.every_mount().filter(|(_, _, mount)| mount.deleted);
    let mut names: Vec<_> = deleted
        .map(|(_, _, m)| (m.origin, &m.root, m.kind.is_directory(), &m.former))
        .collect();
    names.sort_unstable_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(&b.0)));
    names.dedup();
    if !names.is_empty() {
        // What a rename moves must not be a mountpoint of the namespace that it is made in.
        steps.push(Step::ReturnToYard);
    }
    for (origin, name, directory, former) in names {
        let through = Slot::Helper(origin);
        steps.push(Step::Unlink {
            through,
            name: name.clone(),
            former: former.clone(),
            directory,
        });
    }
}

/// proc and sysfs may be mounted from inside a user namespace only while the
/// host's are fully visible, and mqueue belongs to an ipc namespace.
fn needs_host_visible(fs: OwnFsType) -> bool {
    matches!(fs, OwnFsType::Proc | OwnFsType::Sysfs | OwnFsType::Mqueue)
}

/// The slot that receives the first mount of an origin; none if nothing shows it.
fn first_slot(origin: OriginIndex, uses: &Uses, helpers: &[bool]) -> Option<Slot> {
    let (ns, mount) = *uses.0[origin.at()].first()?;
    Some(if helpers[origin.at()] {
        Slot::Helper(origin)
    } else {
        Slot::Mount(ns, mount)
    })
}

/// Which origins name an outside peer group that some mount joins.
fn joined_outside(mounts: &Mounts) -> Vec<bool> {
    let mut joined = vec![false; mounts.origins.len()];
    for (_, _, mount) in mounts.every_mount() {
        match mount.propagation {
            Propagation::Slave(Master::Outside(origin)) => joined[origin.at()] = true,
            Propagation::Shared(group) => match mounts.groups[group.at()].link {
                GroupLink::PeerOfOutside(_) => joined[mount.origin.at()] = true,
                GroupLink::SlaveOf(Master::Outside(origin)) => joined[origin.at()] = true,
                GroupLink::SlaveOf(Master::Group(_)) | GroupLink::None => {}
            },
            _ => {}
        }
    }
    joined
}

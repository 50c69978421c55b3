//! Which capabilities the restore of an image takes, and whether they are there.
//!
//! Kind: pure, but for [`check`]. What only some files of a tree need (MKNOD for
//! devices, SETFCAP for file capabilities) is not known before they are made.

use crate::failure::{Exit, Failure};
use crux_image::mounts::{Contents, Mounts, Origin};
use crux_role::{Capability, Held};

/// A capability, and what it is for.
pub(crate) type Need = (Capability, &'static str);

const ALWAYS: [Need; 2] = [
    (Capability::CAP_SYS_ADMIN, "to make mounts and namespaces"),
    (Capability::CAP_SYS_CHROOT, "to go into the namespaces made"),
];
const FILES: [Need; 4] = [
    (Capability::CAP_CHOWN, "to give files their owners"),
    (
        Capability::CAP_DAC_OVERRIDE,
        "to make files in directories of others",
    ),
    (
        Capability::CAP_FOWNER,
        "to set modes and times of files of others",
    ),
    (
        Capability::CAP_FSETID,
        "to keep set-user-ID and set-group-ID bits",
    ),
];
const MAPS: [Need; 2] = [
    (Capability::CAP_SETUID, "to write uid maps"),
    (Capability::CAP_SETGID, "to write gid maps"),
];

/// Whether this process holds what the restore takes.
pub(crate) fn check(mounts: &Mounts) -> Result<(), Failure> {
    let held = Held::now();
    let missing: Vec<Need> = of(mounts)
        .into_iter()
        .filter(|(capability, _)| !held.has(*capability))
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(lacking(&missing)),
    }
}

/// What is missing, and how to get it.
pub(crate) fn lacking(missing: &[Need]) -> Failure {
    let each = missing.iter().map(|(what, why)| format!("{what} ({why})"));
    let list = each.collect::<Vec<_>>().join(", ");
    Failure::new(
        Exit::Lacking,
        format_args!(
            "restore without {list}: run as root, or as a member of group crux with an installed \
             crux-restore (cargo xtask install); crux-restore --check says more"
        ),
    )
}

fn of(mounts: &Mounts) -> Vec<Need> {
    let own = |origin: &Origin| match origin {
        Origin::Own(own) => matches!(own.contents, Contents::Tree(_) | Contents::Terminals(_)),
        Origin::External(_) => false,
    };
    let files = mounts.origins.iter().any(own);
    let idmaps = mounts
        .namespaces
        .iter()
        .flat_map(|namespace| &namespace.mounts)
        .any(|mount| mount.attributes.idmap.is_some());
    let mut needs = ALWAYS.to_vec();
    if files {
        needs.extend(FILES);
    }
    if idmaps || !mounts.user_namespaces.is_empty() {
        needs.extend(MAPS);
    }
    needs
}

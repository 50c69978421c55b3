//! What this process has to hold, and what it has to find, for an image.
//!
//! Kind: effect. It runs before anything is made.

use crate::failure::{Exit, Failure};
use crux_image::mounts::{Contents, Mounts, Origin};
use crux_mount::sys;
use rustix::thread::CapabilitySet;

/// What is needed, and what for.
type Need = (CapabilitySet, &'static str, &'static str);

const ALWAYS: [Need; 2] = [
    (
        CapabilitySet::SYS_ADMIN,
        "CAP_SYS_ADMIN",
        "make mount namespaces and mounts",
    ),
    (
        CapabilitySet::SYS_CHROOT,
        "CAP_SYS_CHROOT",
        "enter the namespaces that it makes",
    ),
];

const CONTENTS: [Need; 4] = [
    (
        CapabilitySet::CHOWN,
        "CAP_CHOWN",
        "give files of the image to their owners",
    ),
    (
        CapabilitySet::DAC_OVERRIDE,
        "CAP_DAC_OVERRIDE",
        "fill directories of other owners",
    ),
    (
        CapabilitySet::FOWNER,
        "CAP_FOWNER",
        "set modes and times of files of other owners",
    ),
    (
        CapabilitySet::FSETID,
        "CAP_FSETID",
        "set set-group-ID bits of files of other groups",
    ),
];

const USERS: [Need; 2] = [
    (
        CapabilitySet::SETUID,
        "CAP_SETUID",
        "write the id maps of user namespaces",
    ),
    (
        CapabilitySet::SETGID,
        "CAP_SETGID",
        "write the id maps of user namespaces",
    ),
];

/// Names the first thing that is missing, and what it is for.
pub(crate) fn check(mounts: &Mounts) -> Result<(), Failure> {
    let held =
        rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    if let Some((_, name, purpose)) = needs(mounts).find(|(needed, ..)| !held.contains(*needed)) {
        return Err(lacking(format_args!(
            "this process lacks {name}, which is needed to {purpose}"
        )));
    }
    match sys::proc_is_procfs() {
        Ok(true) => Ok(()),
        Ok(false) => Err(lacking("/proc is not a proc file system; mount one there")),
        Err(error) => Err(lacking(error)),
    }
}

/// What is missing where nothing can be restored.
pub(crate) const NO_MOUNTS: &str = "this process lacks CAP_SYS_ADMIN, which is needed to make \
     mount namespaces and mounts; run it as root, or install it with cargo xtask install and be \
     a member of group crux";

pub(crate) fn lacking(what: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Lacking, format_args!("restore: {what}"))
}

fn needs(mounts: &Mounts) -> impl Iterator<Item = Need> {
    let contents = mounts.origins.iter().any(|origin| match origin {
        Origin::Own(own) => matches!(own.contents, Contents::Tree(_)),
        Origin::External(_) => false,
    });
    let maps = mounts
        .namespaces
        .iter()
        .flat_map(|namespace| &namespace.mounts)
        .any(|mount| mount.attributes.idmap.is_some());
    let users = maps || !mounts.user_namespaces.is_empty();
    let contents = CONTENTS.into_iter().filter(move |_| contents);
    let users = USERS.into_iter().filter(move |_| users);
    ALWAYS.into_iter().chain(contents).chain(users)
}

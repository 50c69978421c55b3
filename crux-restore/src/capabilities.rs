//! What this process has to hold, and what it has to find, for an image.
//!
//! Kind: effect. It runs before anything is made.

use crate::failure::{Exit, Failure};
use crate::tasks::needs;
use crux_image::mounts::{Contents, Mounts, Origin};
use crux_mount::sys;
use crux_role::{Capability, Grounds, Need, named};

use Capability::{
    CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP, CAP_SETGID,
    CAP_SETPCAP, CAP_SETUID, CAP_SYS_ADMIN, CAP_SYS_CHROOT,
};

const ALWAYS: [Need; 2] = [
    Need::for_work(CAP_SYS_ADMIN, "make mount namespaces and mounts"),
    Need::for_work(CAP_SYS_CHROOT, "enter the namespaces that it makes"),
];
const CONTENTS: [Need; 4] = [
    Need::for_work(CAP_CHOWN, "give files of the image to their owners"),
    Need::for_work(CAP_DAC_OVERRIDE, "fill directories of other owners"),
    Need::for_work(CAP_FOWNER, "set modes and times of files of other owners"),
    Need::for_work(CAP_FSETID, "set set-group-ID bits of files of other groups"),
];
const USERS: [Need; 2] = [
    Need::for_work(CAP_SETUID, "write the id maps of user namespaces"),
    Need::for_work(CAP_SETGID, "write the id maps of user namespaces"),
];
/// What single files and steps ask for; who lacks it reads so in the step that fails.
const SINGLE: [Need; 3] = [
    Need::for_work(CAP_MKNOD, "make devices in file systems in memory"),
    Need::for_work(
        CAP_SETFCAP,
        "give files capabilities, and map uid 0 into user namespaces",
    ),
    Need::for_more(
        CAP_SETPCAP,
        "empty the bounding sets of its processes, which execute nothing",
    ),
];

/// All that any image may ask for.
pub fn all() -> Vec<Need> {
    let lists: [&[Need]; 5] = [&ALWAYS, &CONTENTS, &USERS, &SINGLE, &needs::ALL];
    lists.concat()
}

/// Names everything that is missing for these mounts, what it is for, and how to grant it.
pub(crate) fn check(mounts: &Mounts, grounds: &Grounds) -> Result<(), Failure> {
    let missing = crux_role::lacking(needs(mounts));
    if !missing.is_empty() {
        return Err(lacking(told(&missing, grounds)));
    }
    match sys::proc_is_procfs() {
        Ok(true) => Ok(()),
        Ok(false) => Err(lacking("/proc is not a proc file system; mount one there")),
        Err(error) => Err(lacking(error)),
    }
}

/// Names everything that is missing for tasks.
pub(crate) fn check_tasks(missing: &[Need], grounds: &Grounds) -> Result<(), Failure> {
    match missing.is_empty() {
        true => Ok(()),
        false => Err(lacking(told(missing, grounds))),
    }
}

/// What is missing where nothing can be restored.
pub(crate) fn no_mounts() -> Failure {
    lacking(told(&ALWAYS, &Grounds::now()))
}

fn told(missing: &[Need], grounds: &Grounds) -> String {
    format!("{}; {}", named(missing), grounds.advice(missing, &all()))
}

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

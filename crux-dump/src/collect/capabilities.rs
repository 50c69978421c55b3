//! What this process may do.
//!
//! Kind: effect.

use super::DumpError;
use crux_mount::sys;
use rustix::thread::CapabilitySet;

/// What is needed, and what for.
const NEEDED: [(CapabilitySet, &str, &str); 4] = [
    (
        CapabilitySet::SYS_ADMIN,
        "CAP_SYS_ADMIN",
        "enter the container's mount namespace",
    ),
    (
        CapabilitySet::SYS_CHROOT,
        "CAP_SYS_CHROOT",
        "enter the container's mount namespace",
    ),
    (
        CapabilitySet::SYS_PTRACE,
        "CAP_SYS_PTRACE",
        "look at processes of other users",
    ),
    (
        CapabilitySet::DAC_READ_SEARCH,
        "CAP_DAC_READ_SEARCH",
        "read files of other users",
    ),
];

/// Names the first capability that is missing; or /proc, if that is none.
pub fn check() -> Result<(), DumpError> {
    match sys::proc_is_procfs() {
        Ok(true) => {}
        Ok(false) => return Err(DumpError::NoProc("it is not a proc file system".to_owned())),
        Err(error) => return Err(DumpError::NoProc(error.to_string())),
    }
    let held =
        rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    match NEEDED.iter().find(|(needed, ..)| !held.contains(*needed)) {
        None => Ok(()),
        Some(&(_, name, purpose)) => Err(DumpError::Capability { name, purpose }),
    }
}

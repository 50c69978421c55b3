//! What this process may do.
//!
//! Kind: effect.

use super::DumpError;
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

/// Names the first capability that is missing.
pub fn check() -> Result<(), DumpError> {
    let held =
        rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    match NEEDED.iter().find(|(needed, ..)| !held.contains(*needed)) {
        None => Ok(()),
        Some(&(_, name, purpose)) => Err(DumpError::Capability { name, purpose }),
    }
}

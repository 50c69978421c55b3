//! What this process may do, asked where it is about to do it.
//!
//! Kind: effect.

use super::DumpError;
use rustix::thread::CapabilitySet;

/// What is needed, and what for.
type Need = (CapabilitySet, &'static str, &'static str);

const ENTERING: [Need; 2] = [
    (
        CapabilitySet::SYS_ADMIN,
        "CAP_SYS_ADMIN",
        "read in a copy of the container's mount namespace what is hidden there, and contents \
         without a trace",
    ),
    (
        CapabilitySet::SYS_CHROOT,
        "CAP_SYS_CHROOT",
        "enter a copy of the container's mount namespace",
    ),
];
const PROCESSES: [Need; 1] = [(
    CapabilitySet::SYS_PTRACE,
    "CAP_SYS_PTRACE",
    "look at processes of other users, and at those that hold more capabilities",
)];
const FILES: [Need; 1] = [(
    CapabilitySet::DAC_READ_SEARCH,
    "CAP_DAC_READ_SEARCH",
    "read files of other users",
)];

/// Before a mount namespace is entered.
pub(super) fn check_entering() -> Result<(), DumpError> {
    check(&ENTERING)
}

/// When a process may not be looked at.
pub(super) fn check_processes() -> Result<(), DumpError> {
    check(&PROCESSES)
}

/// When a file may not be read.
pub(super) fn check_files() -> Result<(), DumpError> {
    check(&FILES)
}

/// Names the first one that is missing.
fn check(needs: &[Need]) -> Result<(), DumpError> {
    let held =
        rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    match needs.iter().find(|(needed, ..)| !held.contains(*needed)) {
        None => Ok(()),
        Some(&(_, name, purpose)) => Err(DumpError::Capability { name, purpose }),
    }
}

//! What this process may do, asked where it is about to do it.
//!
//! Kind: effect.

use super::DumpError;
use crux_role::{Capability, Need, lacking};

use Capability::{
    CAP_CHECKPOINT_RESTORE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_IPC_OWNER, CAP_KILL,
    CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_SYS_CHROOT, CAP_SYS_PTRACE,
};

const ENTERING: [Need; 2] = [
    Need::for_work(
        CAP_SYS_ADMIN,
        "read in a copy of the container's mount namespace what is hidden there, and contents \
         without a trace",
    ),
    Need::for_work(
        CAP_SYS_CHROOT,
        "enter a copy of the container's mount namespace",
    ),
];
const PROCESSES: [Need; 1] = [Need::for_work(
    CAP_SYS_PTRACE,
    "look at processes of other users, and at those that hold more capabilities",
)];
const FILES: [Need; 1] = [Need::for_work(
    CAP_DAC_READ_SEARCH,
    "read files of other users",
)];
const IPC: [Need; 2] = [
    Need::for_work(CAP_SYS_ADMIN, "enter the container's ipc namespace"),
    Need::for_work(
        CAP_IPC_OWNER,
        "read semaphores, messages and shared memory of other users",
    ),
];
const NETWORKS: [Need; 2] = [
    Need::for_work(
        CAP_SYS_ADMIN,
        "enter the container's network namespace, and see what is in it",
    ),
    Need::for_work(
        CAP_NET_ADMIN,
        "see whether the container's network namespace filters packets",
    ),
];
/// What single tasks ask for; who lacks it reads so in the step that fails.
const TASKS: [Need; 5] = [
    Need::for_work(
        CAP_CHECKPOINT_RESTORE,
        "open what tasks have mapped that has no name",
    ),
    Need::for_work(CAP_KILL, "end tasks of other users"),
    Need::for_work(
        CAP_DAC_READ_SEARCH,
        "open files of other users that tasks have open",
    ),
    Need::for_work(
        CAP_SYS_ADMIN,
        "see what is at the other ends of sockets, and which eBPF programs can be loaded again",
    ),
    Need::for_work(
        CAP_NET_ADMIN,
        "see which network namespaces sockets are of, and the files of Unix sockets",
    ),
];
/// Done without, and less well.
const BETTER: [Need; 1] = [Need::for_more(
    CAP_FOWNER,
    "find the holes of other users' files in ramfs",
)];

/// All that any target may ask for.
pub fn all() -> Vec<Need> {
    let lists: [&[Need]; 7] = [
        &ENTERING, &PROCESSES, &FILES, &IPC, &NETWORKS, &TASKS, &BETTER,
    ];
    lists.concat()
}

/// Of what single tasks ask for, all that this process lacks.
pub(crate) fn missing_for_tasks() -> Vec<Need> {
    lacking(TASKS)
}

/// Before a mount namespace is entered.
pub(super) fn check_entering() -> Result<(), DumpError> {
    check(&ENTERING)
}

/// Before a network namespace is entered.
pub(super) fn check_networks() -> Result<(), DumpError> {
    check(&NETWORKS)
}

/// When a process may not be looked at.
pub(super) fn check_processes() -> Result<(), DumpError> {
    check(&PROCESSES)
}

/// When a file may not be read.
pub(super) fn check_files() -> Result<(), DumpError> {
    check(&FILES)
}

/// Before an ipc namespace is entered.
pub(super) fn check_ipc() -> Result<(), DumpError> {
    check(&IPC)
}

/// Names all of them that are missing.
fn check(needs: &[Need]) -> Result<(), DumpError> {
    let missing = lacking(needs.iter().copied());
    match missing.is_empty() {
        true => Ok(()),
        false => Err(DumpError::Capabilities {
            missing,
            advice: String::new(),
        }),
    }
}

//! What whoever restores has to hold for tasks.
//!
//! Kind: pure.

use super::compile::Machine;
use crate::roles::spec::TRACER;
use crux_image::tasks::{Process, ProcessState, Tasks};
use crux_role::{Capability, Need};

use Capability::{
    CAP_BPF, CAP_DAC_OVERRIDE, CAP_NET_ADMIN, CAP_SETGID, CAP_SETPCAP, CAP_SETUID, CAP_SYS_NICE,
    CAP_SYS_PTRACE,
};

const GROUPS: Need = Need::for_work(CAP_SETGID, "give tasks their groups");
const BOUNDS: Need = Need::for_work(CAP_SETPCAP, "give tasks their bounding sets");
const USERS: Need = Need::for_work(CAP_SETUID, "give tasks their user ids");
const OTHERS: Need = Need::for_work(
    CAP_SYS_PTRACE,
    "finish tasks of other users, and such as hold capabilities",
);

const PROGRAMS: [Need; 2] = [
    Need::for_work(CAP_BPF, "load eBPF programs of cgroups"),
    Need::for_work(
        CAP_NET_ADMIN,
        "attach eBPF programs to cgroups, and load those that filter packets",
    ),
];

/// Asked for where a cgroup is: who lacks them reads so in the step that fails.
const CGROUPS: [Need; 2] = [
    Need::for_more(
        CAP_DAC_OVERRIDE,
        "make cgroups beneath those of other users, and move tasks there",
    ),
    Need::for_more(
        CAP_SYS_NICE,
        "move tasks of other users into cgroups of processors",
    ),
];

/// All that any tasks may ask for.
pub(crate) const ALL: [Need; 8] = [
    GROUPS,
    BOUNDS,
    USERS,
    OTHERS,
    CGROUPS[0],
    CGROUPS[1],
    PROGRAMS[0],
    PROGRAMS[1],
];

/// What these tasks ask for, and is not there.
pub(crate) fn missing(tasks: &Tasks, machine: &Machine) -> Vec<Need> {
    let bit = |capability: Capability| 1_u64 << capability.index();
    let alive = || {
        let all = tasks.processes.iter();
        all.filter(|it| !matches!(it.state, ProcessState::Zombie(_)))
    };
    let traced = TRACER.iter().fold(0, |all, it| all | bit(*it)) & !bit(CAP_SYS_PTRACE);
    let other_user = |process: &Process| {
        let mut threads = process.threads.iter();
        threads.any(|it| it.credentials.uids != [machine.uid; 4])
    };
    let out_of_reach = |process: &Process| {
        let holds = |sets: &crux_image::tasks::Capabilities| sets.permitted & !traced != 0;
        let mut threads = process.threads.iter();
        process.dumpable != 1
            || other_user(process)
            || threads.any(|it| {
                it.credentials.gids != [machine.gid; 4] || holds(&it.credentials.capabilities)
            })
    };
    let needed = ALL.into_iter().filter(|need| match need.capability {
        CAP_SETUID => alive().any(other_user),
        CAP_SYS_PTRACE => alive().any(out_of_reach),
        CAP_SETGID | CAP_SETPCAP => true,
        CAP_BPF | CAP_NET_ADMIN => !tasks.programs.is_empty(),
        _ => false,
    });
    needed
        .filter(|need| machine.capabilities & bit(need.capability) == 0)
        .collect()
}

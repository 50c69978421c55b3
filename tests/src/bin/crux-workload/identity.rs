//! Who a process is, and what it has set for itself.
//!
//! Kind: effect.

use super::{Verify, same, sys};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

/// Ids, groups, limits, names; what /proc says of all of it.
pub(crate) fn kept() -> Verify {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o027));
    setrlimit(Resource::RLIMIT_CORE, 4096, 8192).expect("setrlimit");
    sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
    sys::prctl(libc::PR_SET_TIMERSLACK, 123_456);
    sys::prctl(libc::PR_SET_KEEPCAPS, 1);
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &first_processor())
        .expect("affinity");
    setgroups(&[Gid::from_raw(7), Gid::from_raw(8)]).expect("setgroups");
    let gid = Gid::from_raw;
    setresgid(gid(10), gid(11), gid(12)).expect("setresgid");
    let uid = Uid::from_raw;
    setresuid(uid(20), uid(21), uid(22)).expect("setresuid");
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1);
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGUSR2 as u64);
    sys::prctl(libc::PR_SET_DUMPABLE, 1);
    sys::set_name(c"somebody else");
    let before = looks();
    Box::new(move || {
        let mut wrong: Vec<String> = Vec::new();
        for ((what, found), (_, wanted)) in looks().into_iter().zip(&before) {
            wrong.extend(same(&what, found, wanted.clone()));
        }
        wrong
    })
}

fn first_processor() -> nix::sched::CpuSet {
    let mut set = nix::sched::CpuSet::new();
    set.set(0).expect("processor 0");
    set
}

/// Everything that can be asked.
fn looks() -> Vec<(String, String)> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let wanted = [
        "Name",
        "Umask",
        "Uid",
        "Gid",
        "Groups",
        "NSpid",
        "NSpgid",
        "NSsid",
        "SigBlk",
        "SigIgn",
        "SigCgt",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "Cpus_allowed",
        "Threads",
        "TracerPid",
    ];
    let lines = status.lines().filter_map(|line| line.split_once(':'));
    let mut all: Vec<(String, String)> = lines
        .filter(|(name, _)| wanted.contains(name))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    for name in [
        "limits",
        "personality",
        "comm",
        "cmdline",
        "environ",
        "cgroup",
        "oom_score_adj",
    ] {
        let text = std::fs::read_to_string(format!("/proc/self/{name}"));
        all.push((name.into(), text.unwrap_or_else(|error| error.to_string())));
    }
    let asked = |option: i32| sys::prctl(option, 0).to_string();
    for (name, option) in [
        ("timer slack", libc::PR_GET_TIMERSLACK),
        ("dumpable", libc::PR_GET_DUMPABLE),
        ("securebits", libc::PR_GET_SECUREBITS),
        ("keepcaps", libc::PR_GET_KEEPCAPS),
    ] {
        all.push((name.into(), asked(option)));
    }
    let core = getrlimit(Resource::RLIMIT_CORE).unwrap_or_default();
    all.push(("core".into(), format!("{core:?}")));
    for link in ["exe", "cwd", "root"] {
        let path = std::fs::read_link(format!("/proc/self/{link}"));
        all.push((link.into(), format!("{path:?}")));
    }
    all
}

//! Calls that only read, for dump: the task is to go on as if nothing had happened.
//!
//! Kind: pure, two tables. None of them sleeps, sets a restart block, or changes the mask of signals.

use super::kind::Kind::{Fd, Is, OneOf, UpTo, Value, Zero};
use super::kind::{Form, SIGNAL, SIGSET, form, names, room};
use super::signals::SIGACTION;

pub(super) const FORMS: &[Form] = &[
    form(
        libc::SYS_rt_sigaction,
        "rt_sigaction",
        &[
            ("signal", SIGNAL),
            ("new", Zero),
            ("old", room(SIGACTION)),
            ("size", SIGSET),
        ],
    ),
    form(
        libc::SYS_sigaltstack,
        "sigaltstack",
        &[("new", Zero), ("old", room(24))],
    ),
    form(
        libc::SYS_getitimer,
        "getitimer",
        &[
            (
                "which",
                OneOf(names![ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF]),
            ),
            ("value", room(32)),
        ],
    ),
    form(
        libc::SYS_timer_gettime,
        "timer_gettime",
        &[("id", Value), ("value", room(32))],
    ),
    form(
        libc::SYS_timer_getoverrun,
        "timer_getoverrun",
        &[("id", Value)],
    ),
    form(
        libc::SYS_get_robust_list,
        "get_robust_list",
        &[("pid", Is("0", 0)), ("head", room(8)), ("length", room(8))],
    ),
    form(libc::SYS_brk, "brk", &[("address", Zero)]),
    form(libc::SYS_getpid, "getpid", &[]),
    form(libc::SYS_gettid, "gettid", &[]),
    form(libc::SYS_uname, "uname", &[("name", room(390))]),
    form(
        libc::SYS_arch_prctl,
        "arch_prctl",
        &[("code", Is("ARCH_GET_FS", 0x1003)), ("value", room(8))],
    ),
    form(
        libc::SYS_arch_prctl,
        "arch_prctl",
        &[("code", Is("ARCH_GET_GS", 0x1004)), ("value", room(8))],
    ),
    form(
        libc::SYS_arch_prctl,
        "arch_prctl",
        &[("code", Is("ARCH_GET_CPUID", 0x1011))],
    ),
    form(
        libc::SYS_capget,
        "capget",
        &[("header", room(8)), ("sets", room(24))],
    ),
    form(
        libc::SYS_prlimit64,
        "prlimit64",
        &[
            ("pid", Is("0", 0)),
            ("resource", UpTo(15)),
            ("new", Zero),
            ("old", room(16)),
        ],
    ),
    form(
        libc::SYS_sched_getattr,
        "sched_getattr",
        &[
            ("pid", Is("0", 0)),
            ("attributes", room(56)),
            ("size", Is("56", 56)),
            ("flags", Zero),
        ],
    ),
    form(
        libc::SYS_ioprio_get,
        "ioprio_get",
        &[("which", Is("IOPRIO_WHO_PROCESS", 1)), ("who", Is("0", 0))],
    ),
    form(
        libc::SYS_getpriority,
        "getpriority",
        &[("which", Is("PRIO_PROCESS", 0)), ("who", Is("0", 0))],
    ),
    form(
        libc::SYS_personality,
        "personality",
        &[("persona", Is("0xffffffff", 0xffff_ffff))],
    ),
    form(
        libc::SYS_fcntl,
        "fcntl",
        &[("fd", Fd), ("command", Is("F_GETSIG", 11))],
    ),
    form(
        libc::SYS_fcntl,
        "fcntl",
        &[
            ("fd", Fd),
            ("command", Is("F_GETOWN_EX", 16)),
            ("value", room(8)),
        ],
    ),
    form(
        libc::SYS_fcntl,
        "fcntl",
        &[
            ("fd", Fd),
            ("command", Is("F_GETLEASE", libc::F_GETLEASE as u64)),
        ],
    ),
    form(
        libc::SYS_fcntl,
        "fcntl",
        &[
            ("fd", Fd),
            ("command", Is("F_GETPIPE_SZ", libc::F_GETPIPE_SZ as u64)),
        ],
    ),
];

macro_rules! prctl {
    ($($option:ident $number:expr, $($kind:expr),*;)*) => {
        &[$(form(
            libc::SYS_prctl,
            "prctl",
            &[("option", Is(stringify!($option), $number as u64)), $(("value", $kind)),*],
        )),*]
    };
}

pub(super) const PRCTL: &[Form] = prctl![
    PR_GET_NAME libc::PR_GET_NAME, room(16);
    PR_GET_PDEATHSIG libc::PR_GET_PDEATHSIG, room(4);
    PR_GET_DUMPABLE libc::PR_GET_DUMPABLE, Zero;
    PR_GET_KEEPCAPS libc::PR_GET_KEEPCAPS, Zero;
    PR_GET_SECUREBITS libc::PR_GET_SECUREBITS, Zero;
    PR_GET_NO_NEW_PRIVS libc::PR_GET_NO_NEW_PRIVS, Zero, Zero, Zero, Zero;
    PR_GET_SECCOMP libc::PR_GET_SECCOMP, Zero;
    PR_GET_TIMERSLACK libc::PR_GET_TIMERSLACK, Zero;
    PR_GET_TIMING libc::PR_GET_TIMING, Zero;
    PR_GET_THP_DISABLE libc::PR_GET_THP_DISABLE, Zero, Zero, Zero, Zero;
    PR_GET_CHILD_SUBREAPER libc::PR_GET_CHILD_SUBREAPER, room(4);
    PR_GET_TID_ADDRESS libc::PR_GET_TID_ADDRESS, room(8);
    PR_GET_IO_FLUSHER 58, Zero, Zero, Zero, Zero;
    PR_GET_MEMORY_MERGE 68, Zero, Zero, Zero, Zero;
    PR_GET_MDWE 66, Zero, Zero, Zero, Zero;
    PR_GET_TSC libc::PR_GET_TSC, room(4);
    PR_MCE_KILL_GET libc::PR_MCE_KILL_GET, Zero, Zero, Zero, Zero;
    PR_GET_SPECULATION_CTRL libc::PR_GET_SPECULATION_CTRL, UpTo(2), Zero, Zero, Zero;
];

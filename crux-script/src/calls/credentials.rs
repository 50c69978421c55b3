//! Calls on credentials, limits and scheduling, for restore.
//!
//! Kind: pure, a table. All are about the caller itself.

use super::kind::Kind::{Fd, Flags, In, Is, OneOf, Pid, UpTo, Value, Zero};
use super::kind::{Form, Kind, Names, Null, Size, form, input};

const ID: Kind = UpTo(u32::MAX as u64);

/// `CLONE_NEWTIME`; libc has it only for some targets.
const NEWTIME: u64 = 0x80;

/// Kinds of namespaces.
const NAMESPACES: Names = &[
    ("CLONE_NEWTIME", NEWTIME),
    ("CLONE_NEWNS", libc::CLONE_NEWNS as u64),
    ("CLONE_NEWCGROUP", libc::CLONE_NEWCGROUP as u64),
    ("CLONE_NEWUTS", libc::CLONE_NEWUTS as u64),
    ("CLONE_NEWIPC", libc::CLONE_NEWIPC as u64),
    ("CLONE_NEWUSER", libc::CLONE_NEWUSER as u64),
    ("CLONE_NEWPID", libc::CLONE_NEWPID as u64),
    ("CLONE_NEWNET", libc::CLONE_NEWNET as u64),
];

const UNSHARE: Names = &[
    ("CLONE_FS", libc::CLONE_FS as u64),
    ("CLONE_FILES", libc::CLONE_FILES as u64),
    ("CLONE_SYSVSEM", libc::CLONE_SYSVSEM as u64),
    ("CLONE_NEWTIME", NEWTIME),
    ("CLONE_NEWCGROUP", libc::CLONE_NEWCGROUP as u64),
    ("CLONE_NEWUTS", libc::CLONE_NEWUTS as u64),
    ("CLONE_NEWIPC", libc::CLONE_NEWIPC as u64),
    ("CLONE_NEWUSER", libc::CLONE_NEWUSER as u64),
    ("CLONE_NEWPID", libc::CLONE_NEWPID as u64),
    ("CLONE_NEWNET", libc::CLONE_NEWNET as u64),
    ("CLONE_NEWNS", libc::CLONE_NEWNS as u64),
];

pub(super) const FORMS: &[Form] = &[
    form(
        libc::SYS_setresuid,
        "setresuid",
        &[("real", ID), ("effective", ID), ("saved", ID)],
    ),
    form(
        libc::SYS_setresgid,
        "setresgid",
        &[("real", ID), ("effective", ID), ("saved", ID)],
    ),
    form(libc::SYS_setfsuid, "setfsuid", &[("id", ID)]),
    form(libc::SYS_setfsgid, "setfsgid", &[("id", ID)]),
    form(
        libc::SYS_setgroups,
        "setgroups",
        &[
            ("count", UpTo(65536)),
            ("groups", In(Size::Each(0, 4), Null::Allowed)),
        ],
    ),
    form(
        libc::SYS_capset,
        "capset",
        &[("header", input(8)), ("sets", input(24))],
    ),
    form(
        libc::SYS_prlimit64,
        "prlimit64",
        &[
            ("pid", Is("0", 0)),
            ("resource", UpTo(15)),
            ("new", input(16)),
            ("old", Zero),
        ],
    ),
    form(
        libc::SYS_sched_setattr,
        "sched_setattr",
        &[
            ("pid", Is("0", 0)),
            // struct sched_attr says its own size, at most this.
            ("attributes", input(56)),
            ("flags", Zero),
        ],
    ),
    form(
        libc::SYS_sched_setaffinity,
        "sched_setaffinity",
        &[
            ("pid", Is("0", 0)),
            ("length", UpTo(1024)),
            ("set", In(Size::Argument(1), Null::Refused)),
        ],
    ),
    form(
        libc::SYS_setpriority,
        "setpriority",
        &[
            ("which", Is("PRIO_PROCESS", 0)),
            ("who", Is("0", 0)),
            ("nice", Value),
        ],
    ),
    form(
        libc::SYS_ioprio_set,
        "ioprio_set",
        &[
            ("which", Is("IOPRIO_WHO_PROCESS", 1)),
            ("who", Is("0", 0)),
            ("priority", UpTo(0xffff)),
        ],
    ),
    form(
        libc::SYS_personality,
        "personality",
        &[("persona", UpTo(u32::MAX as u64))],
    ),
    form(
        libc::SYS_sethostname,
        "sethostname",
        &[("name", Kind::Memory(1)), ("length", UpTo(64))],
    ),
    form(
        libc::SYS_setdomainname,
        "setdomainname",
        &[("name", Kind::Memory(1)), ("length", UpTo(64))],
    ),
    form(libc::SYS_setsid, "setsid", &[]),
    form(
        libc::SYS_setpgid,
        "setpgid",
        &[("pid", UpTo(1 << 22)), ("group", UpTo(1 << 22))],
    ),
    form(libc::SYS_getpid, "getpid", &[]),
    form(libc::SYS_gettid, "gettid", &[]),
    form(libc::SYS_getppid, "getppid", &[]),
    form(
        libc::SYS_setns,
        "setns",
        &[("fd", Fd), ("kind", Flags(NAMESPACES))],
    ),
    form(libc::SYS_unshare, "unshare", &[("flags", Flags(UNSHARE))]),
    form(
        libc::SYS_pidfd_open,
        "pidfd_open",
        &[
            ("pid", Pid),
            (
                "flags",
                OneOf(&[
                    ("0", 0),
                    ("PIDFD_NONBLOCK", 0o4000),
                    ("PIDFD_THREAD", 0o200),
                ]),
            ),
        ],
    ),
];

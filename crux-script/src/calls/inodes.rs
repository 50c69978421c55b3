//! Calls on files themselves, by a descriptor: contents, owner, mode, times, locks; for restore.
//!
//! Kind: pure, a table.

use super::kind::Kind::{Fd, In, Length, OneOf, UpTo, Zero};
use super::kind::{Form, Names, Null, PATH, Size, form, input};

/// With `LOCK_NB`: nobody waits.
const FLOCK: Names = &[
    ("LOCK_SH|LOCK_NB", (libc::LOCK_SH | libc::LOCK_NB) as u64),
    ("LOCK_EX|LOCK_NB", (libc::LOCK_EX | libc::LOCK_NB) as u64),
];

pub(super) const FORMS: &[Form] = &[
    form(
        libc::SYS_sendfile,
        "sendfile",
        &[
            ("to", Fd),
            ("from", Fd),
            ("offset", input(8)),
            ("length", Length),
        ],
    ),
    form(
        libc::SYS_fchown,
        "fchown",
        &[
            ("fd", Fd),
            ("uid", UpTo(u32::MAX as u64)),
            ("gid", UpTo(u32::MAX as u64)),
        ],
    ),
    form(
        libc::SYS_fchmod,
        "fchmod",
        &[("fd", Fd), ("mode", UpTo(0o7777))],
    ),
    form(
        libc::SYS_fsetxattr,
        "fsetxattr",
        &[
            ("fd", Fd),
            ("name", In(Size::String(256), Null::Refused)),
            ("value", In(Size::Argument(3), Null::Refused)),
            ("length", Length),
            ("flags", Zero),
        ],
    ),
    // Of a descriptor: without a path.
    form(
        libc::SYS_utimensat,
        "utimensat",
        &[
            ("fd", Fd),
            ("path", Zero),
            ("times", input(32)),
            ("flags", Zero),
        ],
    ),
    form(
        libc::SYS_mkdirat,
        "mkdirat",
        &[("directory", Fd), ("path", PATH), ("mode", UpTo(0o7777))],
    ),
    form(
        libc::SYS_flock,
        "flock",
        &[("fd", Fd), ("operation", OneOf(FLOCK))],
    ),
    form(
        libc::SYS_pidfd_getfd,
        "pidfd_getfd",
        &[
            ("process", Fd),
            ("fd", UpTo(i32::MAX as u64)),
            ("flags", Zero),
        ],
    ),
];

//! Calls on files and descriptors, for restore.
//!
//! Kind: pure, a table. That paths lead to what was granted is for the planner and for `openat2`.

use super::kind::Kind::{
    self, DirFd, Fd, FdOrNone, Flags, In, Is, Length, Memory, OneOf, UpTo, Value, Zero,
};
use super::kind::{Form, Names, Null, PATH, SIGSET, Size, form, input, input_or_null, names, room};
use super::rules;

pub(super) const OPEN: Names = &[
    ("O_WRONLY", libc::O_WRONLY as u64),
    ("O_RDWR", libc::O_RDWR as u64),
    ("O_CREAT", libc::O_CREAT as u64),
    ("O_EXCL", libc::O_EXCL as u64),
    ("O_NOCTTY", libc::O_NOCTTY as u64),
    ("O_TRUNC", libc::O_TRUNC as u64),
    ("O_APPEND", libc::O_APPEND as u64),
    ("O_NONBLOCK", libc::O_NONBLOCK as u64),
    ("O_ASYNC", libc::O_ASYNC as u64),
    ("O_DIRECT", libc::O_DIRECT as u64),
    // What libc calls O_LARGEFILE is 0.
    ("O_LARGEFILE", 0o100_000),
    ("O_NOFOLLOW", libc::O_NOFOLLOW as u64),
    ("O_NOATIME", libc::O_NOATIME as u64),
    ("O_CLOEXEC", libc::O_CLOEXEC as u64),
    ("O_PATH", libc::O_PATH as u64),
    ("O_TMPFILE", libc::O_TMPFILE as u64),
    ("O_DIRECTORY", libc::O_DIRECTORY as u64),
    // O_SYNC holds O_DSYNC.
    ("O_SYNC", libc::O_SYNC as u64),
    ("O_DSYNC", libc::O_DSYNC as u64),
];

const PIPE: Names = names![O_CLOEXEC, O_NONBLOCK, O_DIRECT];
const CLOEXEC_NONBLOCK: Names = names![O_CLOEXEC, O_NONBLOCK];
const EVENTFD: Names = names![EFD_SEMAPHORE, EFD_NONBLOCK, EFD_CLOEXEC];
const EPOLL_OP: Names = names![EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL];
const MEMFD: Names = names![
    MFD_CLOEXEC,
    MFD_ALLOW_SEALING,
    MFD_HUGETLB,
    MFD_NOEXEC_SEAL,
    MFD_EXEC,
    MFD_HUGE_2MB,
    MFD_HUGE_1GB,
];
/// A name in a directory (`NAME_MAX`).
const NAME: Kind = In(Size::String(256), Null::Refused);
const ALONE: Kind = Is("256", libc::AT_SYMLINK_NOFOLLOW as u64);
const WHENCE: Names = names![SEEK_SET, SEEK_CUR, SEEK_END];

macro_rules! fcntl {
    ($($command:ident $value:expr, $kind:expr;)*) => {
        &[$(form(
            libc::SYS_fcntl,
            "fcntl",
            &[("fd", Fd), ("command", Is(stringify!($command), $value)), ("value", $kind)],
        )),*]
    };
}

pub(super) const FCNTL: &[Form] = fcntl![
    F_DUPFD libc::F_DUPFD as u64, UpTo(1 << 30);
    F_DUPFD_CLOEXEC libc::F_DUPFD_CLOEXEC as u64, UpTo(1 << 30);
    F_GETFD libc::F_GETFD as u64, Zero;
    F_SETFD libc::F_SETFD as u64, Flags(names![FD_CLOEXEC]);
    F_GETFL libc::F_GETFL as u64, Zero;
    F_SETFL libc::F_SETFL as u64, Flags(OPEN);
    F_SETSIG 10, UpTo(64);
    F_SETOWN_EX 15, input(8);
    F_SETLK libc::F_SETLK as u64, input(32);
    F_OFD_SETLK libc::F_OFD_SETLK as u64, input(32);
    F_SETLEASE libc::F_SETLEASE as u64, OneOf(names![F_RDLCK, F_WRLCK, F_UNLCK]);
    F_SETPIPE_SZ libc::F_SETPIPE_SZ as u64, Length;
    F_ADD_SEALS libc::F_ADD_SEALS as u64, UpTo(0x3f);
];

pub(super) const FORMS: &[Form] = &[
    form(
        libc::SYS_openat,
        "openat",
        &[
            ("directory", DirFd),
            ("path", PATH),
            ("flags", Flags(OPEN)),
            ("mode", UpTo(0o7777)),
        ],
    ),
    form(
        libc::SYS_openat2,
        "openat2",
        &[
            ("directory", DirFd),
            ("path", PATH),
            // struct open_how: flags, mode, resolve.
            ("how", input(24)),
            ("size", Is("24", 24)),
        ],
    ),
    form(libc::SYS_close, "close", &[("fd", Fd)]),
    form(
        libc::SYS_close_range,
        "close_range",
        &[
            ("first", UpTo(u32::MAX as u64)),
            ("last", UpTo(u32::MAX as u64)),
            (
                "flags",
                Flags(&[("CLOSE_RANGE_UNSHARE", 2), ("CLOSE_RANGE_CLOEXEC", 4)]),
            ),
        ],
    ),
    form(
        libc::SYS_dup3,
        "dup3",
        &[
            ("old", Fd),
            ("new", Fd),
            ("flags", Flags(names![O_CLOEXEC])),
        ],
    ),
    form(
        libc::SYS_pipe2,
        "pipe2",
        &[("fds", room(8)), ("flags", Flags(PIPE))],
    ),
    form(
        libc::SYS_lseek,
        "lseek",
        &[("fd", Fd), ("offset", Value), ("whence", OneOf(WHENCE))],
    ),
    form(
        libc::SYS_ftruncate,
        "ftruncate",
        &[("fd", Fd), ("length", Length)],
    ),
    form(
        libc::SYS_read,
        "read",
        &[("fd", Fd), ("buffer", Memory(2)), ("length", Length)],
    ),
    form(
        libc::SYS_write,
        "write",
        &[("fd", Fd), ("buffer", Memory(2)), ("length", Length)],
    ),
    form(
        libc::SYS_pread64,
        "pread64",
        &[
            ("fd", Fd),
            ("buffer", Memory(2)),
            ("length", Length),
            ("offset", Value),
        ],
    ),
    form(
        libc::SYS_pwrite64,
        "pwrite64",
        &[
            ("fd", Fd),
            ("buffer", Memory(2)),
            ("length", Length),
            ("offset", Value),
        ],
    ),
    form(
        libc::SYS_eventfd2,
        "eventfd2",
        &[("count", UpTo(u32::MAX as u64)), ("flags", Flags(EVENTFD))],
    ),
    form(
        libc::SYS_timerfd_create,
        "timerfd_create",
        &[("clock", UpTo(11)), ("flags", Flags(CLOEXEC_NONBLOCK))],
    ),
    form(
        libc::SYS_timerfd_settime,
        "timerfd_settime",
        &[
            ("fd", Fd),
            (
                "flags",
                Flags(names![TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET]),
            ),
            ("new", input(32)),
            ("old", Zero),
        ],
    ),
    form(
        libc::SYS_ioctl,
        "ioctl",
        &[
            ("fd", Fd),
            ("request", Is("TFD_IOC_SET_TICKS", 0x4008_5400)),
            ("ticks", input(8)),
        ],
    ),
    form(
        libc::SYS_signalfd4,
        "signalfd4",
        &[
            ("fd", FdOrNone),
            ("mask", input(8)),
            ("size", SIGSET),
            ("flags", Flags(CLOEXEC_NONBLOCK)),
        ],
    ),
    form(
        libc::SYS_epoll_create1,
        "epoll_create1",
        &[("flags", Flags(names![EPOLL_CLOEXEC]))],
    ),
    form(
        libc::SYS_epoll_ctl,
        "epoll_ctl",
        &[
            ("epoll", Fd),
            ("operation", OneOf(EPOLL_OP)),
            ("fd", Fd),
            ("event", input_or_null(12)),
        ],
    ),
    form(
        libc::SYS_epoll_pwait,
        "epoll_pwait",
        &[
            ("epoll", Fd),
            ("events", Kind::Out(Size::Each(2, 12), Null::Refused)),
            ("count", UpTo(1024)),
            // It waits for nothing.
            ("timeout", Zero),
            ("mask", Zero),
        ],
    ),
    form(
        libc::SYS_inotify_init1,
        "inotify_init1",
        &[("flags", Flags(CLOEXEC_NONBLOCK))],
    ),
    form(
        libc::SYS_inotify_add_watch,
        "inotify_add_watch",
        &[("fd", Fd), ("path", PATH), ("mask", UpTo(u32::MAX as u64))],
    ),
    form(
        libc::SYS_inotify_rm_watch,
        "inotify_rm_watch",
        &[("fd", Fd), ("watch", Value)],
    ),
    form(
        libc::SYS_memfd_create,
        "memfd_create",
        &[
            ("name", In(Size::String(250), Null::Refused)),
            ("flags", Flags(MEMFD)),
        ],
    ),
    // The file of a socket is made by bind(2), where none may be; a directory that is to be without a name
    // has one first.
    form(
        libc::SYS_unlinkat,
        "unlinkat",
        &[
            ("directory", Fd),
            ("name", NAME),
            ("flags", Flags(names![AT_REMOVEDIR])),
        ],
    )
    .also(rules::one_name),
    form(
        libc::SYS_fchownat,
        "fchownat",
        &[
            ("directory", Fd),
            ("name", NAME),
            ("uid", UpTo(u32::MAX as u64)),
            ("gid", UpTo(u32::MAX as u64)),
            ("flags", ALONE),
        ],
    )
    .also(rules::one_name),
    form(
        libc::SYS_fchmodat,
        "fchmodat",
        &[("directory", Fd), ("name", NAME), ("mode", UpTo(0o7777))],
    )
    .also(rules::one_name),
    form(
        libc::SYS_utimensat,
        "utimensat",
        &[
            ("directory", Fd),
            ("name", NAME),
            ("times", input(32)),
            ("flags", ALONE),
        ],
    )
    .also(rules::one_name),
    form(libc::SYS_chdir, "chdir", &[("path", PATH)]),
    form(libc::SYS_fchdir, "fchdir", &[("fd", Fd)]),
    form(libc::SYS_chroot, "chroot", &[("path", PATH)]),
    form(libc::SYS_umask, "umask", &[("mask", UpTo(0o777))]),
];

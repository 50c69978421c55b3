//! Calls on signals, for restore.
//!
//! Kind: pure, a table. SIGTRAP stays unblocked, as stops are made of it: the tracer sets a
//! task's own mask last, from outside.

use super::kind::Kind::{Is, OneOf, Out, Pid, UpTo, Zero};
use super::kind::{
    Form, Null, SIGNAL, SIGSET, Size, form, input, input_or_null, names, room_or_null,
};
use super::rules;

/// The kernel's struct sigaction.
pub(super) const SIGACTION: u64 = 32;
/// siginfo_t
const SIGINFO: u64 = 128;

pub(super) const FORMS: &[Form] = &[
    form(
        libc::SYS_rt_sigaction,
        "rt_sigaction",
        &[
            ("signal", SIGNAL),
            ("new", input(SIGACTION)),
            ("old", Zero),
            ("size", SIGSET),
        ],
    ),
    form(
        libc::SYS_rt_sigprocmask,
        "rt_sigprocmask",
        &[
            ("how", OneOf(names![SIG_SETMASK, SIG_BLOCK, SIG_UNBLOCK])),
            ("set", input(8)),
            ("old", Zero),
            ("size", SIGSET),
        ],
    )
    .also(rules::leaves_trap_unblocked),
    form(
        libc::SYS_rt_sigtimedwait,
        "rt_sigtimedwait",
        &[
            ("set", input(8)),
            ("info", Out(Size::Fixed(SIGINFO), Null::Allowed)),
            ("timeout", input_or_null(16)),
            ("size", SIGSET),
        ],
    ),
    form(
        libc::SYS_rt_sigqueueinfo,
        "rt_sigqueueinfo",
        &[("pid", Pid), ("signal", SIGNAL), ("info", input(SIGINFO))],
    ),
    form(
        libc::SYS_rt_tgsigqueueinfo,
        "rt_tgsigqueueinfo",
        &[
            ("pid", Pid),
            ("thread", Pid),
            ("signal", SIGNAL),
            ("info", input(SIGINFO)),
        ],
    ),
    form(
        libc::SYS_sigaltstack,
        "sigaltstack",
        &[("new", input(24)), ("old", Zero)],
    ),
    form(libc::SYS_kill, "kill", &[("pid", Pid), ("signal", SIGNAL)]),
    form(
        libc::SYS_tgkill,
        "tgkill",
        &[("pid", Pid), ("thread", Pid), ("signal", SIGNAL)],
    ),
    form(
        libc::SYS_wait4,
        "wait4",
        &[
            ("pid", Pid),
            ("status", room_or_null(4)),
            ("options", UpTo(0xffff_ffff)),
            ("usage", Zero),
        ],
    ),
    form(
        libc::SYS_waitid,
        "waitid",
        &[
            ("kind", Is("P_PID", libc::P_PID as u64)),
            ("pid", Pid),
            ("info", room_or_null(SIGINFO)),
            ("options", UpTo(0xffff_ffff)),
            ("usage", Zero),
        ],
    ),
];

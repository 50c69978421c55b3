//! Calls on time and timers, for restore.
//!
//! Kind: pure, a table. A POSIX timer's id is asked for with prctl `PR_TIMER_CREATE_RESTORE_IDS` (Linux 6.15);
//! before, timers are created and deleted until the id comes.

use super::kind::Kind::{Flags, Is, OneOf, UpTo, Value, Zero};
use super::kind::{Form, Kind, Names, form, input, input_or_null, names, room, room_or_null};

const ABSOLUTE: Names = names![TIMER_ABSTIME];

/// Every clock has a number; those of processes and threads have negative ones.
const CLOCK: Kind = Value;

pub(super) const FORMS: &[Form] = &[
    form(
        libc::SYS_setitimer,
        "setitimer",
        &[
            (
                "which",
                OneOf(names![ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF]),
            ),
            ("new", input(32)),
            ("old", Zero),
        ],
    ),
    form(
        libc::SYS_timer_create,
        "timer_create",
        // struct sigevent; the id is read as well, where ids are restored.
        &[
            ("clock", CLOCK),
            ("event", input_or_null(64)),
            ("id", room(4)),
        ],
    ),
    form(
        libc::SYS_timer_settime,
        "timer_settime",
        &[
            ("id", Value),
            ("flags", Flags(ABSOLUTE)),
            ("new", input(32)),
            ("old", Zero),
        ],
    ),
    form(libc::SYS_timer_delete, "timer_delete", &[("id", Value)]),
    form(
        libc::SYS_clock_nanosleep,
        "clock_nanosleep",
        &[
            ("clock", CLOCK),
            ("flags", Flags(ABSOLUTE)),
            ("time", input(16)),
            ("left", room_or_null(16)),
        ],
    ),
    // Words of the arena alone: what tasks wait for together is there.
    form(
        libc::SYS_futex,
        "futex",
        &[
            ("word", room(4)),
            ("operation", Is("FUTEX_WAIT", libc::FUTEX_WAIT as u64)),
            ("value", UpTo(u32::MAX as u64)),
            ("timeout", input_or_null(16)),
        ],
    ),
    form(
        libc::SYS_futex,
        "futex",
        &[
            ("word", room(4)),
            ("operation", Is("FUTEX_WAKE", libc::FUTEX_WAKE as u64)),
            ("count", UpTo(i32::MAX as u64)),
        ],
    ),
    form(
        libc::SYS_futex,
        "futex",
        &[
            ("word", room(4)),
            ("operation", Is("FUTEX_WAKE_OP", libc::FUTEX_WAKE_OP as u64)),
            ("count", UpTo(i32::MAX as u64)),
            ("count2", UpTo(i32::MAX as u64)),
            ("word2", room(4)),
            ("encoded", UpTo(u32::MAX as u64)),
        ],
    ),
];

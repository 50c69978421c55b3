//! Calls that make, mark and end tasks, for restore.
//!
//! Kind: pure, two tables.

use super::kind::Kind::{Address, Is, UpTo, Value, Zero};
use super::kind::{Form, Kind, Null, Size, form, input};
use super::rules;

/// struct clone_args up to `cgroup` (clone3(2)).
pub(crate) const CLONE_ARGS: u64 = 88;

pub(super) const FORMS: &[Form] = &[
    form(
        libc::SYS_clone3,
        "clone3",
        &[
            ("arguments", input(CLONE_ARGS)),
            ("size", Is("88", CLONE_ARGS)),
        ],
    )
    .also(rules::clone),
    form(
        libc::SYS_set_tid_address,
        "set_tid_address",
        &[("address", Address)],
    ),
    form(
        libc::SYS_set_robust_list,
        "set_robust_list",
        &[("head", Address), ("length", Is("24", 24))],
    ),
    form(
        libc::SYS_rseq,
        "rseq",
        &[
            ("address", Address),
            ("length", UpTo(4096)),
            ("flags", UpTo(1)),
            ("signature", UpTo(u32::MAX as u64)),
        ],
    ),
    form(
        libc::SYS_arch_prctl,
        "arch_prctl",
        &[("code", Is("ARCH_SET_FS", 0x1002)), ("address", Address)],
    ),
    form(
        libc::SYS_arch_prctl,
        "arch_prctl",
        &[("code", Is("ARCH_SET_GS", 0x1001)), ("address", Address)],
    ),
    form(
        libc::SYS_arch_prctl,
        "arch_prctl",
        &[
            ("code", Is("ARCH_MAP_VDSO_64", 0x2003)),
            ("address", Address),
        ],
    ),
    form(libc::SYS_exit, "exit", &[("status", UpTo(255))]),
    form(libc::SYS_exit_group, "exit_group", &[("status", UpTo(255))]),
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

const BIT: Kind = UpTo(1);
const CAPABILITY: Kind = UpTo(63);

pub(super) const PRCTL: &[Form] = prctl![
    PR_SET_NAME libc::PR_SET_NAME, Kind::In(Size::String(16), Null::Refused);
    PR_SET_PDEATHSIG libc::PR_SET_PDEATHSIG, UpTo(64);
    PR_SET_DUMPABLE libc::PR_SET_DUMPABLE, BIT;
    PR_SET_KEEPCAPS libc::PR_SET_KEEPCAPS, BIT;
    PR_SET_SECUREBITS libc::PR_SET_SECUREBITS, UpTo(0xff);
    PR_SET_NO_NEW_PRIVS libc::PR_SET_NO_NEW_PRIVS, Is("1", 1), Zero, Zero, Zero;
    PR_SET_TIMERSLACK libc::PR_SET_TIMERSLACK, Value;
    PR_SET_THP_DISABLE libc::PR_SET_THP_DISABLE, UpTo(1), UpTo(2), Zero, Zero;
    PR_SET_CHILD_SUBREAPER libc::PR_SET_CHILD_SUBREAPER, BIT;
    PR_SET_IO_FLUSHER 57, BIT, Zero, Zero, Zero;
    PR_SET_MEMORY_MERGE 67, BIT, Zero, Zero, Zero;
    PR_SET_MDWE 65, UpTo(3), Zero, Zero, Zero;
    PR_SET_TSC libc::PR_SET_TSC, UpTo(2);
    PR_MCE_KILL libc::PR_MCE_KILL, UpTo(1), UpTo(2), Zero, Zero;
    PR_SET_SPECULATION_CTRL libc::PR_SET_SPECULATION_CTRL, UpTo(2), UpTo(16), Zero, Zero;
    PR_CAPBSET_DROP libc::PR_CAPBSET_DROP, CAPABILITY;
    PR_TIMER_CREATE_RESTORE_IDS 77, BIT, Zero, Zero, Zero;
];

/// Options that have options of their own.
pub(super) const PRCTL2: &[Form] = &[
    form(
        libc::SYS_prctl,
        "prctl",
        &[
            ("option", Is("PR_SET_MM", libc::PR_SET_MM as u64)),
            ("member", Is("PR_SET_MM_MAP", libc::PR_SET_MM_MAP as u64)),
            // struct prctl_mm_map
            ("map", input(104)),
            ("size", Is("104", 104)),
        ],
    )
    .also(rules::memory_map),
    form(
        libc::SYS_prctl,
        "prctl",
        &[
            ("option", Is("PR_CAP_AMBIENT", libc::PR_CAP_AMBIENT as u64)),
            (
                "change",
                Is("PR_CAP_AMBIENT_RAISE", libc::PR_CAP_AMBIENT_RAISE as u64),
            ),
            ("capability", CAPABILITY),
        ],
    ),
    form(
        libc::SYS_prctl,
        "prctl",
        &[
            ("option", Is("PR_CAP_AMBIENT", libc::PR_CAP_AMBIENT as u64)),
            (
                "change",
                Is(
                    "PR_CAP_AMBIENT_CLEAR_ALL",
                    libc::PR_CAP_AMBIENT_CLEAR_ALL as u64,
                ),
            ),
        ],
    ),
    form(
        libc::SYS_prctl,
        "prctl",
        &[
            ("option", Is("PR_SET_VMA", 0x5356_4d41)),
            ("attribute", Is("PR_SET_VMA_ANON_NAME", 0)),
            ("address", Kind::Pages(3)),
            ("length", Kind::Length),
            ("name", Kind::In(Size::String(80), Null::Allowed)),
        ],
    ),
];

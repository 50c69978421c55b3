//! Calls on System V's semaphores, message queues and shared memory, for restore.
//!
//! Kind: pure, a table.

use super::kind::Kind::{Address, Flags, In, Is, Length, UpTo, Value, Zero};
use super::kind::{Form, Names, Null, Size, form, input, names};
use super::rules;

const SHMAT: Names = names![SHM_RDONLY, SHM_EXEC];
/// Mode bits, `IPC_CREAT`, `IPC_EXCL`, and those of shmget(2).
const MAKE: u64 = 0o177_777;
/// The size of the kernel's `struct semid64_ds`, `msqid64_ds` and `shmid64_ds`, or more.
const SETTINGS: u64 = 120;

pub(super) const FORMS: &[Form] = &[
    form(
        libc::SYS_shmget,
        "shmget",
        &[("key", Value), ("size", Length), ("flags", UpTo(MAKE))],
    ),
    form(
        libc::SYS_shmat,
        "shmat",
        &[("id", Value), ("address", Address), ("flags", Flags(SHMAT))],
    )
    .also(rules::attach_at),
    form(
        libc::SYS_shmctl,
        "shmctl",
        &[
            ("id", Value),
            ("command", Is("IPC_SET", libc::IPC_SET as u64)),
            ("buffer", input(112)),
        ],
    ),
    form(
        libc::SYS_shmctl,
        "shmctl",
        &[
            ("id", Value),
            ("command", Is("IPC_RMID", libc::IPC_RMID as u64)),
        ],
    ),
    form(
        libc::SYS_shmctl,
        "shmctl",
        &[("id", Value), ("command", Is("SHM_LOCK", 11))],
    ),
    form(
        libc::SYS_semget,
        "semget",
        &[
            ("key", Value),
            ("count", UpTo(65_536)),
            ("flags", UpTo(MAKE)),
        ],
    ),
    // The kernel takes no number with SETALL: here it says how many values there are.
    form(
        libc::SYS_semctl,
        "semctl",
        &[
            ("id", Value),
            ("count", UpTo(65_536)),
            ("command", Is("SETALL", 17)),
            ("values", In(Size::Each(1, 2), Null::Refused)),
        ],
    ),
    form(
        libc::SYS_semctl,
        "semctl",
        &[
            ("id", Value),
            ("number", UpTo(65_536)),
            ("command", Is("SETVAL", 16)),
            ("value", UpTo(32_767)),
        ],
    ),
    form(
        libc::SYS_semctl,
        "semctl",
        &[
            ("id", Value),
            ("number", Zero),
            ("command", Is("IPC_SET", libc::IPC_SET as u64)),
            ("buffer", input(SETTINGS)),
        ],
    ),
    form(
        libc::SYS_semop,
        "semop",
        &[
            ("id", Value),
            ("operations", In(Size::Each(2, 6), Null::Refused)),
            ("count", UpTo(500)),
        ],
    ),
    form(
        libc::SYS_msgget,
        "msgget",
        &[("key", Value), ("flags", UpTo(MAKE))],
    ),
    form(
        libc::SYS_msgctl,
        "msgctl",
        &[
            ("id", Value),
            ("command", Is("IPC_SET", libc::IPC_SET as u64)),
            ("buffer", input(SETTINGS)),
        ],
    ),
    form(
        libc::SYS_msgsnd,
        "msgsnd",
        &[
            ("id", Value),
            // A word for the type, then the text.
            ("message", input(8)),
            ("length", Length),
            ("flags", Flags(names![IPC_NOWAIT])),
        ],
    )
    .also(rules::queued_message),
];

//! Calls on memory, for restore.
//!
//! Kind: pure, a table. Every range is away from the arena (`Kind::Pages`).

use super::kind::Kind::{Address, Fd, FdOrNone, Flags, In, Is, Length, OneOf, Pages, UpTo, Value};
use super::kind::{Form, Names, Null, Size, form, input, names};
use super::rules;

pub(super) const PROTECTION: Names = names![PROT_READ, PROT_WRITE, PROT_EXEC];

pub(super) const MAP: Names = &[
    ("MAP_SHARED", 1),
    ("MAP_PRIVATE", 2),
    ("MAP_FIXED", libc::MAP_FIXED as u64),
    ("MAP_FIXED_NOREPLACE", libc::MAP_FIXED_NOREPLACE as u64),
    ("MAP_ANONYMOUS", libc::MAP_ANONYMOUS as u64),
    ("MAP_GROWSDOWN", libc::MAP_GROWSDOWN as u64),
    ("MAP_LOCKED", libc::MAP_LOCKED as u64),
    ("MAP_NORESERVE", libc::MAP_NORESERVE as u64),
    ("MAP_POPULATE", libc::MAP_POPULATE as u64),
    ("MAP_STACK", libc::MAP_STACK as u64),
    ("MAP_HUGETLB", libc::MAP_HUGETLB as u64),
    // The size of huge pages, as a power of two, is in six bits from here.
    ("MAP_HUGE_2MB", libc::MAP_HUGE_2MB as u64),
    ("MAP_HUGE_1GB", libc::MAP_HUGE_1GB as u64),
];

const ADVICE: Names = names![
    MADV_NORMAL,
    MADV_RANDOM,
    MADV_SEQUENTIAL,
    MADV_WILLNEED,
    MADV_DONTNEED,
    MADV_DONTFORK,
    MADV_DOFORK,
    MADV_MERGEABLE,
    MADV_HUGEPAGE,
    MADV_NOHUGEPAGE,
    MADV_DONTDUMP,
    MADV_DODUMP,
    MADV_WIPEONFORK,
    MADV_KEEPONFORK,
    MADV_POPULATE_READ,
    MADV_POPULATE_WRITE,
    MADV_COLLAPSE,
];

/// An iovec: address and length.
pub(super) const IOVEC: u64 = 16;

pub(super) const FORMS: &[Form] = &[
    form(
        libc::SYS_mmap,
        "mmap",
        &[
            ("address", Pages(1)),
            ("length", Length),
            ("protection", Flags(PROTECTION)),
            ("flags", Flags(MAP)),
            ("fd", FdOrNone),
            ("offset", Length),
        ],
    )
    .also(rules::mapping),
    form(
        libc::SYS_munmap,
        "munmap",
        &[("address", Pages(1)), ("length", Length)],
    ),
    form(
        libc::SYS_mremap,
        "mremap",
        &[
            ("old", Pages(1)),
            ("old_length", Length),
            ("new_length", Length),
            ("flags", Is("MREMAP_MAYMOVE|MREMAP_FIXED", 3)),
            ("new", Pages(2)),
        ],
    ),
    form(
        libc::SYS_mremap,
        "mremap",
        &[
            ("old", Pages(1)),
            ("old_length", Length),
            ("new_length", Length),
            (
                "flags",
                Is("MREMAP_MAYMOVE|MREMAP_FIXED|MREMAP_DONTUNMAP", 7),
            ),
            ("new", Pages(2)),
        ],
    ),
    form(
        libc::SYS_mprotect,
        "mprotect",
        &[
            ("address", Pages(1)),
            ("length", Length),
            ("protection", Flags(PROTECTION)),
        ],
    ),
    form(
        libc::SYS_madvise,
        "madvise",
        &[
            ("address", Pages(1)),
            ("length", Length),
            ("advice", OneOf(ADVICE)),
        ],
    ),
    form(
        libc::SYS_mlock2,
        "mlock2",
        &[
            ("address", Pages(1)),
            ("length", Length),
            ("flags", Flags(&[("MLOCK_ONFAULT", 1)])),
        ],
    ),
    form(
        libc::SYS_mlockall,
        "mlockall",
        &[("flags", Flags(names![MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT]))],
    ),
    form(
        libc::SYS_mbind,
        "mbind",
        &[
            ("address", Pages(1)),
            ("length", Length),
            ("mode", UpTo(0xffff)),
            ("nodes", input(128)),
            ("max", UpTo(1024)),
        ],
    ),
    form(libc::SYS_brk, "brk", &[("address", Address)]),
    form(
        libc::SYS_preadv,
        "preadv",
        &[
            ("fd", Fd),
            ("iovecs", In(Size::Each(2, IOVEC), Null::Refused)),
            ("count", UpTo(1024)),
            ("offset", Value),
        ],
    )
    .also(rules::iovecs),
];

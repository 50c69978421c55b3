//! eBPF programs.

use crate::events::info;
use crate::{Verify, same};
use crux_image::tasks::PERMIT;
use crux_mount::sys::{BpfLoad, bpf_load};
use std::os::fd::OwnedFd;

/// `BPF_PROG_TYPE_CGROUP_SKB`
const CGROUP_SKB: u32 = 8;

fn load(instructions: &[u64]) -> OwnedFd {
    let program = bpf_load(&BpfLoad {
        kind: CGROUP_SKB,
        expected: 0,
        name: b"crux_test",
        gpl: true,
        instructions,
    });
    program.expect("bpf(BPF_PROG_LOAD)")
}

fn keeps(program: OwnedFd) -> Verify {
    let tag = info(&program, "prog_tag");
    Box::new(move || {
        let mut wrong = Vec::new();
        wrong.extend(same("the tag", info(&program, "prog_tag"), tag.clone()));
        wrong.extend(same(
            "the type",
            info(&program, "prog_type").as_deref(),
            Some("8"),
        ));
        wrong
    })
}

/// Reads what the kernel keeps elsewhere than the context has it: a field that is there, and one that is behind a
/// pointer; and jumps across both.
pub(crate) fn readable() -> Verify {
    let jump = |far: u64| 0x15 | 3 << 8 | far << 16;
    let load_word = |to: u64, field: u64| 0x61 | to << 8 | 1 << 12 | field << 16;
    let (protocol, interface) = (16, 40);
    let three = 0xb7 | 3 << 8 | 7 << 32;
    let program = [
        three,
        load_word(3, protocol),
        jump(2),
        load_word(4, interface),
        jump(0),
    ];
    keeps(load(&[&program[..], &PERMIT].concat()))
}

/// Writes to the context, for which there is no way back.
pub(crate) fn unreadable() -> Verify {
    let seven = 0xb7 | 2 << 8 | 7 << 32;
    let mark = 0x63 | 1 << 8 | 2 << 12 | 8 << 16;
    keeps(load(&[&[seven, mark][..], &PERMIT].concat()))
}

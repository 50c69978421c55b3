//! eBPF programs (bpf(2)) that filter what a cgroup may do.
//!
//! Kind: pure. Programs use no maps: an instruction that leads to one would lead to a descriptor of whoever loads it.

use serde::{Deserialize, Serialize};

/// A program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BpfProgram {
    /// `BPF_PROG_TYPE_*`; one of [`BpfKind::ALL`].
    pub kind: u32,
    /// What it is loaded for (`enum bpf_attach_type`), where its type asks for it; else 0.
    pub expected: u32,
    /// Its name; at most 15 bytes.
    pub name: Vec<u8>,
    /// Its licence is compatible with the GPL.
    pub gpl: bool,
    /// What the kernel calls a program of these instructions.
    pub tag: [u8; 8],
    /// `struct bpf_insn` each.
    pub instructions: Vec<u64>,
    /// It is in the place of one that could not be read, and permits everything (`--replace-bpf`).
    pub replaced: bool,
    /// Where it is attached.
    pub attached: Vec<BpfAttachment>,
}

/// A tag as /proc and bpftool(8) show it.
pub fn tag_text(tag: [u8; 8]) -> String {
    tag.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A place that a program is attached to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BpfAttachment {
    /// The path of a cgroup of version 2; one that a task is in, or of [`Tasks::cgroups`](super::Tasks::cgroups).
    pub cgroup: Vec<u8>,
    /// `enum bpf_attach_type`.
    pub point: u32,
    /// `BPF_F_ALLOW_OVERRIDE` or `BPF_F_ALLOW_MULTI`, or 0.
    pub flags: u32,
}

/// A type of programs that can be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BpfKind {
    /// `BPF_PROG_TYPE_*`.
    pub number: u32,
    /// Without `BPF_PROG_TYPE_`.
    pub name: &'static str,
    /// Where such may be attached.
    pub points: &'static [u32],
    /// Whether it is loaded for one of these points.
    pub expects: bool,
}

impl BpfKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self {
            number: 8,
            name: "CGROUP_SKB",
            points: &[0, 1],
            expects: false,
        },
        Self {
            number: 9,
            name: "CGROUP_SOCK",
            points: &[2, 12, 13, 34],
            expects: true,
        },
        Self {
            number: 15,
            name: "CGROUP_DEVICE",
            points: &[6],
            expects: false,
        },
        Self {
            number: 18,
            name: "CGROUP_SOCK_ADDR",
            points: &[8, 9, 10, 11, 14, 15, 19, 20, 29, 30, 31, 32],
            expects: true,
        },
        Self {
            number: 23,
            name: "CGROUP_SYSCTL",
            points: &[18],
            expects: false,
        },
    ];

    /// The one with a number.
    pub fn of(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.number == number)
    }
}

/// `r0 = 1; exit`: of every kind of [`BpfKind::ALL`] one that permits everything.
pub const PERMIT: [u64; 2] = [1 << 32 | 0xb7, 0x95];

/// `BPF_LD | BPF_IMM | BPF_DW`, with what it leads to in place of a register: a map, a function, a variable of the kernel.
pub fn leads_elsewhere(instruction: u64) -> bool {
    let (code, source) = (instruction & 0xff, instruction >> 12 & 0xf);
    let calls = code == 0x85 && source != 0;
    code == 0x18 && source != 0 || calls
}

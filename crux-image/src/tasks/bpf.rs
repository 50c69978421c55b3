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

/// `BPF_MAXINSNS`, which the kernel lets everybody have.
const INSTRUCTIONS: usize = 4096;
/// `BPF_CGROUP_MAX_PROGS`, at as many cgroups.
const ATTACHMENTS: usize = 4096;
/// `BPF_OBJ_NAME_LEN`, without the zero.
const NAME: usize = 15;

impl BpfProgram {
    /// Whether it is of a kind that can be restored, is attached to nothing else than such may be, and leads nowhere
    /// outside of itself. Who loads it asks this again.
    pub fn keeps_to_itself(&self) -> bool {
        let Some(kind) = BpfKind::of(self.kind) else {
            return false;
        };
        let known = |point: &u32| kind.points.contains(point);
        let expected = match kind.expects {
            true => known(&self.expected),
            false => self.expected == 0,
        };
        let elsewhere = self.instructions.iter().any(|it| leads_elsewhere(*it));
        let letters = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.".contains(byte);
        let mut attached = self.attached.iter();
        expected
            && !elsewhere
            && self.instructions.len() <= INSTRUCTIONS
            && self.name.len() <= NAME
            && self.name.iter().all(letters)
            && self.attached.len() <= ATTACHMENTS
            && attached.all(|it| known(&it.point) && it.flags <= 2)
    }
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

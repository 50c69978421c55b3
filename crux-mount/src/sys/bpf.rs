//! eBPF programs (bpf(2)).
//!
//! Kind: effect. Only what programs of cgroups need: to look at one, to load one, to attach it and to see what is attached.

use super::error::{SysError, call};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

/// Commands of bpf(2); this one gives a descriptor.
pub const BPF_PROG_LOAD: u32 = 5;
const PROG_ATTACH: u32 = 8;
const PROG_DETACH: u32 = 9;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const PROG_QUERY: u32 = 16;
/// Those that look.
pub const BPF_LOOKS: [u32; 2] = [OBJ_GET_INFO_BY_FD, PROG_QUERY];
/// Those that change something: load, attach, detach.
pub const BPF_CHANGES: [u32; 3] = [BPF_PROG_LOAD, PROG_ATTACH, PROG_DETACH];

/// What the kernel says of a program (`struct bpf_prog_info`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BpfInfo {
    /// `BPF_PROG_TYPE_*`
    pub kind: u32,
    /// Its number, as long as it is loaded.
    pub id: u32,
    /// Of the instructions that it was loaded with.
    pub tag: [u8; 8],
    /// Its name, without zeros.
    pub name: Vec<u8>,
    /// Its licence is one that is compatible with the GPL.
    pub gpl: bool,
    /// How many maps it uses.
    pub maps: u32,
    /// Its instructions as the verifier has left them. Empty for who may not see them (`CAP_BPF`).
    pub translated: Vec<u64>,
}

/// A program to be loaded.
#[derive(Debug, Clone, Copy)]
pub struct BpfLoad<'a> {
    /// `BPF_PROG_TYPE_*`
    pub kind: u32,
    /// `BPF_*` of `enum bpf_attach_type`, where the type asks for it.
    pub expected: u32,
    /// At most 15 bytes.
    pub name: &'a [u8],
    /// Under a licence that is compatible with the GPL.
    pub gpl: bool,
    /// `struct bpf_insn` each.
    pub instructions: &'a [u64],
}

/// A program that is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BpfAttached {
    /// The number of the program.
    pub id: u32,
    /// `BPF_F_ALLOW_*`
    pub flags: u32,
}

/// `union bpf_attr` as far as it is used, in words.
type Attributes = [u64; 9];

const INFO_WORDS: usize = 11;

fn two(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn number(fd: &impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd() as u32
}

/// Looks at a program; its instructions included.
pub fn bpf_info(program: &impl AsFd) -> Result<BpfInfo, SysError> {
    let failed = || call(|| "bpf(BPF_OBJ_GET_INFO_BY_FD)".to_owned());
    let ask = |info: &mut [u64; INFO_WORDS]| {
        let length = size_of_val(info) as u32;
        let mut attributes: Attributes = [0; 9];
        attributes[0] = two(number(program), length);
        attributes[1] = info.as_mut_ptr() as u64;
        super::bpf(OBJ_GET_INFO_BY_FD, &mut attributes)
    };
    let mut info = [0; INFO_WORDS];
    ask(&mut info).map_err(failed())?;
    let bytes: Vec<u8> = info.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let half =
        |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let mut tag = [0; 8];
    tag.copy_from_slice(&bytes[8..16]);
    let length = half(20);
    let name = bytes[64..80]
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or(&[])
        .to_vec();
    let mut translated = vec![0_u64; length as usize / 8];
    if length > 0 {
        let mut again = [0; INFO_WORDS];
        again[2] = two(0, length);
        again[4] = translated.as_mut_ptr() as u64;
        ask(&mut again).map_err(failed())?;
    }
    Ok(BpfInfo {
        kind: half(0),
        id: half(4),
        tag,
        name,
        gpl: half(84) & 1 == 1,
        maps: half(52),
        translated,
    })
}

/// Loads a program. `EACCES` and `EINVAL` are the verifier's.
pub fn bpf_load(load: &BpfLoad<'_>) -> Result<OwnedFd, SysError> {
    let describe = || {
        format!(
            "bpf(BPF_PROG_LOAD, type {}, {} instructions)",
            load.kind,
            load.instructions.len()
        )
    };
    let licence = if load.gpl { c"GPL" } else { c"" };
    let mut name = [0_u8; 16];
    let long = load.name.len().min(15);
    name[..long].copy_from_slice(&load.name[..long]);
    let halves = |at: usize| {
        let mut half = [0; 8];
        half.copy_from_slice(&name[at..at + 8]);
        u64::from_ne_bytes(half)
    };
    let mut attributes: Attributes = [
        two(load.kind, load.instructions.len() as u32),
        load.instructions.as_ptr() as u64,
        licence.as_ptr() as u64,
        0,
        0,
        0,
        halves(0),
        halves(8),
        two(0, load.expected),
    ];
    super::bpf_program(&mut attributes).map_err(call(describe))
}

/// Attaches a program to a cgroup.
pub fn bpf_attach(
    cgroup: &impl AsFd,
    program: &impl AsFd,
    point: u32,
    flags: u32,
) -> Result<(), SysError> {
    let mut attributes: Attributes = [0; 9];
    attributes[0] = two(number(cgroup), number(program));
    attributes[1] = two(point, flags);
    let describe = || format!("bpf(BPF_PROG_ATTACH, point {point}, flags {flags:#x})");
    super::bpf(PROG_ATTACH, &mut attributes)
        .map(drop)
        .map_err(call(describe))
}

/// Takes it off again.
pub fn bpf_detach(cgroup: &impl AsFd, program: &impl AsFd, point: u32) -> Result<(), SysError> {
    let mut attributes: Attributes = [0; 9];
    attributes[0] = two(number(cgroup), number(program));
    attributes[1] = two(point, 0);
    let describe = || format!("bpf(BPF_PROG_DETACH, point {point})");
    super::bpf(PROG_DETACH, &mut attributes)
        .map(drop)
        .map_err(call(describe))
}

/// The programs that are attached to a cgroup itself. `EINVAL` where the kernel has no such point.
pub fn bpf_attached(cgroup: &impl AsFd, point: u32) -> Result<Vec<BpfAttached>, SysError> {
    // `BPF_CGROUP_MAX_PROGS`
    const MOST: usize = 64;
    let mut ids = [0_u32; MOST];
    let mut attributes: Attributes = [0; 9];
    attributes[0] = two(number(cgroup), point);
    attributes[2] = ids.as_mut_ptr() as u64;
    attributes[3] = two(MOST as u32, 0);
    let describe = || format!("bpf(BPF_PROG_QUERY, point {point})");
    super::bpf(PROG_QUERY, &mut attributes).map_err(call(describe))?;
    let (flags, count) = ((attributes[1] >> 32) as u32, attributes[3] as u32 as usize);
    let found = ids.iter().take(count.min(MOST));
    Ok(found.map(|id| BpfAttached { id: *id, flags }).collect())
}

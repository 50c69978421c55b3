//! eBPF programs: from what the kernel lets one read back to what was loaded.
//!
//! Kind: effect where programs are loaded to see what the kernel makes of them; the rest is pure.
//!
//! The verifier rewrites loads from the context to loads from what the kernel really has there. What it makes of each is learned
//! by having it translate programs of one load. Whether the way back was right, the kernel says itself: a tag
//! is that of the instructions that were loaded.

use crux_image::tasks::{BpfKind, PERMIT, leads_elsewhere};
use crux_mount::sys::{BpfInfo, BpfLoad, SysError, bpf_info, bpf_load};

/// Of `struct __sk_buff`, the largest of the contexts; its fields are words.
const CONTEXT: u64 = 192;
/// `BPF_LDX | BPF_MEM | BPF_W`
const LOAD_WORD: u64 = 0x61;
const EXIT: u64 = 0x95;

/// What the verifier makes of the load of a field of the context in r1 to r0.
struct Translation {
    field: u64,
    becomes: Vec<u64>,
}

/// Loads a program and forgets it: its tag, and what it was translated to.
pub(super) fn trial(
    kind: u32,
    expected: u32,
    gpl: bool,
    instructions: &[u64],
) -> Result<BpfInfo, SysError> {
    let program = bpf_load(&BpfLoad {
        kind,
        expected,
        name: b"",
        gpl,
        instructions,
    })?;
    bpf_info(&program)
}

/// The instructions that a program was loaded with, if they can be had.
pub(super) fn loaded(info: &BpfInfo, kind: BpfKind, expected: u32) -> Option<Vec<u64>> {
    let translated = &info.translated;
    if info.maps > 0 || translated.is_empty() || translated.iter().any(|it| leads_elsewhere(*it)) {
        return None;
    }
    let is_it = |instructions: &Vec<u64>| {
        let found = trial(kind.number, expected, info.gpl, instructions);
        found.is_ok_and(|found| found.tag == info.tag)
    };
    let as_is = Some(translated.clone()).filter(is_it);
    as_is.or_else(|| {
        let fields = (0..CONTEXT).step_by(4);
        let known: Vec<_> = fields
            .filter_map(|field| translation(kind, expected, field))
            .collect();
        untranslated(translated, &known).filter(is_it)
    })
}

fn translation(kind: BpfKind, expected: u32, field: u64) -> Option<Translation> {
    // r0 = *(u32 *)(r1 + field)
    let load = LOAD_WORD | 1 << 12 | field << 16;
    let program = [&[load][..], &PERMIT].concat();
    let info = trial(kind.number, expected, true, &program).ok()?;
    let becomes = info.translated.strip_suffix(&PERMIT)?.to_vec();
    (!becomes.is_empty() && becomes != [load]).then_some(Translation { field, becomes })
}

fn code(instruction: u64) -> u64 {
    instruction & 0xff
}

fn target(instruction: u64) -> u64 {
    instruction >> 8 & 0xf
}

fn source(instruction: u64) -> u64 {
    instruction >> 12 & 0xf
}

/// How far a jump goes; none of what is no jump.
fn jump(instruction: u64) -> Option<i16> {
    const CALL: u64 = 0x80;
    let class = instruction & 7;
    let is_jump =
        (class == 5 || class == 6) && ![CALL, EXIT & 0xf0].contains(&(code(instruction) & 0xf0));
    is_jump.then_some((instruction >> 16) as i16)
}

impl Translation {
    /// The load, if this is what became of it: in other registers, and that is all.
    fn undone(&self, here: &[u64]) -> Option<u64> {
        let (found, first) = (here.get(..self.becomes.len())?, *self.becomes.first()?);
        let (to, from) = (target(found[0]), source(found[0]));
        if target(first) != 0 || source(first) != 1 {
            return None;
        }
        let renamed = |register: u64| if register == 0 { to } else { from };
        let same = self.becomes.iter().zip(found).all(|(wanted, found)| {
            let registers = renamed(target(*wanted)) | renamed(source(*wanted)) << 4;
            // An operand that is none stays 0.
            let registers = match jump(*wanted) {
                Some(_) if source(*wanted) == 0 => renamed(target(*wanted)),
                _ => registers,
            };
            wanted & !0xff00 | registers << 8 == *found
        });
        same.then_some(LOAD_WORD | to << 8 | from << 12 | self.field << 16)
    }
}

/// The same program before the verifier touched its loads, if jumps can be put right.
fn untranslated(translated: &[u64], known: &[Translation]) -> Option<Vec<u64>> {
    let mut places = vec![None; translated.len() + 1];
    let (mut made, mut at) = (Vec::new(), 0);
    while at < translated.len() {
        places[at] = Some(made.len());
        let found = known
            .iter()
            .filter_map(|it| Some((it.undone(&translated[at..])?, it.becomes.len())));
        let (instruction, length) = found
            .max_by_key(|(_, length)| *length)
            .unwrap_or((translated[at], 1));
        made.push((at, length, instruction));
        at += length;
    }
    places[translated.len()] = Some(made.len());
    let mut instructions = Vec::with_capacity(made.len());
    for (now, (before, length, instruction)) in made.into_iter().enumerate() {
        let moved = match jump(instruction) {
            Some(far) if length == 1 => {
                let to = (before as i64 + 1 + i64::from(far)).try_into().ok();
                let to: usize = to.filter(|to: &usize| *to < places.len())?;
                let far = i16::try_from(places[to]? as i64 - now as i64 - 1).ok()?;
                instruction & !0xffff_0000 | u64::from(far as u16) << 16
            }
            _ => instruction,
        };
        instructions.push(moved);
    }
    Some(instructions)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `LDX | MEM`, of a halfword and of a pointer.
    const HALF: u64 = 0x69;
    const POINTER: u64 = 0x79;
    /// `if r != 0 goto`, `if r == 0 goto`
    const UNLESS: u64 = 0x55;
    const IF_NONE: u64 = 0x15;

    fn instruction(code: u64, to: u64, from: u64, offset: i16, constant: u32) -> u64 {
        code | to << 8 | from << 12 | u64::from(offset as u16) << 16 | u64::from(constant) << 32
    }

    fn known() -> [Translation; 2] {
        let protocol = Translation {
            field: 16,
            becomes: vec![instruction(HALF, 0, 1, 180, 0)],
        };
        let device = Translation {
            field: 40,
            becomes: vec![
                instruction(POINTER, 0, 1, 16, 0),
                instruction(IF_NONE, 0, 0, 1, 0),
                instruction(LOAD_WORD, 0, 0, 224, 0),
            ],
        };
        [protocol, device]
    }

    #[test]
    fn loads_come_back_and_jumps_lead_where_they_led() {
        let translated = [
            instruction(UNLESS, 3, 0, 4, 0),
            instruction(HALF, 7, 6, 180, 0),
            instruction(POINTER, 2, 6, 16, 0),
            instruction(IF_NONE, 2, 0, 1, 0),
            instruction(LOAD_WORD, 2, 2, 224, 0),
            PERMIT[0],
            PERMIT[1],
        ];
        let found = untranslated(&translated, &known()).unwrap();
        let wanted = [
            instruction(UNLESS, 3, 0, 2, 0),
            instruction(LOAD_WORD, 7, 6, 16, 0),
            instruction(LOAD_WORD, 2, 6, 40, 0),
            PERMIT[0],
            PERMIT[1],
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_jump_into_what_becomes_one_load_has_no_way_back() {
        let mut translated = vec![
            instruction(UNLESS, 3, 0, 1, 0),
            instruction(POINTER, 2, 6, 16, 0),
            instruction(IF_NONE, 2, 0, 1, 0),
            instruction(LOAD_WORD, 2, 2, 224, 0),
            EXIT,
        ];
        assert!(untranslated(&translated, &known()).is_none());
        translated[0] = instruction(UNLESS, 3, 0, 100, 0);
        assert!(untranslated(&translated, &known()).is_none());
    }
}

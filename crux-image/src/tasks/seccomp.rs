//! Filters of system calls (seccomp(2)).
//!
//! Kind: pure. A program is one of classic BPF, as the kernel took it; [`SeccompChain::verdict`] runs it.

use serde::{Deserialize, Serialize};

/// The filters of a thread, the oldest first. All of them are asked about every call.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SeccompChain {
    /// One at least.
    pub filters: Vec<SeccompFilter>,
}

/// A filter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SeccompFilter {
    /// `SECCOMP_FILTER_FLAG_LOG`.
    pub log: bool,
    /// Its program.
    pub program: Vec<FilterInstruction>,
}

/// `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FilterInstruction {
    /// What it does.
    pub code: u16,
    /// How many instructions are left out where a condition holds.
    pub jump_true: u8,
    /// And where not.
    pub jump_false: u8,
    /// A constant.
    pub constant: u32,
}

/// A call, as a filter sees it (`struct seccomp_data`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilteredCall {
    /// Its number.
    pub number: u32,
    /// From where it is made.
    pub instruction: u64,
    /// With what.
    pub arguments: [u64; 6],
}

/// `AUDIT_ARCH_X86_64`.
const ARCHITECTURE: u32 = 0xc000_003e;
/// `SECCOMP_RET_ACTION_FULL`, and actions.
const ACTION: u32 = 0xffff_0000;
const ALLOW: u32 = 0x7fff_0000;
const LOG: u32 = 0x7ffc_0000;
const USER_NOTIF: u32 = 0x7fc0_0000;
const KILL_PROCESS: u32 = 0x8000_0000;

// Instructions that a filter may have (kernel/seccomp.c, `seccomp_check_filter`).
const LD_W_ABS: u16 = 0x20;
const LD_W_LEN: u16 = 0x80;
const LDX_W_LEN: u16 = 0x81;
const LD_IMM: u16 = 0x00;
const LDX_IMM: u16 = 0x01;
const LD_MEM: u16 = 0x60;
const LDX_MEM: u16 = 0x61;
const ST: u16 = 0x02;
const STX: u16 = 0x03;
const RET_K: u16 = 0x06;
const RET_A: u16 = 0x16;
const TAX: u16 = 0x07;
const TXA: u16 = 0x87;
const NEG: u16 = 0x84;
const JA: u16 = 0x05;
/// `sizeof(struct seccomp_data)`.
const DATA: u32 = 64;
/// `BPF_MEMWORDS`.
const WORDS: u32 = 16;
/// `BPF_X`: the operand is a register.
const X: u16 = 0x08;

impl SeccompChain {
    /// How many instructions the kernel counts: four more for each filter.
    pub fn weight(&self) -> usize {
        self.filters.iter().map(|it| it.program.len() + 4).sum()
    }

    /// Whether the call would just be made, by all filters.
    pub fn allows(&self, call: &FilteredCall) -> bool {
        let mut all = self.filters.iter().map(|filter| filter.verdict(call));
        all.all(|action| matches!(action & ACTION, ALLOW | LOG))
    }
}

impl SeccompFilter {
    /// Whether it may ask somebody who listens (`SECCOMP_RET_USER_NOTIF`).
    pub fn asks(&self) -> bool {
        let notifies = |it: &FilterInstruction| match it.code {
            RET_K => it.constant & ACTION == USER_NOTIF,
            LD_IMM => it.constant & ACTION == USER_NOTIF,
            _ => false,
        };
        self.program.iter().any(notifies)
    }

    /// Whether the kernel would take it: known instructions, jumps within, a return at the end.
    pub fn is_sound(&self) -> bool {
        let length = self.program.len();
        let sound = |(at, it): (usize, &FilterInstruction)| {
            let rest = length - at - 1;
            match it.code {
                LD_W_ABS => it.constant < DATA && it.constant.is_multiple_of(4),
                LD_MEM | LDX_MEM | ST | STX => it.constant < WORDS,
                JA => (it.constant as usize) < rest,
                LD_W_LEN | LDX_W_LEN | LD_IMM | LDX_IMM | RET_K | RET_A | TAX | TXA | NEG => true,
                code if is_jump(code) => usize::from(it.jump_true.max(it.jump_false)) < rest,
                // A shift by 32 and more is refused, and so is a division by 0.
                0x64 | 0x74 => it.constant < 32,
                0x34 => it.constant != 0,
                code => is_arithmetic(code),
            }
        };
        let ends = matches!(self.program.last(), Some(it) if matches!(it.code, RET_K | RET_A));
        length <= 4096 && ends && self.program.iter().enumerate().all(sound)
    }

    /// What the program returns. One that does not make sense ends whoever it is about.
    fn verdict(&self, call: &FilteredCall) -> u32 {
        let (mut a, mut x, mut memory) = (0_u32, 0_u32, [0_u32; WORDS as usize]);
        let mut at = 0;
        // Jumps lead forward: no loop.
        while let Some(it) = self.program.get(at) {
            let operand = if it.code & X != 0 { x } else { it.constant };
            let word = (it.constant % WORDS) as usize;
            at += 1;
            match it.code {
                LD_W_ABS => a = call.word(it.constant),
                LD_W_LEN => a = DATA,
                LDX_W_LEN => x = DATA,
                LD_IMM => a = it.constant,
                LDX_IMM => x = it.constant,
                LD_MEM => a = memory[word],
                LDX_MEM => x = memory[word],
                ST => memory[word] = a,
                STX => memory[word] = x,
                RET_K => return it.constant,
                RET_A => return a,
                TAX => x = a,
                TXA => a = x,
                NEG => a = a.wrapping_neg(),
                JA => at = at.saturating_add(it.constant as usize),
                code if is_jump(code) => {
                    let holds = match code & 0x70 {
                        0x10 => a == operand,
                        0x20 => a > operand,
                        0x30 => a >= operand,
                        _ => a & operand != 0,
                    };
                    at += usize::from(if holds { it.jump_true } else { it.jump_false });
                }
                code => match arithmetic(code, a, operand) {
                    Some(result) => a = result,
                    None => return KILL_PROCESS,
                },
            }
        }
        KILL_PROCESS
    }
}

/// `BPF_JMP` with a condition, and a constant or a register.
fn is_jump(code: u16) -> bool {
    matches!(code & !X, 0x15 | 0x25 | 0x35 | 0x45)
}

fn is_arithmetic(code: u16) -> bool {
    // Add, subtract, multiply, divide, or, and, shifts, xor.
    matches!(
        code & !X,
        0x04 | 0x14 | 0x24 | 0x34 | 0x44 | 0x54 | 0x64 | 0x74 | 0xa4
    )
}

fn arithmetic(code: u16, a: u32, operand: u32) -> Option<u32> {
    Some(match code & !X {
        0x04 => a.wrapping_add(operand),
        0x14 => a.wrapping_sub(operand),
        0x24 => a.wrapping_mul(operand),
        // KERNEL: a division by a register that is 0 returns 0 at once, which is SECCOMP_RET_KILL.
        0x34 => a.checked_div(operand)?,
        0x44 => a | operand,
        0x54 => a & operand,
        0x64 => a.wrapping_shl(operand),
        0x74 => a.wrapping_shr(operand),
        0xa4 => a ^ operand,
        _ => return None,
    })
}

impl FilteredCall {
    /// A word of `struct seccomp_data`: number, architecture, instruction, arguments.
    fn word(&self, offset: u32) -> u32 {
        let half = |value: u64| (value >> (8 * (offset & 4))) as u32;
        match offset {
            0 => self.number,
            4 => ARCHITECTURE,
            8 | 12 => half(self.instruction),
            _ => {
                let index = (offset as usize - 16) / 8;
                half(self.arguments.get(index).copied().unwrap_or(0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(program: &[(u16, u8, u8, u32)]) -> SeccompFilter {
        let one =
            |(code, jump_true, jump_false, constant): &(u16, u8, u8, u32)| FilterInstruction {
                code: *code,
                jump_true: *jump_true,
                jump_false: *jump_false,
                constant: *constant,
            };
        SeccompFilter {
            log: false,
            program: program.iter().map(one).collect(),
        }
    }

    fn call(number: u32, arguments: [u64; 6]) -> FilteredCall {
        FilteredCall {
            number,
            instruction: 0x1_0000_0002,
            arguments,
        }
    }

    /// Call 7 only with a second argument above 2^32; call 8 never; all others.
    fn example() -> SeccompFilter {
        filter(&[
            (LD_W_ABS, 0, 0, 4),
            (0x15, 1, 0, ARCHITECTURE),
            (RET_K, 0, 0, KILL_PROCESS),
            (LD_W_ABS, 0, 0, 0),
            (0x15, 0, 4, 7),
            (LD_W_ABS, 0, 0, 28),
            (0x15, 1, 0, 0),
            (RET_K, 0, 0, ALLOW),
            (RET_K, 0, 0, 0x0005_0001),
            (0x15, 0, 1, 8),
            (RET_K, 0, 0, USER_NOTIF),
            (RET_K, 0, 0, LOG),
        ])
    }

    #[test]
    fn programs_are_run_as_the_kernel_does() {
        let chain = SeccompChain {
            filters: vec![example()],
        };
        assert!(example().is_sound() && example().asks());
        assert!(chain.allows(&call(7, [0, 1 << 32, 0, 0, 0, 0])));
        assert!(!chain.allows(&call(7, [0, 5, 0, 0, 0, 0])));
        assert!(!chain.allows(&call(8, [0; 6])));
        assert!(chain.allows(&call(9, [0; 6])));
        assert_eq!(chain.weight(), 16);
        let steps = filter(&[
            (LD_IMM, 0, 0, 12),
            (ST, 0, 0, 3),
            (LDX_MEM, 0, 0, 3),
            (0x0c, 0, 0, 0),
            (0x54, 0, 0, 0x18),
            (NEG, 0, 0, 0),
            (RET_A, 0, 0, 0),
        ]);
        assert!(steps.is_sound() && !steps.asks());
        assert_eq!(steps.verdict(&call(0, [0; 6])), 24_u32.wrapping_neg());
    }

    #[test]
    fn what_the_kernel_would_not_take_is_not_sound() {
        let last = (RET_K, 0, 0, ALLOW);
        for first in [
            (LD_W_ABS, 0, 0, 64),
            (LD_W_ABS, 0, 0, 2),
            (LD_MEM, 0, 0, 16),
            (JA, 0, 0, 1),
            (0x15, 0, 1, 0),
            (0x34, 0, 0, 0),
            (0x64, 0, 0, 32),
            (0x28, 0, 0, 0),
        ] {
            assert!(!filter(&[first, last]).is_sound(), "{first:?}");
        }
        assert!(!filter(&[]).is_sound());
        assert!(!filter(&[(TAX, 0, 0, 0)]).is_sound());
    }
}

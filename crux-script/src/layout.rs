//! Where in an arena's memory its lines and blocks are.
//!
//! Kind: pure. For a restore the first page is the stub, read-only; lines and blocks follow.

use crate::arena::Arena;
use crate::calls::Purpose;
use crate::ids::{DataRef, LineId, ScriptId};
use crate::x86_64::RECORD;

/// A page, and the room for the stub.
pub(crate) const PAGE: u64 = 4096;
/// More than any arena that could be meant.
const LONGEST: u64 = 1 << 30;
const ALIGNMENT: u64 = 16;

/// Offsets from the arena's base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) scripts: Vec<u64>,
    pub(crate) blocks: Vec<u64>,
    pub(crate) len: u64,
}

impl Layout {
    /// None if it would be too long.
    pub(crate) fn of(arena: &Arena, purpose: Purpose) -> Option<Self> {
        let mut at = match purpose {
            Purpose::Dump => 0,
            Purpose::Restore => PAGE,
        };
        let mut place = |len: u64| {
            let start = at;
            at = (at + len).next_multiple_of(ALIGNMENT);
            (at <= LONGEST).then_some(start)
        };
        let mut scripts = Vec::new();
        for script in arena.scripts() {
            // After the last line comes one that ends the script.
            let lines = script.lines.len() as u64 + 1;
            scripts.push(place(lines.checked_mul(RECORD)?)?);
        }
        let mut blocks = Vec::new();
        for block in arena.blocks() {
            blocks.push(place(block.bytes.len() as u64)?);
        }
        let len = match purpose {
            Purpose::Dump => at,
            Purpose::Restore => at.next_multiple_of(PAGE),
        };
        Some(Self {
            scripts,
            blocks,
            len,
        })
    }

    pub(crate) fn script(&self, script: ScriptId) -> Option<u64> {
        self.scripts.get(script.0 as usize).copied()
    }

    /// The record of a line; `lines` up to the number of its script's lines are there.
    pub(crate) fn line(&self, line: LineId) -> Option<u64> {
        Some(self.script(line.script)? + u64::from(line.index) * RECORD)
    }

    pub(crate) fn data(&self, place: DataRef) -> Option<u64> {
        let block = self.blocks.get(place.block.0 as usize)?;
        Some(block + u64::from(place.offset))
    }
}

//! The machine code, and where a task that runs it can be found stopped.
//!
//! Kind: pure. `stub/stub.rs` is its source, `build.rs` makes it.

use crate::ids::LineId;
use crate::layout::PAGE;
use crate::line::Line;
use crate::link::{Halt, Linked};

pub(super) mod offsets {
    //! Labels of the stub.
    include!(concat!(env!("OUT_DIR"), "/offsets.rs"));
}

pub(super) const DUMP_CODE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/dump_stub.bin"));
const RESTORE_CODE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/restore_stub.bin"));

/// Bytes that a [`super::Detour`] needs in executable memory.
pub const DUMP_STUB_LEN: usize = DUMP_CODE.len();

/// The first page of a restore's arena: the stub, at its very beginning, and zeroes.
#[must_use]
pub fn stub_page() -> Vec<u8> {
    let mut page = RESTORE_CODE.to_vec();
    page.resize(PAGE as usize, 0);
    page
}

impl Linked {
    /// What a stopped task's registers say: that it is at a stop of a script, or that a line has
    /// failed. None if it is elsewhere (another signal).
    #[must_use]
    pub fn halt(&self, registers: &libc::user_regs_struct) -> Option<Halt> {
        let line = self.line_at(registers.r15)?;
        match registers.rip.checked_sub(self.base())? {
            offsets::RESTORE_STOPPED => match self.line(line)? {
                Line::Stop(tag) => Some(Halt::Stopped { line, tag: *tag }),
                Line::Call(_) => None,
            },
            offsets::RESTORE_FAILED => {
                let result = registers.r14;
                Some(Halt::Failed { line, result })
            }
            _ => None,
        }
    }

    /// The line that a task is at, whatever it is doing there.
    #[must_use]
    pub fn position(&self, registers: &libc::user_regs_struct) -> Option<LineId> {
        let offset = registers.rip.checked_sub(self.base())?;
        let inside = (offsets::RESTORE_ENTRY..offsets::RESTORE_END).contains(&offset);
        inside.then(|| self.line_at(registers.r15)).flatten()
    }
}

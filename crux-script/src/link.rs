//! A checked arena with its addresses: the bytes that are put into memory.
//!
//! Kind: pure.

use crate::arena::Arena;
use crate::calls::Purpose;
use crate::check::Checked;
use crate::errno::Errno;
use crate::failure::Failure;
use crate::ids::{DataRef, LineId, ScriptId, Tag};
use crate::layout::Layout;
use crate::line::{Argument, Call, Line, NOT_RUN};
use crate::x86_64::{Accepted, RECORD, RESULT, Record, RecordKind, stub_page};

/// Bytes and the address that they are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    checked: Checked,
    bytes: Vec<u8>,
}

/// Why a task stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    /// It waits for its tracer, and goes on with the next line when it is let (`PTRACE_CONT`
    /// without a signal).
    Stopped {
        /// At which line.
        line: LineId,
        /// What that means.
        tag: Tag,
    },
    /// A line gave what was not expected. The task must not be let go on; it would exit.
    Failed {
        /// Which line.
        line: LineId,
        /// What it gave.
        result: u64,
    },
}

impl Checked {
    /// The purpose that it was checked for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// What was checked.
    #[must_use]
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// The arena again, to be sent to another process, which checks it again.
    #[must_use]
    pub fn into_arena(self) -> Arena {
        self.arena
    }

    /// Gives every line and block its address.
    #[must_use]
    pub fn link(self) -> Linked {
        let mut bytes = match self.purpose {
            Purpose::Dump => Vec::new(),
            Purpose::Restore => stub_page(),
        };
        bytes.resize(self.layout.len as usize, 0);
        for (index, script) in self.arena.scripts().iter().enumerate() {
            let mut at = self.layout.scripts[index] as usize;
            let lines = script.lines.iter().map(|line| self.record(line));
            for record in lines.chain([end_of_script(self.purpose)]) {
                bytes[at..][..RECORD as usize].copy_from_slice(&record.encode());
                at += RECORD as usize;
            }
        }
        for (index, block) in self.arena.blocks().iter().enumerate() {
            let at = self.layout.blocks[index] as usize;
            bytes[at..][..block.bytes.len()].copy_from_slice(&block.bytes);
            for pointer in &block.pointers {
                let to = self.data(pointer.to).to_le_bytes();
                bytes[at + pointer.at as usize..][..8].copy_from_slice(&to);
            }
        }
        Linked {
            checked: self,
            bytes,
        }
    }

    fn record(&self, line: &Line) -> Record {
        match line {
            Line::Call(call) => self.call(call),
            Line::Stop(_) => Record {
                kind: RecordKind::Stop,
                ..BLANK
            },
        }
    }

    fn call(&self, call: &Call) -> Record {
        let mut indirect = 0;
        let mut value = |(index, argument): (usize, &Argument)| match *argument {
            Argument::Literal(value) => value,
            Argument::Data(place) => self.data(place),
            Argument::Result(line) => {
                indirect |= 1 << index;
                self.checked_line(line) + RESULT
            }
        };
        let mut arguments = [0; 6];
        for pair in call.arguments.iter().enumerate() {
            arguments[pair.0] = value(pair);
        }
        let child = call.child.and_then(|script| self.layout.script(script));
        Record {
            indirect,
            number: call.number.into(),
            arguments,
            accepted: Accepted::from(call.expect),
            copy_to: call.copy_to.map_or(0, |place| self.data(place)),
            child: child.map_or(0, |offset| self.base + offset),
            ..BLANK
        }
    }

    /// The checker has made sure that what is referred to is there.
    fn data(&self, place: DataRef) -> u64 {
        self.base + self.layout.data(place).unwrap_or(0)
    }

    fn checked_line(&self, line: LineId) -> u64 {
        self.base + self.layout.line(line).unwrap_or(0)
    }
}

const BLANK: Record = Record {
    kind: RecordKind::Call,
    indirect: 0,
    number: 0,
    arguments: [0; 6],
    accepted: Accepted {
        lowest: 0,
        span: u64::MAX,
        other: 0,
    },
    copy_to: 0,
    child: 0,
    result: NOT_RUN,
};

/// Whoever goes on after the last stop of a restore exits; a dump's stub leaves.
fn end_of_script(purpose: Purpose) -> Record {
    match purpose {
        Purpose::Dump => Record {
            kind: RecordKind::End,
            ..BLANK
        },
        Purpose::Restore => Record {
            number: libc::SYS_exit_group as u64,
            arguments: [127, 0, 0, 0, 0, 0],
            ..BLANK
        },
    }
}

impl Linked {
    /// The address that it is for.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.checked.base
    }

    /// What it is for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.checked.purpose
    }

    /// What is to be there: for a restore a whole number of pages, the first of them the stub.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it was made from.
    #[must_use]
    pub fn arena(&self) -> &Arena {
        &self.checked.arena
    }

    /// The address of a script's first line.
    #[must_use]
    pub fn entry(&self, script: ScriptId) -> Option<u64> {
        Some(self.base() + self.layout().script(script)?)
    }

    /// The address of a line's result: eight bytes, [`NOT_RUN`] before it has run.
    #[must_use]
    pub fn result_address(&self, line: LineId) -> Option<u64> {
        self.line(line)?;
        Some(self.base() + self.layout().line(line)? + RESULT)
    }

    /// The address of a byte of a block.
    #[must_use]
    pub fn data_address(&self, place: DataRef) -> Option<u64> {
        Some(self.base() + self.layout().data(place)?)
    }

    /// A line's result, in what the arena's memory has become.
    #[must_use]
    pub fn result(&self, memory: &[u8], line: LineId) -> Option<u64> {
        let at = self.result_address(line)? - self.base();
        let bytes = memory.get(at as usize..)?.get(..8)?;
        bytes.try_into().ok().map(u64::from_le_bytes)
    }

    /// Bytes of a block, in what the arena's memory has become.
    #[must_use]
    pub fn data<'a>(&self, memory: &'a [u8], place: DataRef, len: usize) -> Option<&'a [u8]> {
        let at = self.data_address(place)? - self.base();
        memory.get(at as usize..)?.get(..len)
    }

    /// The line whose record is at this address.
    #[must_use]
    pub fn line_at(&self, address: u64) -> Option<LineId> {
        let offset = address.checked_sub(self.base())?;
        let scripts = &self.layout().scripts;
        let index = scripts.partition_point(|it| *it <= offset).checked_sub(1)?;
        let (from_start, script) = (offset - scripts[index], ScriptId(index as u32));
        let index = u32::try_from(from_start / RECORD).ok()?;
        let line = LineId { script, index };
        (from_start % RECORD == 0 && self.line(line).is_some()).then_some(line)
    }

    /// A failed line in words.
    #[must_use]
    pub fn failure(&self, line: LineId, result: u64) -> Failure {
        Failure::new(self.arena(), self.checked.purpose, line, result)
    }

    /// The error of a result, if it is one; see [`Errno::of`].
    #[must_use]
    pub fn errno(&self, memory: &[u8], line: LineId) -> Option<Errno> {
        Errno::of(self.result(memory, line)?)
    }

    pub(crate) fn line(&self, line: LineId) -> Option<&Line> {
        self.checked.arena.get_line(line)
    }

    fn layout(&self) -> &Layout {
        &self.checked.layout
    }
}

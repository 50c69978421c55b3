//! A line that gave what was not expected.
//!
//! Kind: pure.

use crate::arena::Arena;
use crate::calls::Purpose;
use crate::errno::Errno;
use crate::ids::LineId;
use crate::line::{Expect, Line, NOT_RUN};
use crate::listing::line_in_words;
use std::fmt;

/// Task, line, call, arguments, and what it gave, in one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Failure {
    line: LineId,
    result: u64,
    expect: Option<Expect>,
    words: String,
}

impl Failure {
    pub(crate) fn new(arena: &Arena, purpose: Purpose, line: LineId, result: u64) -> Self {
        let expect = match arena.get_line(line) {
            Some(Line::Call(call)) => Some(call.expect),
            _ => None,
        };
        let words = line_in_words(arena, purpose, line);
        Self {
            line,
            result,
            expect,
            words,
        }
    }

    /// Which line.
    #[must_use]
    pub fn line(&self) -> LineId {
        self.line
    }

    /// Its error, if it gave one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        Errno::of(self.result)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { words, result, .. } = self;
        match (self.errno(), self.expect) {
            (Some(errno), _) => write!(f, "{words}: {errno}"),
            (None, _) if *result == NOT_RUN => write!(f, "{words}: was not run"),
            (None, Some(Expect::Exactly(wanted) | Expect::OneOf(wanted, _))) => {
                write!(f, "{words}: gave {result:#x} instead of {wanted:#x}")
            }
            (None, _) => write!(f, "{words}: gave {result:#x}"),
        }
    }
}

//! Scripts in words, for `--dry-run` and for errors.
//!
//! Kind: pure.
//!
//! - `words`: arguments, by the table of calls
//! - `forms`: calls that read better than by their arguments
//! - `netlink`: messages of rtnetlink(7)

mod forms;
mod netlink;
mod words;

use crate::arena::Arena;
use crate::calls::Purpose;
use crate::ids::{LineId, ScriptId};
use crate::line::{Call, Expect, Line};
use std::fmt;
use words::Words;

/// All scripts of an arena, a line each.
#[derive(Debug, Clone, Copy)]
pub struct Listing<'a> {
    arena: &'a Arena,
    purpose: Purpose,
}

impl Arena {
    /// All scripts in words, a line each. What is in no list of calls is shown by its number.
    #[must_use]
    pub fn listing(&self, purpose: Purpose) -> Listing<'_> {
        let arena = self;
        Listing { arena, purpose }
    }
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (script, it) in (0..).map(ScriptId).zip(self.arena.scripts()) {
            for index in 0..it.lines.len() as u32 {
                let line = LineId { script, index };
                writeln!(f, "{}", line_in_words(self.arena, self.purpose, line))?;
            }
        }
        Ok(())
    }
}

/// `task 4 line 17: ...`
pub(crate) fn line_in_words(arena: &Arena, purpose: Purpose, id: LineId) -> String {
    let name = arena.get(id.script).map_or("?", |it| it.name.as_str());
    let what = match arena.get_line(id) {
        Some(Line::Call(call)) => call_in_words(arena, purpose, id.script, call),
        Some(Line::Stop(tag)) => format!("stop {tag}"),
        None => "the end".to_owned(),
    };
    format!("{} line {}: {what}", words::printable(name), id.number())
}

fn call_in_words(arena: &Arena, purpose: Purpose, script: ScriptId, call: &Call) -> String {
    let words = Words {
        arena,
        script,
        call,
    };
    let form = crate::calls::form_of(purpose, call).ok();
    let text = match form {
        Some(form) => forms::nice(&words, form).unwrap_or_else(|| words.strace(form)),
        None => words.unlisted(),
    };
    text + &expectation(call)
}

fn expectation(call: &Call) -> String {
    match call.expect {
        Expect::Success => String::new(),
        Expect::Any => ", whatever it gives".to_owned(),
        Expect::SuccessOr(errno) => format!(", or {}", name(errno)),
        // What calls give that have nothing to give.
        Expect::Exactly(0) => String::new(),
        Expect::Exactly(value) => format!(" = {}", words::number(value)),
        Expect::OneOf(value, errno) => format!(" = {}, or {}", words::number(value), name(errno)),
    }
}

fn name(errno: crate::errno::Errno) -> String {
    let unnamed = || format!("errno {}", errno.0);
    errno.name().map_or_else(unnamed, Into::into)
}

#[cfg(test)]
mod tests;

//! A line of a script: a call and what is expected of it, or a stop.
//!
//! Kind: pure. What a call may be is for the checker to say.

use crate::errno::Errno;
use crate::ids::{BlockId, DataRef, LineId, ScriptId, Tag};
use serde::{Deserialize, Serialize};

/// Arguments of a system call.
pub const ARGUMENTS: usize = 6;

/// The result of a line that has not run: no error, no address, and as a descriptor
/// negative, but not `AT_FDCWD`.
pub const NOT_RUN: u64 = 0xffff_ffff_8000_0000;

/// One step of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Line {
    /// A system call.
    Call(Call),
    /// The task stops (a `SIGTRAP` that only a tracer sees) until its tracer lets it go on
    /// with the next line (`PTRACE_CONT`).
    Stop(Tag),
}

/// A system call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its number on this architecture.
    pub number: u32,
    /// What it is given. What is not needed is literally 0.
    pub arguments: [Argument; ARGUMENTS],
    /// Results with which the script goes on.
    pub expect: Expect,
    /// For clone3(2): where the child goes on. It shares nothing that the stub needs: threads
    /// need no stack.
    pub child: Option<ScriptId>,
    /// Where the low 32 bits of the result are put as well: a descriptor that is a
    /// member of a struct.
    pub copy_to: Option<DataRef>,
}

/// An argument of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Argument {
    /// This value.
    Literal(u64),
    /// The result of a line that has run before: an earlier one of this script, or one of
    /// another script that is known to be there (by a stop, or because a parent made its child after it).
    Result(LineId),
    /// The address of a byte of a block.
    Data(DataRef),
}

/// What a call is to give back for the script to go on. With anything else the task stops for
/// its tracer, and does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expect {
    /// Whatever it gives.
    Any,
    /// No error.
    Success,
    /// No error, or this one.
    SuccessOr(Errno),
    /// This.
    Exactly(u64),
    /// This, or this error.
    OneOf(u64, Errno),
}

impl Expect {
    /// Whether a script goes on with this result. The stub answers the same way.
    #[must_use]
    pub fn accepts(self, result: u64) -> bool {
        let error = Errno::of(result);
        match self {
            Self::Any => true,
            Self::Success => error.is_none(),
            Self::SuccessOr(errno) => error.is_none_or(|it| it == errno),
            Self::Exactly(value) => result == value,
            Self::OneOf(value, errno) => result == value || error == Some(errno),
        }
    }
}

impl Call {
    /// A call without arguments yet, from which success is expected. The numbers are in libc (`SYS_*`).
    #[must_use]
    pub fn new(number: libc::c_long) -> Self {
        Self {
            number: number as u32,
            arguments: [Argument::Literal(0); ARGUMENTS],
            expect: Expect::Success,
            child: None,
            copy_to: None,
        }
    }

    /// The same with all its arguments; those that are not listed are 0.
    ///
    /// # Panics
    ///
    /// With more than six.
    #[must_use]
    pub fn with<const N: usize>(mut self, arguments: [Argument; N]) -> Self {
        self.arguments[..N].copy_from_slice(&arguments);
        self
    }

    /// The same with one argument changed (0 to 5).
    ///
    /// # Panics
    ///
    /// With an index above five.
    #[must_use]
    pub fn argument(mut self, index: usize, value: impl Into<Argument>) -> Self {
        self.arguments[index] = value.into();
        self
    }

    /// The same with another expectation.
    #[must_use]
    pub fn expect(mut self, expect: Expect) -> Self {
        self.expect = expect;
        self
    }

    /// The same, expecting this result alone.
    #[must_use]
    pub fn exactly(self, value: u64) -> Self {
        self.expect(Expect::Exactly(value))
    }

    /// The same for a clone3(2) whose child goes on with that script.
    #[must_use]
    pub fn child(mut self, script: ScriptId) -> Self {
        self.child = Some(script);
        self
    }

    /// The same, with the low 32 bits of the result put there as well.
    #[must_use]
    pub fn copy_to(mut self, place: DataRef) -> Self {
        self.copy_to = Some(place);
        self
    }
}

impl From<Call> for Line {
    fn from(call: Call) -> Self {
        Self::Call(call)
    }
}

impl From<Tag> for Line {
    fn from(tag: Tag) -> Self {
        Self::Stop(tag)
    }
}

impl From<u64> for Argument {
    fn from(value: u64) -> Self {
        Self::Literal(value)
    }
}

impl From<u32> for Argument {
    fn from(value: u32) -> Self {
        Self::Literal(value.into())
    }
}

impl From<i64> for Argument {
    fn from(value: i64) -> Self {
        Self::Literal(value as u64)
    }
}

impl From<i32> for Argument {
    /// With its sign: `AT_FDCWD` is one of them.
    fn from(value: i32) -> Self {
        Self::from(i64::from(value))
    }
}

impl From<usize> for Argument {
    fn from(value: usize) -> Self {
        Self::Literal(value as u64)
    }
}

impl From<LineId> for Argument {
    fn from(line: LineId) -> Self {
        Self::Result(line)
    }
}

impl From<DataRef> for Argument {
    fn from(place: DataRef) -> Self {
        Self::Data(place)
    }
}

impl From<BlockId> for Argument {
    fn from(block: BlockId) -> Self {
        Self::Data(block.at(0))
    }
}

/// The arguments of a call, of whatever types: `arguments![fd, buffer, 8]`.
#[macro_export]
macro_rules! arguments {
    ($($argument:expr),* $(,)?) => { [$($crate::Argument::from($argument)),*] };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations_accept_what_they_say() {
        let (enoent, eperm) = (Errno(2), Errno(1));
        let cases = [
            (Expect::Any, enoent.result(), true),
            (Expect::Success, 0, true),
            (Expect::Success, u64::MAX - 4095, true),
            (Expect::Success, u64::MAX - 4094, false),
            (Expect::Success, enoent.result(), false),
            (Expect::SuccessOr(enoent), enoent.result(), true),
            (Expect::SuccessOr(enoent), eperm.result(), false),
            (Expect::Exactly(5), 5, true),
            (Expect::Exactly(5), 4, false),
            (Expect::OneOf(0, enoent), enoent.result(), true),
            (Expect::OneOf(0, enoent), 1, false),
        ];
        for (expect, result, accepted) in cases {
            assert_eq!(expect.accepts(result), accepted, "{expect:?} {result:#x}");
        }
    }

    #[test]
    fn arguments_keep_their_sign() {
        let call = Call::new(libc::SYS_openat).with(arguments![libc::AT_FDCWD, 7_u64]);
        assert_eq!(call.arguments[0], Argument::Literal(-100_i64 as u64));
        assert_eq!(call.arguments[2], Argument::Literal(0));
    }
}

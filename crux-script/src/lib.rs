//! Syscall scripts: what crux has a task do, as data.
//!
//! A [`Script`] is a list of [`Line`]s: a call with six arguments and the result that is
//! expected, or a stop for the tracer. Scripts and the data that they point to are kept in an [`Arena`].
//! Scripts are made by pure code, which needs no privilege, and can be printed.

mod arena;
mod errno;
mod ids;
mod line;

pub use arena::{Arena, Block, NulInString, Pointer, Script};
pub use errno::Errno;
pub use ids::{BlockId, DataRef, LineId, ScriptId, Tag};
pub use line::{ARGUMENTS, Argument, Call, Expect, Line, NOT_RUN};

//! Syscall scripts: what crux has a task do, as data, and the only machine code that ever runs in one.
//!
//! A [`Script`] is a list of [`Line`]s: a call with six arguments and the result that is
//! expected, or a stop for the tracer. Scripts and the data that they point to are kept in an [`Arena`].
//! Pure code makes them, without privilege, and can [print](Arena::listing) them. Whoever runs them
//! [checks](Arena::check) each line against a closed [list] of calls first: only a [`Checked`] arena is
//! [linked](Checked::link) into bytes with addresses.
//!
//! In a restore those bytes are in a memfd that is mapped shared in every task, and tasks are
//! nothing but the stub and their script from their first instruction on: [`enter`]. In a dump a living task
//! is sent through one script and back: [`Detour`]. `docs/scripts.md` is the long form.

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("scripts are for x86-64 Linux");

mod arena;
mod calls;
mod check;
#[cfg(test)]
mod check_test;
mod errno;
mod failure;
mod flow;
mod ids;
mod layout;
mod line;
mod link;
mod listing;
mod sys;
mod x86_64;

pub use arena::{Arena, Block, NulInString, Pointer, Script};
pub use calls::{Form, Kind, Names, Null, Purpose, Size, list};
pub use check::{Checked, Refusal};
pub use errno::Errno;
pub use failure::Failure;
pub use ids::{BlockId, DataRef, LineId, ScriptId, Tag};
pub use line::{ARGUMENTS, Argument, Call, Expect, Line, NOT_RUN};
pub use link::{Halt, Linked};
pub use listing::Listing;
pub use sys::{MapError, Mapped, enter, map_arena};
pub use x86_64::{DUMP_STUB_LEN, Detour, Rseq, stub_page};

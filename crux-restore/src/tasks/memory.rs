//! The memory of an arena, as its tracer holds it, and the gate before its first line.
//!
//! Kind: effect. Tasks have the same pages mapped, shared.

use super::trace::TaskError;
use crux_script::Linked;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, pwrite, write};
use rustix::pipe::{PipeFlags, pipe_with};

/// The memory of an arena.
#[derive(Debug)]
pub(crate) struct ArenaMemory {
    file: OwnedFd,
    length: usize,
}

impl ArenaMemory {
    /// With what was linked in it.
    pub(crate) fn make(linked: &Linked) -> Result<Self, TaskError> {
        let flags = MemfdFlags::CLOEXEC;
        // Where memfds are no code unless asked for; kernels before 6.3 do not know the flag.
        let made =
            memfd_create("crux", flags | MemfdFlags::EXEC).or_else(|_| memfd_create("crux", flags));
        let file = made.map_err(named("memfd_create"))?;
        let mut rest = linked.bytes();
        let length = rest.len();
        while !rest.is_empty() {
            let at = (length - rest.len()) as u64;
            let done = pwrite(&file, rest, at).map_err(named("pwrite(memfd)"))?;
            rest = &rest[done..];
        }
        Ok(Self { file, length })
    }

    /// How long it is.
    pub(crate) fn length(&self) -> u64 {
        self.length as u64
    }
}

impl AsFd for ArenaMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// What the first task waits at (a read of one byte) until it is traced. Where the tracer dies
/// before, it reads the end, its line fails, and it ends.
#[derive(Debug)]
pub(crate) struct Gate {
    opener: OwnedFd,
}

impl Gate {
    /// A gate, and the end for the task.
    pub(crate) fn make() -> Result<(Self, OwnedFd), TaskError> {
        let (waiter, opener) = pipe_with(PipeFlags::CLOEXEC).map_err(named("pipe2"))?;
        Ok((Self { opener }, waiter))
    }

    /// Opens it.
    pub(crate) fn open(self) -> Result<(), TaskError> {
        write(&self.opener, &[1]).map_err(named("write(gate)"))?;
        Ok(())
    }
}

fn named(call: &'static str) -> impl Fn(Errno) -> TaskError {
    move |errno| TaskError::Own { call, errno }
}

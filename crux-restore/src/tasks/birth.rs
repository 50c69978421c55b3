//! The birth of the first task: the arena in its place, descriptors at their numbers.
//!
//! Kind: effect. For a process without a filter, which reads nothing of an image: it
//! gets numbers and descriptors.

use super::sys::{self, Birth};
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use serde::{Deserialize, Serialize};

/// The first task. Descriptors come along: the arena's memory, then those for `numbers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct First {
    /// Where the arena is mapped. It begins with the stub.
    pub(crate) base: u64,
    /// How long it is.
    pub(crate) length: u64,
    /// The address of its first line.
    pub(crate) line: u64,
    /// `CLONE_NEW*`.
    pub(crate) namespaces: u64,
    /// Its numbers, from its own pid namespace outwards; empty for any.
    pub(crate) pids: Vec<i32>,
    /// What its parent gets when it ends.
    pub(crate) exit_signal: u64,
    /// The numbers of its descriptors, ascending.
    pub(crate) numbers: Vec<i32>,
}

/// Makes the first task. It runs its script from its first instruction on.
pub(crate) fn first(
    memory: BorrowedFd<'_>,
    first: &First,
    descriptors: Vec<OwnedFd>,
) -> Result<i32, String> {
    let named = |call: &'static str| {
        move |errno: Errno| {
            format!(
                "make the first task: {call}: {}",
                std::io::Error::from(errno)
            )
        }
    };
    sys::map_arena(first.base, first.length, memory).map_err(named("mmap(arena)"))?;
    let above = first
        .numbers
        .iter()
        .max()
        .map_or(0, |most| most.saturating_add(1));
    let raised: Result<Vec<_>, _> = descriptors
        .iter()
        .map(|fd| fcntl_dupfd_cloexec(fd.as_fd(), above))
        .collect();
    drop(descriptors);
    let raised = raised.map_err(named("fcntl(F_DUPFD_CLOEXEC)"))?;
    let descriptors: Vec<_> = raised
        .into_iter()
        .zip(first.numbers.iter().copied())
        .collect();
    sys::give_birth(&Birth {
        namespaces: first.namespaces,
        pids: &first.pids,
        exit_signal: first.exit_signal,
        descriptors: &descriptors,
        entry: first.base,
        line: first.line,
    })
    .map_err(named("clone3"))
}

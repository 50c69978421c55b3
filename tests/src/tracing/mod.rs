//! Runs a program under ptrace(2), and makes one of its system calls fail or its last.
//!
//! Kind: effect. All processes that the program starts are followed until they have
//! ended, so a run that returns has left none. Calls are counted from the moment the
//! program itself begins (the dynamic loader's own are not), and no longer in a
//! process that has become another program. x86_64 only: it changes registers.

mod calls;
mod follow;
mod sight;

pub use calls::{Call, named};
pub use follow::run;
pub use sight::Sight;

use crate::programs::Output;
use nix::errno::Errno;
use std::collections::BTreeMap;

/// What is to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: the calls are counted, and their paths noted.
    None,
    /// The call of this number, from 1, of one kind fails without being made.
    Fail {
        /// Which kind.
        call: Call,
        /// Which of them.
        nth: usize,
        /// The answer.
        errno: Errno,
    },
    /// Every call of a kind fails.
    Always {
        /// Which kind.
        call: Call,
        /// The answer.
        errno: Errno,
    },
    /// Nothing: what each process holds is noted whenever it sends a message.
    Look,
    /// The first call of a kind in a process of this name that has a filter becomes another call.
    Forbidden {
        /// The name of the process (`/proc/PID/comm`).
        role: &'static str,
        /// Which kind.
        call: Call,
        /// The call that is made in its place, with the same arguments.
        with: Call,
    },
    /// A process of this name that has a filter stops for ever at the first call of a kind.
    Hang {
        /// The name of the process (`/proc/PID/comm`).
        role: &'static str,
        /// Which kind.
        call: Call,
    },
    /// A process of this name that has a filter makes its first sendmsg(2) twice: what comes after it is no answer.
    Repeat {
        /// The name of the process (`/proc/PID/comm`).
        role: &'static str,
    },
    /// SIGKILL to another process when the program begins this call, from 1.
    KillOther {
        /// Whom.
        pid: i32,
        /// Of all calls of all kinds.
        nth: usize,
    },
    /// SIGKILL to whichever process that the program started begins this call of theirs, from 1.
    KillRole {
        /// Of all calls of all kinds that they make.
        nth: usize,
    },
    /// SIGKILL to the program when it, or a process it started, begins this call, from 1.
    Kill {
        /// Of all calls of all kinds.
        nth: usize,
    },
}

/// What a traced program did.
#[derive(Debug)]
pub struct Traced {
    /// How the program itself ended, and what it printed.
    pub output: Output,
    /// Whether the fault came to pass; if so, when.
    pub hit: Option<When>,
    /// What its processes held, with [`Fault::Look`].
    pub sights: Vec<Sight>,
    /// How many calls there were, by number.
    pub calls: BTreeMap<i64, usize>,
    /// The path of every call that names one, in order; with [`Fault::None`].
    pub paths: Vec<Vec<u8>>,
}

/// When a fault came to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// In the program's own process, before it had started another.
    Before,
    /// In another process, or after there was one.
    After,
}

//! Processes that are left stopped, until they are.
//!
//! Kind: effect. KERNEL: who is let go by its tracer runs for a moment, in the kernel, before it stops for itself: until
//! then nobody would believe that it is stopped.

use crux_trace::Tid;
use rustix::fd::BorrowedFd;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, read};
use std::time::{Duration, Instant};

/// It has nothing to do but to be scheduled.
const PATIENCE: Duration = Duration::from_secs(2);

/// Waits until a process is stopped, for a while: it is on its way in any case.
pub(super) fn wait(proc: BorrowedFd<'_>, leader: Tid) {
    let since = Instant::now();
    while is_on_its_way(proc, leader) == Ok(true) && since.elapsed() < PATIENCE {}
}

fn is_on_its_way(proc: BorrowedFd<'_>, leader: Tid) -> Result<bool, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(proc, format!("{leader}/stat"), flags, Mode::empty())?;
    let mut text = [0; 512];
    let length = read(&file, &mut text)?;
    // Behind its name, which is in brackets and may hold any.
    let name = text[..length].iter().rposition(|byte| *byte == b')');
    let state = name.and_then(|at| text.get(at + 2));
    Ok(state.is_some_and(|state| !b"TZX".contains(state)))
}

//! What a process gets through /proc and through its cgroups.
//!
//! Kind: effect. All of it is numbers and short words; what is there already is left.

use super::error::TaskError;
use crate::tasks::plan::PlannedProcess;
use crux_trace::Tid;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, read, write};

/// Settings of a process whose tasks stand still.
pub(super) fn apply(
    proc: BorrowedFd<'_>,
    leader: Tid,
    process: &PlannedProcess,
) -> Result<(), TaskError> {
    let oom = process.oom_score_adj.to_string();
    change(proc, leader, "oom_score_adj", oom.as_bytes(), |now| {
        now == oom
    })?;
    let filter = format!("{:#x}", process.coredump_filter);
    change(proc, leader, "coredump_filter", filter.as_bytes(), |now| {
        u32::from_str_radix(now, 16) == Ok(process.coredump_filter)
    })
}

fn change(
    proc: BorrowedFd<'_>,
    leader: Tid,
    name: &str,
    value: &[u8],
    is_there: impl Fn(&str) -> bool,
) -> Result<(), TaskError> {
    let path = format!("{leader}/{name}");
    let failed = |call: &'static str| {
        let path = path.clone();
        move |errno: Errno| TaskError::Setting {
            call: format!("{call}(\"/proc/{path}\")"),
            errno,
        }
    };
    let mut text = [0; 32];
    let file = open(proc, &path, OFlags::RDONLY).map_err(failed("open"))?;
    let length = read(&file, &mut text).map_err(failed("read"))?;
    let now = std::str::from_utf8(&text[..length])
        .unwrap_or_default()
        .trim();
    if is_there(now) {
        return Ok(());
    }
    let file = open(proc, &path, OFlags::WRONLY).map_err(failed("open"))?;
    write(&file, value).map_err(failed("write")).map(drop)
}

fn open(proc: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    openat(proc, path, flags | OFlags::CLOEXEC, Mode::empty())
}

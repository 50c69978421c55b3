//! The ptys of a devpts instance that mounts show.
//!
//! Kind: effect. A pty exists as long as its master is open, and the instance gives
//! out the lowest free number: so all up to the highest are made, and those that
//! nobody shows are let go again.

use super::error::{StepError, named};
use crux_image::mounts::{Contents, Terminal};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, chmodat, chownat, openat};
use rustix::io::Errno;
use rustix::pty::unlockpt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Makes the terminals in `contents`, unlocked; the masters, with their numbers, keep them.
pub(super) fn make(
    contents: &Contents,
    root: BorrowedFd<'_>,
) -> Result<Vec<(u32, OwnedFd)>, StepError> {
    let Contents::Terminals(terminals) = contents else {
        return Ok(Vec::new());
    };
    let Some(highest) = terminals.iter().map(|t| t.number).max() else {
        return Ok(Vec::new());
    };
    let mut masters = Vec::new();
    for number in 0..=highest {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let master = openat(root, "ptmx", flags, Mode::empty()).map_err(named("open(ptmx)"))?;
        if pty_number(master.as_fd())? != number {
            return Err(StepError::Terminal(number));
        }
        masters.push(Some(master));
    }
    for terminal in terminals {
        set_owner(terminal, root)?;
    }
    let mut kept = Vec::with_capacity(terminals.len());
    for number in terminals.iter().map(|terminal| terminal.number) {
        if let Some(master) = masters[number as usize].take() {
            unlockpt(&master).map_err(named("ioctl(TIOCSPTLCK)"))?;
            kept.push((number, master));
        }
    }
    Ok(kept)
}

fn pty_number(master: BorrowedFd<'_>) -> Result<u32, StepError> {
    // The name of the slave is "/dev/pts/N", whatever is mounted there.
    let name = rustix::pty::ptsname(master, Vec::new()).map_err(named("ioctl(TIOCGPTN)"))?;
    let name = name.to_string_lossy();
    let number = name.rsplit('/').next().and_then(|last| last.parse().ok());
    number.ok_or(StepError::Call {
        call: format!("ptsname: {name}"),
        errno: Errno::NOTTY,
    })
}

fn set_owner(terminal: &Terminal, root: BorrowedFd<'_>) -> Result<(), StepError> {
    let name = terminal.number.to_string();
    let owner = (Uid::from_raw(terminal.uid), Gid::from_raw(terminal.gid));
    chownat(
        root,
        &name,
        Some(owner.0),
        Some(owner.1),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .map_err(named("fchownat(pty)"))?;
    chmodat(
        root,
        &name,
        Mode::from_raw_mode(terminal.mode.into()),
        AtFlags::empty(),
    )
    .map_err(named("fchmodat(pty)"))
}

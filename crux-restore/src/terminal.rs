//! New terminals of this machine, for containers whose console was one.
//!
//! Kind: effect. Nobody reads what is written to them: that is for whoever will
//! restore tasks.

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Result;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use std::os::fd::OwnedFd;

/// Makes a pty: its slave and its master (pts(4)).
pub(crate) fn open() -> Result<(OwnedFd, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = openat(CWD, "/dev/ptmx", flags, Mode::empty())?;
    unlockpt(&master)?;
    // Not by its name, where something else may be mounted.
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    Ok((slave, master))
}

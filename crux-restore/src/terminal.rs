//! New terminals of this machine, for containers whose console was one.
//!
//! Kind: effect. Who has their masters then is for `console` and, of mounts alone, for the supervisor.

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Result;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use std::os::fd::OwnedFd;

/// Makes a pty: its slave, its number and its master (pts(4)).
pub(crate) fn open() -> Result<(OwnedFd, u32, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = openat(CWD, "/dev/ptmx", flags, Mode::empty())?;
    unlockpt(&master)?;
    // Not by its name, where something else may be mounted.
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    let name = rustix::pty::ptsname(&master, Vec::new())?;
    let name = name.to_string_lossy();
    let number = name.rsplit('/').next().and_then(|last| last.parse().ok());
    Ok((slave, number.ok_or(rustix::io::Errno::NOTTY)?, master))
}

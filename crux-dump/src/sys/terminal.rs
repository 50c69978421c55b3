//! What terminals tell (ioctl_tty(2)).
//!
//! Kind: effect.

use super::read_ioctl;
use crux_mount::sys::SysError;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use std::os::fd::{BorrowedFd, OwnedFd};

/// Requests that tell one number, an int.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// `TIOCGPTN`: of a master.
    Number,
    /// `TIOCGPTLCK`: of a master.
    Locked,
    /// `TIOCGPKT`: of a master.
    Packets,
    /// `TIOCGEXCL`
    Exclusive,
    /// `TIOCGETD`
    Discipline,
    /// `TIOCGDEV`: of what `/dev/tty` led to.
    Device,
    /// `FIONREAD`
    Unread,
}

impl Told {
    fn request(self) -> (libc::Ioctl, &'static str) {
        match self {
            Self::Number => (0x8004_5430, "TIOCGPTN"),
            Self::Locked => (0x8004_5439, "TIOCGPTLCK"),
            Self::Packets => (0x8004_5438, "TIOCGPKT"),
            Self::Exclusive => (0x8004_5440, "TIOCGEXCL"),
            Self::Discipline => (libc::TIOCGETD, "TIOCGETD"),
            Self::Device => (0x8004_5432, "TIOCGDEV"),
            Self::Unread => (libc::FIONREAD, "FIONREAD"),
        }
    }
}

/// What a terminal tells.
pub(crate) fn number(terminal: BorrowedFd<'_>, what: Told) -> Result<u32, SysError> {
    let (request, name) = what.request();
    read_ioctl::<4>(terminal, request, name).map(u32::from_ne_bytes)
}

/// Bytes of `struct termios2` (asm-generic/termbits.h).
pub(crate) const SETTINGS: usize = 44;

/// The settings of a terminal.
pub(crate) fn settings(terminal: BorrowedFd<'_>) -> Result<[u8; SETTINGS], SysError> {
    const TCGETS2: libc::Ioctl = 0x802c_542a;
    read_ioctl(terminal, TCGETS2, "TCGETS2")
}

/// Rows, columns, and both in pixels (`struct winsize`).
pub(crate) fn window(terminal: BorrowedFd<'_>) -> Result<[u16; 4], SysError> {
    let bytes = read_ioctl::<8>(terminal, libc::TIOCGWINSZ, "TIOCGWINSZ")?;
    let mut window = [0; 4];
    for (place, pair) in window.iter_mut().zip(bytes.chunks_exact(2)) {
        *place = u16::from_ne_bytes([pair[0], pair[1]]);
    }
    Ok(window)
}

/// The slave of a master.
pub(crate) fn peer(master: BorrowedFd<'_>) -> Result<OwnedFd, SysError> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let opened = ioctl_tiocgptpeer(master, flags);
    opened.map_err(|errno| SysError::new("ioctl(TIOCGPTPEER)", errno))
}

//! Calls on terminals (ioctl_tty(2)), for restore.
//!
//! Kind: pure, a table.

use super::files::OPEN;
use super::kind::Kind::{Fd, Flags, Is, Zero};
use super::kind::{Form, form, input};

macro_rules! ioctl {
    ($($request:ident $value:expr, $kind:expr;)*) => {
        &[$(form(
            libc::SYS_ioctl,
            "ioctl",
            &[("fd", Fd), ("request", Is(stringify!($request), $value)), ("argument", $kind)],
        )),*]
    };
}

pub(super) const FORMS: &[Form] = ioctl![
    // The slave of a master, by no name.
    TIOCGPTPEER 0x5441, Flags(OPEN);
    TIOCSPTLCK 0x4004_5431, input(4);
    TIOCPKT 0x5420, input(4);
    // Never from a session that has it.
    TIOCSCTTY 0x540e, Zero;
    TIOCSPGRP 0x5410, input(4);
    TIOCSWINSZ 0x5414, input(8);
    TIOCEXCL 0x540c, Zero;
    // struct termios2.
    TCSETS2 0x402c_542b, input(44);
];

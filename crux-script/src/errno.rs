//! The kernel's answer to a call that failed.
//!
//! Kind: pure. The same numbers as in libc, in a form that goes into messages.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An error number (errno(3)). It is shown as `ENOENT (No such file or directory)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Errno(pub u16);

/// Results from here on are errors (`MAX_ERRNO` in the kernel's `include/linux/err.h`).
const FIRST_ERROR: u64 = 4095_u64.wrapping_neg();

impl Errno {
    /// That of a result, if it is an error.
    #[must_use]
    pub fn of(result: u64) -> Option<Self> {
        let number = result.wrapping_neg();
        (result >= FIRST_ERROR).then_some(Self(number as u16))
    }

    /// The result that carries it.
    #[must_use]
    pub fn result(self) -> u64 {
        u64::from(self.0).wrapping_neg()
    }

    /// Its name, if it has one.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        let number = i32::from(self.0);
        let found = NAMES.iter().find(|(of, _)| *of == number);
        found.map(|(_, name)| *name)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = i32::from(self.0);
        let text = std::io::Error::from_raw_os_error(code).to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        match self.name() {
            Some(name) => write!(f, "{name} ({text})"),
            None => write!(f, "errno {code} ({text})"),
        }
    }
}

macro_rules! names {
    ($($name:ident)*) => { [$((libc::$name, stringify!($name))),*] };
}

const NAMES: [(i32, &str); 88] = names! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT
    ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG
    ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY
    ELOOP ENOMSG EIDRM ENODATA ETIME ENOLINK EPROTO EBADMSG EOVERFLOW EUSERS ENOTSOCK
    EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP
    EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET
    ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT
    ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN EREMOTEIO EDQUOT
    ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED EOWNERDEAD ENOTRECOVERABLE EHWPOISON
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_goes_into_a_result_and_back() {
        for number in [1, 2, 38, 4095] {
            assert_eq!(Errno::of(Errno(number).result()), Some(Errno(number)));
        }
        assert_eq!(Errno::of(0), None);
        assert_eq!(Errno::of(u64::MAX - 4095), None, "an address, not an error");
    }

    #[test]
    fn it_is_shown_by_name_and_in_words() {
        assert_eq!(Errno(2).to_string(), "ENOENT (No such file or directory)");
        assert!(Errno(4000).to_string().starts_with("errno 4000 ("));
    }
}

//! The error of a system call: which call, with its arguments, and the kernel's answer.
//!
//! Kind: pure. It formats; it reads nothing from the kernel.

use rustix::io::Errno;
use std::fmt;

/// A system call that failed. It is shown as strace(1) would:
/// `move_mount(7, "", 9, "", MOVE_MOUNT_SET_GROUP) = -1 EINVAL (Invalid argument)`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call} = -1 {}{}", Named(*.errno), Said(.kernel_log))]
pub struct SysError {
    call: String,
    errno: Errno,
    kernel_log: Vec<String>,
}

impl SysError {
    /// An error of `call`, written with its arguments as strace(1) would.
    pub fn new(call: impl Into<String>, errno: Errno) -> Self {
        Self {
            call: call.into(),
            errno,
            kernel_log: Vec::new(),
        }
    }

    /// The same error with what the kernel itself said of it (the log of an fsopen(2) context).
    pub fn with_kernel_log(mut self, messages: Vec<String>) -> Self {
        self.kernel_log = messages;
        self
    }

    /// The kernel's answer.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// The call with its arguments.
    pub fn call(&self) -> &str {
        &self.call
    }

    /// The kernel's own words, where it had some.
    pub fn kernel_log(&self) -> &[String] {
        &self.kernel_log
    }
}

/// For `map_err`: describes the call only when it has failed.
pub(super) fn call(describe: impl FnOnce() -> String) -> impl FnOnce(Errno) -> SysError {
    move |errno| SysError::new(describe(), errno)
}

struct Said<'a>(&'a [String]);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, "; the kernel says: {}", self.0.join("; "))
    }
}

struct Named(Errno);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.0.raw_os_error();
        let text = std::io::Error::from_raw_os_error(code).to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        match name(self.0) {
            Some(name) => write!(f, "{name} ({text})"),
            None => write!(f, "errno {code} ({text})"),
        }
    }
}

macro_rules! names {
    ($errno:expr; $($short:ident $name:literal),* $(,)?) => {
        $(if $errno == Errno::$short { return Some($name); })*
    };
}

/// The name of an errno that a call of this crate may give (errno(3)).
fn name(errno: Errno) -> Option<&'static str> {
    names!(errno;
        PERM "EPERM", NOENT "ENOENT", INTR "EINTR", IO "EIO", NXIO "ENXIO", TOOBIG "E2BIG",
        BADF "EBADF", AGAIN "EAGAIN", NOMEM "ENOMEM", ACCESS "EACCES", FAULT "EFAULT",
        NOTBLK "ENOTBLK", BUSY "EBUSY", EXIST "EEXIST", XDEV "EXDEV", NODEV "ENODEV",
        NOTDIR "ENOTDIR", ISDIR "EISDIR", INVAL "EINVAL", NFILE "ENFILE", MFILE "EMFILE",
        NOTTY "ENOTTY", TXTBSY "ETXTBSY", FBIG "EFBIG", NOSPC "ENOSPC", ROFS "EROFS",
        MLINK "EMLINK", RANGE "ERANGE", NAMETOOLONG "ENAMETOOLONG", NOSYS "ENOSYS",
        NOTEMPTY "ENOTEMPTY", LOOP "ELOOP", NODATA "ENODATA", OVERFLOW "EOVERFLOW",
        USERS "EUSERS", OPNOTSUPP "EOPNOTSUPP", STALE "ESTALE", MSGSIZE "EMSGSIZE",
        SRCH "ESRCH", DQUOT "EDQUOT", CHILD "ECHILD", PIPE "EPIPE", UCLEAN "EUCLEAN",
        NOKEY "ENOKEY", KEYREJECTED "EKEYREJECTED", TIMEDOUT "ETIMEDOUT", NOTCONN "ENOTCONN",
    );
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_like_strace() {
        let error = SysError::new(
            r#"move_mount(7, "", 9, "", MOVE_MOUNT_SET_GROUP)"#,
            Errno::INVAL,
        );
        assert_eq!(
            error.to_string(),
            r#"move_mount(7, "", 9, "", MOVE_MOUNT_SET_GROUP) = -1 EINVAL (Invalid argument)"#
        );
        assert_eq!(error.errno(), Errno::INVAL);
    }

    #[test]
    fn the_kernels_own_words_come_last() {
        let error = SysError::new("fsconfig(3, FSCONFIG_CMD_CREATE)", Errno::INVAL)
            .with_kernel_log(vec!["e tmpfs: Bad value for 'size'".into()]);
        assert!(
            error
                .to_string()
                .ends_with("; the kernel says: e tmpfs: Bad value for 'size'")
        );
    }

    #[test]
    fn an_errno_without_a_name_is_shown_by_number() {
        let error = SysError::new("f()", Errno::from_raw_os_error(133));
        assert!(
            error.to_string().starts_with("f() = -1 errno 133 ("),
            "{error}"
        );
    }
}

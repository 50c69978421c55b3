//! Why a tree could not be rebuilt.
//!
//! Kind: pure.

use crux_image::contents::FormatError;
use crux_image::path::Escaped;
use rustix::io::Errno;

/// Why a tree could not be rebuilt. Paths are relative to the root of the tree, escaped.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// A system call failed.
    #[error("make {path}: {call}: {errno}{hint}")]
    Call {
        /// The call with its arguments.
        call: String,
        /// The file.
        path: String,
        /// The cause.
        errno: Errno,
        /// What the errno means here, if it misleads.
        hint: &'static str,
    },
    /// The kernel took a mode without a word and set another.
    #[error(
        "make {path}: fchmod({wanted:o}) left mode {found:o} \
         (set-user-ID and set-group-ID bits need CAP_FSETID)"
    )]
    Mode {
        /// The file.
        path: String,
        /// What the image has.
        wanted: u16,
        /// What the file has.
        found: u16,
    },
    /// The image is damaged or hostile.
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl ContentsError {
    pub(super) fn call(call: impl Into<String>, path: &[u8], errno: Errno) -> Self {
        let call = call.into();
        let hint = hint(&call, errno);
        Self::Call {
            call,
            path: format!("/{}", Escaped(path)),
            errno,
            hint,
        }
    }
}

fn hint(call: &str, errno: Errno) -> &'static str {
    match errno {
        Errno::PERM if call.starts_with("mknodat(") => {
            " (devices need CAP_MKNOD in the initial user namespace)"
        }
        Errno::PERM if call.contains("\"trusted.") => {
            " (trusted.* needs CAP_SYS_ADMIN in the initial user namespace)"
        }
        Errno::PERM if call.contains("\"security.capability\"") => " (needs CAP_SETFCAP)",
        Errno::INVAL if call.starts_with("fchown") => {
            " (the owner or group may have no mapping in this user namespace)"
        }
        Errno::NOSPC => " (the file system's size or nr_inodes is too small)",
        _ => "",
    }
}

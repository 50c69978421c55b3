//! Why a tree could not be read.
//!
//! Kind: pure.

use crux_image::contents::{BytesError, FormatError};
use crux_image::path::Escaped;
use rustix::io::Errno;

/// Why a tree could not be read. Paths are relative to the root of the tree, escaped.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// A system call failed.
    #[error("record {path}: {call}: {errno}")]
    Call {
        /// The call with its arguments.
        call: String,
        /// The file.
        path: String,
        /// The cause.
        errno: Errno,
    },
    /// The mount would update access times, and cannot be cloned into one that does not.
    #[error(
        "record a tree without a change to its access times: {call}: {errno} \
         (its mount has to be in the caller's mount namespace, or be noatime)"
    )]
    Loud {
        /// The call with its arguments.
        call: &'static str,
        /// The cause.
        errno: Errno,
    },
    /// A mount lies over part of the tree.
    #[error("record {path}: another mount is mounted there and hides it")]
    Hidden {
        /// The mountpoint.
        path: String,
    },
    /// Not what the directory said it was, or shorter than its size.
    #[error("record {path}: it changed while it was read")]
    Changed {
        /// The file.
        path: String,
    },
    /// A type of file that does not exist.
    #[error("record {path}: its type is unknown (mode {mode:o})")]
    Type {
        /// The file.
        path: String,
        /// `stx_mode`
        mode: u16,
    },
    /// An attribute of chattr(1) that images do not have.
    #[error(
        "record {path}: it has the file attribute {attribute} (chattr(1)), which is not supported"
    )]
    Attribute {
        /// The file.
        path: String,
        /// Its name.
        attribute: &'static str,
    },
    /// The name for an orphan is taken.
    #[error("record the orphan {path}: the root directory has a file of that name")]
    OrphanName {
        /// The name.
        path: String,
    },
    /// An orphan that cannot be recorded.
    #[error("record the orphan {path}: {reason}")]
    Orphan {
        /// The name.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// What the kernel gave does not fit into an image.
    #[error("record {path}: {what}: {reason}")]
    Bytes {
        /// The file.
        path: String,
        /// Which of its properties.
        what: &'static str,
        /// Why.
        reason: BytesError,
    },
    /// The image cannot be written.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// How a path is shown: with a slash before it, and escaped.
pub(super) fn shown(path: &[u8]) -> String {
    format!("/{}", Escaped(path))
}

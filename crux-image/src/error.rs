//! Why an image could not be read or written.
//!
//! Kind: pure. Each error is one line with the whole cause; names are escaped.

use crate::codec::CodecError;
use crate::member::HeaderError;
use crate::mounts::MountsError;
use crate::path::Escaped;
use crate::tasks::TasksError;
use rustix::io::Errno;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// An image, or one file of it, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("image {place}: {problem}")]
pub struct ImageError {
    place: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong with an image.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A system call failed.
    #[error("{call}: {}", words(*.errno))]
    Call {
        /// The call with its arguments.
        call: String,
        /// Its result.
        errno: Errno,
    },
    /// The file system or the quota is full.
    #[error(
        "no space left on the disk ({call}: {errno}): free some, or name a directory elsewhere; \
         what was written is removed"
    )]
    DiskFull {
        /// The call with its arguments.
        call: String,
        /// ENOSPC or EDQUOT.
        errno: &'static str,
    },
    /// The directory to write exists.
    #[error("exists already: name a directory that does not, an image is never overwritten")]
    Exists,
    /// The directory to write into until the image is complete exists.
    #[error(
        "\"{0}\" exists already: another dump is writing it, or was killed; if none runs, remove it"
    )]
    PartialExists(String),
    /// The contents of file systems are damaged.
    #[error(transparent)]
    Contents(crate::contents::FormatError),
    /// The path ends in `/`, `.` or `..`.
    #[error("the path does not end with a name for the image")]
    NoName,
    /// The path is not a directory.
    #[error("is not a directory; an image is one")]
    NotADirectory,
    /// There is nothing at this path.
    #[error("does not exist")]
    Missing,
    /// A member is missing.
    #[error("the file is missing{}", if *.partial { ": the dump that wrote it did not complete" } else { "" })]
    MissingMember {
        /// The image's own name ends in `.partial`.
        partial: bool,
    },
    /// A member is not a regular file.
    #[error("is {0}; the members of an image are regular files")]
    NotRegular(&'static str),
    /// The header of a member is wrong.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The file has another length than its header or the inventory says.
    #[error("is {found} bytes long and should be {expected}: truncated, or changed since the dump")]
    Length {
        /// From fstat(2).
        found: u64,
        /// What header or inventory say.
        expected: u64,
    },
    /// A checksum does not match.
    #[error("the checksum is {found:08x} and should be {expected:08x}: damaged since the dump")]
    Checksum {
        /// Of the bytes read.
        found: u32,
        /// What header or inventory say.
        expected: u32,
    },
    /// The record cannot be decoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The record means nothing.
    #[error(transparent)]
    Mounts(#[from] MountsError),
    /// The record of tasks breaks a rule.
    #[error(transparent)]
    Tasks(#[from] TasksError),
    /// Pages are said to be where the file has none.
    #[error(
        "ends at {length} bytes, before the pages that the record of tasks names (to {needed})"
    )]
    PagesEnd {
        /// How long the file is.
        length: u64,
        /// How long it has to be.
        needed: u64,
    },
    /// The inventory means nothing.
    #[error("{0}")]
    Inventory(String),
    /// The inventory does not list a member that is asked for.
    #[error("the inventory does not list it: this image holds no such data")]
    NotListed,
    /// A streaming member was not finished by whoever wrote it.
    #[error("was not finished by its writer (a defect of crux)")]
    Unfinished,
}

impl ImageError {
    /// About the image as a whole.
    pub fn new(image: &Path, problem: impl Into<Problem>) -> Self {
        Self {
            place: shown(image),
            problem: problem.into(),
        }
    }

    /// About one file of it.
    pub fn of_member(image: &Path, file: &str, problem: impl Into<Problem>) -> Self {
        Self {
            place: format!("{}: {file}", shown(image)),
            problem: problem.into(),
        }
    }
}

impl Problem {
    /// A failed system call; a full disk is told apart.
    pub fn call(call: impl Into<String>, errno: Errno) -> Self {
        let call = call.into();
        match errno {
            Errno::NOSPC => Self::DiskFull {
                call,
                errno: "ENOSPC",
            },
            Errno::DQUOT => Self::DiskFull {
                call,
                errno: "EDQUOT",
            },
            _ => Self::Call { call, errno },
        }
    }

    /// A failed operation of `std`, which is one call or an early end of file.
    pub fn io(call: impl Into<String>, error: &io::Error) -> Self {
        Self::call(call, Errno::from_io_error(error).unwrap_or(Errno::IO))
    }
}

fn words(errno: Errno) -> String {
    io::Error::from(errno).to_string()
}

fn shown(path: &Path) -> String {
    Escaped(path.as_os_str().as_bytes()).to_string()
}

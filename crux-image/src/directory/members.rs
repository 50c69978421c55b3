//! The files of an image, opened by one process for another to read.
//!
//! Kind: effect. Not a byte is read here: whoever opens may be privileged, whoever
//! reads is not.

use super::open::{open_directory, open_member};
use crate::error::{ImageError, Problem};
use crate::member::MemberKind;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::fs::File;
use std::io::Seek as _;
use std::path::Path;

/// Every member that an image directory has, open for reading.
#[derive(Debug)]
pub struct Members(Vec<(MemberKind, File)>);

impl Members {
    /// Opens what is in the image directory at `path`; each member is a regular file.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        Self::open_some(path, MemberKind::ALL)
    }

    /// The same, of these kinds alone.
    pub fn open_some(
        path: &Path,
        kinds: impl IntoIterator<Item = MemberKind>,
    ) -> Result<Self, ImageError> {
        let dir = open_directory(path)?;
        let mut files = Vec::new();
        for kind in kinds {
            match open_member(&dir, kind.file_name()) {
                Ok((file, _)) => files.push((kind, file)),
                Err(Problem::MissingMember { .. }) => {}
                Err(problem) => {
                    return Err(ImageError::of_member(path, kind.file_name(), problem));
                }
            }
        }
        Ok(Self(files))
    }

    /// Takes members that another process has opened.
    pub fn from_files(files: impl IntoIterator<Item = (MemberKind, OwnedFd)>) -> Self {
        let files = files.into_iter().map(|(kind, fd)| (kind, File::from(fd)));
        Self(files.collect())
    }

    /// What there is, to hand it to another process.
    pub fn files(&self) -> impl Iterator<Item = (MemberKind, BorrowedFd<'_>)> {
        self.0.iter().map(|(kind, file)| (*kind, file.as_fd()))
    }

    /// How long a member is; none if there is no such file.
    pub fn length(&self, kind: MemberKind) -> Option<u64> {
        self.file(kind).ok().map(|(_, length)| length)
    }

    /// A member from its first byte, and its length. The descriptors of one member
    /// share one offset: one is read at a time.
    pub(super) fn file(&self, kind: MemberKind) -> Result<(File, u64), Problem> {
        let found = self.0.iter().find(|(it, _)| *it == kind);
        let (_, file) = found.ok_or(Problem::MissingMember { partial: false })?;
        let length = file.metadata().map_err(|e| Problem::io("fstat", &e))?.len();
        let mut file = file.try_clone().map_err(|e| Problem::io("dup", &e))?;
        file.rewind().map_err(|e| Problem::io("lseek", &e))?;
        Ok((file, length))
    }
}

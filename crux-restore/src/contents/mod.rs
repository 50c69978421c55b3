//! Rebuilds the tree of a file system in memory (tmpfs, ramfs) from an image.
//!
//! Kind: effect. Works beneath the descriptor of an empty root only, with names of one
//! component and never through a symlink; one directory is open at a time, however
//! deep the tree is. Whoever calls sees to it that nobody else can reach the tree,
//! and that nobody else uses the working directory: extended attributes of files that cannot be opened
//! are set by name in it. It is put back.
//!
//! Needs CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER and CAP_FSETID over the tree, and for
//! what only some trees have CAP_MKNOD (devices), CAP_SETFCAP (`security.capability`) and
//! CAP_SYS_ADMIN (`trusted.*`), these three in the user namespace that the kernel asks for.
//! Owners are those that the dumping process saw.

mod apply;
mod directories;
mod error;
mod links;
mod node;
mod subject;

pub use error::ContentsError;

use crate::inward::Outer;
use crux_image::contents::{ContentsReader, Section};
use std::fs::File;
use std::os::fd::BorrowedFd;

/// Makes the tree of `section` in the empty root directory `root`, whose own owner, mode,
/// times and attributes are set too. What was made before an error stays: the caller
/// throws the file system away.
pub fn apply(
    root: BorrowedFd<'_>,
    section: Section,
    reader: &mut ContentsReader<File>,
) -> Result<(), ContentsError> {
    apply_for(None, root, section, reader)
}

/// The same for who may have no privilege but over a user namespace of his own.
pub(crate) fn apply_for(
    own: Option<Outer>,
    root: BorrowedFd<'_>,
    section: Section,
    reader: &mut ContentsReader<File>,
) -> Result<(), ContentsError> {
    apply::Builder::new(own, root)?.run(&mut reader.section(section)?)
}

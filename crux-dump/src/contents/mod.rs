//! Reads the tree of a file system in memory (tmpfs, ramfs) into an image.
//!
//! Kind: effect. Works on descriptors only, in this process, with bounded memory:
//! how deep a tree is and how many files it has costs neither stack nor descriptors.
//!
//! The source is left as it is. It is read through a detached clone of its mount,
//! read-only and `noatime`, because readlink(2) updates the access time of a
//! symlink and no flag of a descriptor prevents that; the clone also shows what
//! other mounts hide. Devices, fifos and sockets are never opened. What watches of
//! the container's own see (inotify(7), leases) cannot be avoided.
//!
//! Whoever calls has to be in the mount namespace of the root's mount (open_tree(2)),
//! or give a mount that is `noatime` or read-only already, and has to be single-threaded
//! or alone in its use of the working directory: that is where extended attributes of
//! files that cannot be opened are read, one component at a time. It is put back.
//! Owners are recorded as this process sees them; `trusted.*` attributes are shown only to who
//! holds CAP_SYS_ADMIN in the initial user namespace, and are not recorded by anybody else.

mod covered;
mod error;
mod file;
mod holes;
mod level;
mod links;
mod orphan;
mod quiet;
mod stat;
mod sys;
mod walk;
mod working;
mod xattrs;

pub use error::ContentsError;

use crux_image::contents::{ContentsWriter, Name, Section};
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd};

/// Records the tree whose root directory is `root`, as one section of `writer`.
///
/// `orphans` are files of the same file system that have no name any more but are
/// the root of a mount: each is recorded in the root directory under the name
/// given. /proc has to be mounted.
///
/// After an error `writer` is of no further use.
pub fn collect(
    root: BorrowedFd<'_>,
    orphans: &[(Name, BorrowedFd<'_>)],
    writer: &mut ContentsWriter<File>,
) -> Result<Section, ContentsError> {
    let tree = quiet::quiet(root)?;
    writer.begin_section()?;
    record(
        tree.as_fd(),
        Beneath::Nothing,
        orphans,
        orphan::own_directory()?.as_fd(),
        writer,
    )?;
    Ok(writer.finish_section()?)
}

/// Whether something is mounted in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beneath {
    /// No. Whatever is found there is an error.
    Nothing,
    /// It may be. What it covers is recorded as empty: nobody can say what it is.
    Mounts,
}

/// The same, as the directory that was entered last in a section that is open. The mount of `root`
/// has to be quiet already (`noatime` or read-only), and to stay.
/// `process` is this thread's directory in /proc, which its root may not reach. How many files
/// were covered by mounts.
pub(crate) fn record(
    root: BorrowedFd<'_>,
    beneath: Beneath,
    orphans: &[(Name, BorrowedFd<'_>)],
    process: BorrowedFd<'_>,
    writer: &mut ContentsWriter<File>,
) -> Result<u64, ContentsError> {
    walk::Walk::new(root, beneath, orphans, process, writer)?.run(orphans)
}

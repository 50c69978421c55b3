//! Reading the mount namespace of a process from outside.
//!
//! Kind: effect. It gives what the kernel shows, consistent in itself, and judges nothing.
//! TRUST: names in the table are the container's; only `mountinfo` interprets them.

mod hidden;

pub use hidden::HiddenMount;

use crate::features::Features;
use crate::ids::{MountId, MountNsId, UniqueMountId};
use crate::mountinfo::{self, Entry, ParseError};
use crate::sys::{self, NamespaceKind, SysError};
use crux_image::mounts::IdMap;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};

/// How often a table that changes is read again.
const TRIES: usize = 10;
/// The largest table that is read: 10,000 mounts take about 2 MB, `fs.mount-max` is 100,000.
const TABLE_LIMIT: u64 = 256 << 20;

/// Why a mount namespace could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// A call failed.
    #[error(transparent)]
    Sys(#[from] SysError),
    /// It has no mount namespace (any more).
    #[error("the process has ended, or is a zombie: it has no mount namespace ({0})")]
    Gone(SysError),
    /// Reading failed on the way.
    #[error("read(/proc/PID/mountinfo): {0}")]
    Read(#[source] std::io::Error),
    /// It is larger than anything that can be real.
    #[error("the mount table is larger than {} MiB", TABLE_LIMIT >> 20)]
    TooLarge,
    /// It is no mount table.
    #[error("/proc/PID/mountinfo: {0}")]
    Parse(#[from] ParseError),
    /// It never was the same twice.
    #[error("the mount table kept changing: {TRIES} reads, no two alike in a row")]
    Changing,
    /// statmount(2) and mountinfo say different things.
    #[error("statmount(2) of mount {0} does not fit the mount table")]
    Inconsistent(MountId),
}

/// The identity of a namespace: device and inode of its nsfs file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceIdentity {
    /// Device of nsfs.
    pub device: crate::ids::Device,
    /// Inode number, as in `mnt:[4026531841]`.
    pub inode: u64,
}

/// Where the root directory of a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskRoot {
    /// The mount it lies in.
    pub mount: MountId,
    /// Whether it is that mount's root; otherwise the task was chrooted into a directory.
    pub place: RootPlace,
}

/// See [`TaskRoot::place`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootPlace {
    /// The root of the mount.
    MountRoot,
    /// A directory further down.
    Directory,
}

/// A mount namespace as one process shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedNamespace {
    /// Which namespace.
    pub identity: NamespaceIdentity,
    /// Its id, where the kernel gives one.
    pub id: Option<MountNsId>,
    /// The root directory of the process.
    pub root: TaskRoot,
    /// The table, in the kernel's order: what the process's root directory reaches.
    pub entries: Vec<Entry>,
    /// The unique ids of [`Self::entries`], one for one; empty where the kernel gives none.
    pub unique: Vec<UniqueMountId>,
    /// The maps of id-mapped mounts, as far as the kernel gives them.
    pub idmaps: BTreeMap<MountId, IdMap>,
    /// Mounts of the namespace that the table does not show, because the process is chrooted.
    pub hidden: Hidden,
}

/// What is known of mounts that the table does not show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hidden {
    /// The kernel cannot be asked: before Linux 6.11, or without CAP_SYS_ADMIN.
    Unknown,
    /// These.
    Known(Vec<HiddenMount>),
    /// These, and the root of the process is stacked on the root of them all: whoever enters the
    /// namespace comes out on top, and no path leads down. systemd's services are like that.
    Buried(Vec<HiddenMount>),
}

/// Reads the mount namespace of the process whose `/proc/PID` directory `process` is.
pub fn observe_process(
    process: BorrowedFd<'_>,
    features: &Features,
) -> Result<ObservedNamespace, ObserveError> {
    read_settled(process, features)?.interpret(features)
}

/// Reads the namespace until it is the same twice in a row.
pub fn read_settled(process: BorrowedFd<'_>, features: &Features) -> Result<Reading, ObserveError> {
    settled(|| Reading::of(process, features))?.ok_or(ObserveError::Changing)
}

/// Reads the namespace once, for a caller that takes another [`Reading`] when it is done, and begins
/// anew if that is not the same. Only what makes no sense is read again here: the kernel
/// gives out a table in pieces, and it may change between them.
pub fn begin_to_observe(
    process: BorrowedFd<'_>,
    features: &Features,
) -> Result<(Reading, ObservedNamespace), ObserveError> {
    let mut reading = Reading::of(process, features)?;
    for _ in 1..TRIES {
        let error = match reading.interpret(features) {
            Ok(space) => return Ok((reading, space)),
            Err(error) => error,
        };
        let again = Reading::of(process, features)?;
        // A table that changes and changes back is the same twice; what was asked in between was not.
        if again == reading && !matches!(error, ObserveError::Inconsistent(_)) {
            return Err(error);
        }
        reading = again;
    }
    Err(ObserveError::Changing)
}

/// Reads until two readings in a row are the same. Polling mountinfo would be cheaper than a second
/// reading, but it does not tell of changed propagation, of unlinked roots and of renamed directories.
fn settled<T: PartialEq, E>(mut read: impl FnMut() -> Result<T, E>) -> Result<Option<T>, E> {
    let mut before = read()?;
    for _ in 1..TRIES {
        let after = read()?;
        if before == after {
            return Ok(Some(after));
        }
        before = after;
    }
    Ok(None)
}

/// All that is read of a namespace, uninterpreted. It has not changed between two
/// readings that are the same.
#[derive(Debug, PartialEq, Eq)]
pub struct Reading {
    identity: NamespaceIdentity,
    id: Option<MountNsId>,
    root: TaskRoot,
    table: Vec<u8>,
    listed: Option<Vec<UniqueMountId>>,
}

impl Reading {
    /// Reads it now.
    pub fn of(process: BorrowedFd<'_>, features: &Features) -> Result<Self, ObserveError> {
        let namespace = sys::open_process_namespace(process, NamespaceKind::Mount).map_err(gone)?;
        let stat = sys::statx(&namespace)?;
        let id = match features.mount_namespace_ids && features.listmount {
            true => Some(sys::mount_namespace_id(&namespace)?),
            false => None,
        };
        Ok(Self {
            identity: NamespaceIdentity {
                device: stat.device,
                inode: stat.ino,
            },
            id,
            root: task_root(process)?,
            table: read_table(process)?,
            listed: id.map(list).transpose()?.flatten(),
        })
    }

    /// The bytes of mountinfo.
    pub fn table(&self) -> &[u8] {
        &self.table
    }

    fn interpret(&self, features: &Features) -> Result<ObservedNamespace, ObserveError> {
        let entries = mountinfo::parse(&self.table)?;
        let (unique, hidden) = match (self.id, &self.listed) {
            (Some(id), Some(listed)) => hidden::sort(id, listed, &entries)?,
            _ => (Vec::new(), Hidden::Unknown),
        };
        let idmaps = match (self.id, features.statmount_idmap) {
            (Some(id), true) => hidden::idmaps(id, &entries, &unique)?,
            _ => BTreeMap::new(),
        };
        Ok(ObservedNamespace {
            identity: self.identity,
            id: self.id,
            root: self.root,
            entries,
            unique,
            idmaps,
            hidden,
        })
    }
}

/// All mounts of a namespace, if the kernel finds its root. KERNEL: it looks for that
/// among mounts with a higher id than the namespace's base (`grab_requested_root`,
/// fs/namespace.c), and a root may have been attached that was made before the base.
fn list(namespace: MountNsId) -> Result<Option<Vec<UniqueMountId>>, sys::SysError> {
    match sys::list_mounts(Some(namespace)) {
        // Whoever has no CAP_SYS_ADMIN over the namespace may not ask.
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::PERM) => Ok(None),
        listed => listed.map(Some),
    }
}

fn task_root(process: BorrowedFd<'_>) -> Result<TaskRoot, ObserveError> {
    let root = sys::open_process_root(process).map_err(gone)?;
    let stat = sys::statx(root.as_fd())?;
    let place = if stat.is_mount_root {
        RootPlace::MountRoot
    } else {
        RootPlace::Directory
    };
    Ok(TaskRoot {
        mount: stat.mount,
        place,
    })
}

fn read_table(process: BorrowedFd<'_>) -> Result<Vec<u8>, ObserveError> {
    let file: File = sys::open_process_file(process, "mountinfo").map_err(gone)?;
    let mut table = Vec::new();
    file.take(TABLE_LIMIT + 1)
        .read_to_end(&mut table)
        .map_err(ObserveError::Read)?;
    if table.len() as u64 > TABLE_LIMIT {
        return Err(ObserveError::TooLarge);
    }
    Ok(table)
}

/// A process that has gone is `ESRCH` or `ENOENT`; a zombie's mountinfo is `EINVAL`.
fn gone(error: SysError) -> ObserveError {
    match error.errno() {
        Errno::SRCH | Errno::NOENT | Errno::INVAL => ObserveError::Gone(error),
        _ => ObserveError::Sys(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled_on(readings: &[u32]) -> Option<u32> {
        let mut readings = readings.iter().copied().chain(1000..);
        settled(|| Ok::<_, ()>(readings.next().unwrap())).unwrap()
    }

    #[test]
    fn a_table_that_changes_is_read_again() {
        assert_eq!(settled_on(&[7, 7]), Some(7));
        assert_eq!(settled_on(&[1, 2, 1, 3, 3]), Some(3));
    }

    #[test]
    fn a_table_that_keeps_changing_is_given_up() {
        assert_eq!(settled_on(&[]), None);
    }
}

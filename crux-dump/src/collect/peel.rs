//! Reaching mounts that other mounts hide.
//!
//! Kind: effect. Away from home: a copy of the container's namespace is
//! made, *everything* in the copy is made private, that is read back, and only then what is
//! in the way is unmounted in the copy. Were one mount of the copy still a
//! peer, the container's own would be unmounted with it.

use super::DumpError;
use super::copy;
use super::inside::{self, Home};
use super::process::Process;
use crate::contents::Beneath;
use crate::judge::Tree;
use crux_image::path::RelPath;
use crux_mount::ids::MountId;
use crux_mount::mountinfo::{self, Entry};
use crux_mount::sys::{self, SysError};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Why a mount could not be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeelError {
    /// A call failed.
    #[error(transparent)]
    Sys(#[from] SysError),
    /// The copy is not what was asked for.
    #[error("a copy of the mount namespace {0}")]
    Copy(&'static str),
}

/// What was reached, by id: a private, read-only clone of each mount, and whether there are others in it.
pub(super) type Reached = HashMap<MountId, Result<(OwnedFd, Beneath), PeelError>>;

/// Reaches `wanted`, positions in `tree`, of the table of a process.
pub(super) fn reach(
    process: &Process,
    home: &Home,
    table: &[Entry],
    tree: &Tree,
    wanted: &[usize],
) -> Result<Reached, DumpError> {
    let mut reached = Reached::new();
    // From the mounts attached last: what lies on top goes first, so one copy often serves for all.
    let mut open: Vec<usize> = wanted.to_vec();
    open.sort_unstable_by_key(|&node| std::cmp::Reverse(tree.nodes[node].entry));
    while !open.is_empty() {
        let result = home.leave_for(|| with_copy(process, tree, &open))?;
        let id = |node: usize| table[tree.nodes[node].entry].id;
        let found = match result {
            Ok(found) if !found.is_empty() => found,
            Ok(_) => fail(&open, &PeelError::Copy("does not have it")),
            Err(error) => fail(&open, &error),
        };
        open.retain(|node| !found.contains_key(node));
        reached.extend(found.into_iter().map(|(node, result)| (id(node), result)));
    }
    Ok(reached)
}

type Found = HashMap<usize, Result<(OwnedFd, Beneath), PeelError>>;

fn fail(open: &[usize], error: &PeelError) -> Found {
    open.iter()
        .map(|&node| (node, Err(error.clone())))
        .collect()
}

/// Reaches as many of `wanted` as one copy allows: at least the first, or its failure.
fn with_copy(process: &Process, tree: &Tree, wanted: &[usize]) -> Result<Found, PeelError> {
    let mut copy = Copy::new(process, inside::own_directory()?)?;
    let mut found = Found::new();
    for &node in wanted {
        let Some(target) = copy.counterpart(tree, node) else {
            continue;
        };
        found.insert(node, copy.reach(target));
    }
    Ok(found)
}

/// A private copy of a mount namespace, which this process is in.
pub(super) struct Copy {
    table: Vec<Entry>,
    tree: Tree,
    root: OwnedFd,
    /// This process's directory in /proc.
    own: OwnedFd,
}

impl Copy {
    /// `own` is this process's directory in /proc, which it may have left the reach of.
    pub(super) fn new(process: &Process, own: OwnedFd) -> Result<Self, PeelError> {
        // The root directory is the root of the first mount of the table, so this has all of the table.
        let root = copy::enter(process, &own)?;
        sys::mount_setattr_recursive(root.as_fd(), 0, 0, libc::MS_PRIVATE, None)?;
        let table = read_table(&own)?;
        if table
            .iter()
            .any(|entry| entry.shared.is_some() || entry.master.is_some())
        {
            return Err(PeelError::Copy("did not become private"));
        }
        let tree = Tree::new(0, &table).map_err(|_| PeelError::Copy("is no tree"))?;
        if sys::statx(&root)?.mount != table[tree.nodes[0].entry].id {
            return Err(PeelError::Copy("has another root"));
        }
        Ok(Self {
            table,
            tree,
            root,
            own,
        })
    }

    fn id(&self, node: usize) -> MountId {
        self.table[self.tree.nodes[node].entry].id
    }

    /// Unmounts what is in the way of a mount and clones it.
    fn reach(&mut self, target: usize) -> Result<(OwnedFd, Beneath), PeelError> {
        let mount = self.uncover(target)?;
        match quiet_clone(&mount) {
            Ok(clone) => Ok((clone, Beneath::Nothing)),
            // KERNEL: no mount is cloned without what is locked onto it (`has_locked_children`). The
            // mount in this copy stays as long as it is open, with those.
            Err(PeelError::Sys(error)) if error.errno() == Errno::INVAL => {
                let set = libc::MOUNT_ATTR_RDONLY;
                sys::mount_setattr(mount.as_fd(), set, 0, 0, None)?;
                Ok((mount, Beneath::Mounts))
            }
            Err(error) => Err(error),
        }
    }

    /// Unmounts what is in the way of a mount and opens it.
    pub(super) fn uncover(&mut self, target: usize) -> Result<OwnedFd, PeelError> {
        while let Some(hider) = self.tree.hider(target) {
            let top = self.tree.top_of_stack(hider);
            sys::umount_file_detach(self.own.as_fd(), &self.open(top)?)?;
            self.tree.detach(top);
        }
        self.open(target)
    }

    /// The position in this copy of a mount of the original, if it is still attached here.
    pub(super) fn counterpart(&self, original: &Tree, node: usize) -> Option<usize> {
        let found = original.counterpart(node, &self.tree);
        found.filter(|&target| self.tree.is_attached(target))
    }

    pub(super) fn process_directory(&self) -> BorrowedFd<'_> {
        self.own.as_fd()
    }

    fn open(&self, node: usize) -> Result<OwnedFd, PeelError> {
        let path = RelPath::from_absolute(&self.table[self.tree.nodes[node].entry].mountpoint)
            .map_err(|_| PeelError::Copy("has a mountpoint that is no path"))?;
        let fd = match self.tree.is_above_root(node) {
            true => inside::open_across(inside::open_above_root()?.as_fd(), &path)?,
            false => inside::open_across(self.root.as_fd(), &path)?,
        };
        match sys::statx(&fd)?.mount == self.id(node) {
            true => Ok(fd),
            false => Err(PeelError::Copy("has another mount in that place")),
        }
    }
}

/// A detached clone that nobody shares and that reading does not change.
pub(super) fn quiet_clone(mount: &OwnedFd) -> Result<OwnedFd, PeelError> {
    let clone = sys::open_tree_clone(mount)?;
    let set = libc::MOUNT_ATTR_RDONLY;
    sys::mount_setattr(clone.as_fd(), set, 0, libc::MS_PRIVATE, None)?;
    Ok(clone)
}

/// Puts this process into a copy of the namespace in which every mount is private and reading
/// changes nothing; its root directory. One copy costs less than a few clones: each clone
/// ends with a grace period of the kernel's (RCU), and a copy with one for all its mounts.
pub(super) fn quiet_copy(process: &Process, own: &OwnedFd) -> Result<OwnedFd, SysError> {
    let root = copy::enter(process, own)?;
    // Read-only is enough for access times. Their own flags may be locked, and this one may still be set.
    let set = libc::MOUNT_ATTR_RDONLY;
    sys::mount_setattr_recursive(root.as_fd(), set, 0, libc::MS_PRIVATE, None)?;
    Ok(root)
}

/// The table of the process whose directory in /proc this is.
pub(super) fn read_table(own: &OwnedFd) -> Result<Vec<Entry>, PeelError> {
    let mut file = sys::open_process_file(own.as_fd(), "mountinfo")?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| {
        let errno = rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO);
        SysError::new("read(\"mountinfo\")", errno)
    })?;
    mountinfo::parse(&bytes).map_err(|_| PeelError::Copy("cannot be read"))
}

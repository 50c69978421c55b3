//! Where the executor is: the caller's namespace, the yard, or one of the container's.
//!
//! Kind: effect. The yard is a tmpfs that is the root of a mount namespace of its
//! own. No path of the host is made or used for it, and nobody else can see it.

use super::Pinning;
use super::child;
use super::error::{self, StepError, named};
use crate::sys::{self, NamespaceKind};
use crux_image::mounts::NamespaceIndex;
use crux_image::path::RelPath;
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The directory of the yard onto which a container's root goes before pivot_root(2).
const ROOT: &str = "root";
/// More ids than the kernel sets aside for a CPU at a time (`COOKIE_LOCAL_BATCH`, linux/cookie.h).
const ID_RANGE: u32 = 5000;

pub(super) struct Place {
    /// The caller's /proc, which stays reachable after its tree is gone.
    proc: OwnedFd,
    /// The caller's namespace.
    caller: OwnedFd,
    yard: Option<Yard>,
    /// Namespaces of the container, in the order in which they were made.
    namespaces: Vec<OwnedFd>,
    helpers: u32,
}

struct Yard {
    namespace: OwnedFd,
    root: OwnedFd,
}

impl Place {
    pub(super) fn of_caller() -> Result<Self, StepError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = openat(CWD, "/proc", flags, Mode::empty()).map_err(named("open(\"/proc\")"))?;
        let caller = own_namespace(proc.as_fd())?;
        Ok(Self {
            proc,
            caller,
            yard: None,
            namespaces: Vec::new(),
            helpers: 0,
        })
    }

    pub(super) fn proc_dir(&self) -> BorrowedFd<'_> {
        self.proc.as_fd()
    }

    /// A new namespace whose root is an empty tmpfs, and nothing of the host's in it.
    pub(super) fn enter_yard(&mut self) -> Result<(), StepError> {
        let fs = sys::fsopen("tmpfs")?;
        sys::fsconfig_string(&fs, b"source", b"crux-yard")?;
        sys::fsconfig_string(&fs, b"mode", b"700")?;
        sys::fsconfig_create(&fs)?;
        let root = sys::fsmount(&fs)?;
        mkdirat(&root, ROOT, Mode::RWXU).map_err(error::call("mkdirat", &RelPath::root()))?;
        sys::unshare_mount_namespace()?;
        let host = open_root()?;
        // Before anything is attached or detached: a shared mount of the copy is
        // still a peer of the host's.
        sys::mount_setattr_recursive(host.as_fd(), 0, 0, libc::MS_PRIVATE, None)?;
        sys::move_mount(&root, &host)?;
        drop(host);
        pivot_into(root.as_fd())?;
        let namespace = own_namespace(self.proc.as_fd())?;
        self.yard = Some(Yard { namespace, root });
        Ok(())
    }

    fn yard(&self) -> Result<&Yard, StepError> {
        self.yard
            .as_ref()
            .ok_or(StepError::Pivot("there is no yard yet"))
    }

    pub(super) fn return_to_yard(&self) -> Result<(), StepError> {
        Ok(sys::setns(&self.yard()?.namespace, NamespaceKind::Mount)?)
    }

    /// A copy of the yard, owned by `owner` or else by the caller's user namespace.
    pub(super) fn new_namespace(
        &mut self,
        owner: Option<BorrowedFd<'_>>,
        pinning: Pinning,
    ) -> Result<(), StepError> {
        let mut namespace = self.copy_of_yard(owner)?;
        // KERNEL: a mount namespace can be bound only inside an older one
        // (`mnt_ns_loop`, fs/namespace.c), and Linux 6.18 gives out ids from a range for each
        // CPU: a newer namespace can look older until this CPU's range is used up.
        let mut tries = 0;
        while pinning == Pinning::Wanted && tries < ID_RANGE && self.looks_older(&namespace)? {
            namespace = self.copy_of_yard(owner)?;
            tries += 1;
        }
        self.namespaces.push(namespace);
        Ok(())
    }

    pub(super) fn copy_of_yard(&self, owner: Option<BorrowedFd<'_>>) -> Result<OwnedFd, StepError> {
        let Some(user) = owner else {
            sys::unshare_mount_namespace()?;
            let namespace = own_namespace(self.proc.as_fd())?;
            self.return_to_yard()?;
            return Ok(namespace);
        };
        child::descriptor_from(|| {
            sys::setns(user, NamespaceKind::User)?;
            sys::unshare_mount_namespace()?;
            own_namespace(self.proc.as_fd())
        })
    }

    /// Whether the caller's namespace has a higher id; never before Linux 6.11, which
    /// shows no ids and counts in one sequence.
    fn looks_older(&self, namespace: &OwnedFd) -> Result<bool, StepError> {
        let Ok(caller) = sys::mount_namespace_id(&self.caller) else {
            return Ok(false);
        };
        Ok(sys::mount_namespace_id(namespace)? <= caller)
    }

    pub(super) fn descriptor(&self, at: NamespaceIndex) -> Result<BorrowedFd<'_>, StepError> {
        let namespace = self.namespaces.get(at.at());
        namespace
            .map(AsFd::as_fd)
            .ok_or(StepError::Pivot("the namespace is not made yet"))
    }

    pub(super) fn enter(&self, at: NamespaceIndex) -> Result<(), StepError> {
        Ok(sys::setns(self.descriptor(at)?, NamespaceKind::Mount)?)
    }

    /// A fresh mountpoint in the yard for a helper.
    pub(super) fn helper_mountpoint(&mut self, directory: bool) -> Result<OwnedFd, StepError> {
        let name = self.next_name();
        mountpoint(&self.yard()?.root, &name, directory)
    }

    /// A file system in the yard for mounts that leave it together, and its name there.
    pub(super) fn locker(&mut self) -> Result<(OwnedFd, String), StepError> {
        let name = self.next_name();
        let target = mountpoint(&self.yard()?.root, &name, true)?;
        let fs = sys::fsopen("tmpfs")?;
        sys::fsconfig_string(&fs, b"source", b"crux-locker")?;
        sys::fsconfig_string(&fs, b"mode", b"700")?;
        sys::fsconfig_create(&fs)?;
        let root = sys::fsmount(&fs)?;
        sys::move_mount(&root, target)?;
        Ok((root, name))
    }

    fn next_name(&mut self) -> String {
        self.helpers += 1;
        format!("h{}", self.helpers)
    }

    /// In a namespace of the container, which is still a copy of the yard.
    pub(super) fn attach_root(&self, mount: BorrowedFd<'_>) -> Result<(), StepError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = openat(CWD, format!("/{ROOT}"), flags, Mode::empty())
            .map_err(named("openat(yard, \"root\")"))?;
        sys::move_mount(mount, target)?;
        pivot_into(mount)
    }

    /// What outlives the executor of one namespace: the namespace, and its mountinfo
    /// as seen from `first`, which shows all of it.
    pub(super) fn release(
        &self,
        at: NamespaceIndex,
        first: BorrowedFd<'_>,
    ) -> Result<(OwnedFd, OwnedFd), StepError> {
        let namespace = self.descriptor(at)?;
        sys::setns(namespace, NamespaceKind::Mount)?;
        sys::fchdir(first)?;
        sys::chroot_dot()?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let table = openat(&self.proc, "thread-self/mountinfo", flags, Mode::empty())
            .map_err(named("openat(proc, \"thread-self/mountinfo\")"))?;
        let namespace = rustix::io::fcntl_dupfd_cloexec(namespace, 0).map_err(named("dup"))?;
        Ok((namespace, table))
    }
}

/// Something to mount on.
pub(super) fn mountpoint(
    within: &OwnedFd,
    name: &str,
    directory: bool,
) -> Result<OwnedFd, StepError> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if directory {
        mkdirat(within, name, Mode::RWXU).map_err(named("mkdirat(yard)"))?;
    } else {
        let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(within, name, create, Mode::RUSR).map_err(named("openat(yard, O_CREAT)"))?;
    }
    openat(within, name, flags, Mode::empty()).map_err(named("openat(yard, O_PATH)"))
}

/// Makes an attached mount the root, and detaches the old one with one umount: a
/// second would detach the new root, none would leave the old tree reachable.
fn pivot_into(root: BorrowedFd<'_>) -> Result<(), StepError> {
    let wanted = sys::statx(root)?.mount;
    sys::fchdir(root)?;
    sys::pivot_root_dot()?;
    // "." is the new root; resolving it climbs to what is stacked there: the old one.
    sys::umount_dot_detach()?;
    let now = sys::statx(open_root()?)?.mount;
    if now == wanted {
        Ok(())
    } else {
        Err(StepError::Pivot("the root is not the new root"))
    }
}

fn open_root() -> Result<OwnedFd, StepError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, "/", flags, Mode::empty()).map_err(named("open(\"/\", O_PATH)"))
}

fn own_namespace(proc: BorrowedFd<'_>) -> Result<OwnedFd, StepError> {
    openat(
        proc,
        "thread-self/ns/mnt",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(named("openat(proc, \"thread-self/ns/mnt\")"))
}

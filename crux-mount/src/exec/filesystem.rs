//! Making superblocks.
//!
//! Kind: effect.

use super::child;
use super::error::{StepError, named};
use super::queues;
use super::user_namespace::Identity;
use crate::sys::{self, NamespaceKind};
use crux_image::mounts::{
    Atime, FsOption, KernelFs, MountAttributes, NamespaceContext, OwnFileSystem, OwnFsType,
    SuperblockFlags,
};
use rustix::fs::{Mode, OFlags, openat};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The net and ipc namespaces in which superblocks are made.
pub(super) struct Contexts {
    net: Context,
    ipc: Context,
}

struct Context {
    kind: NamespaceKind,
    caller: OwnedFd,
    made: HashMap<u32, OwnedFd>,
    proc: OwnedFd,
}

impl Contexts {
    pub(super) fn of_caller(proc: BorrowedFd<'_>) -> Result<Self, StepError> {
        Ok(Self {
            net: Context::of_caller(NamespaceKind::Net, proc)?,
            ipc: Context::of_caller(NamespaceKind::Ipc, proc)?,
        })
    }

    /// Takes what is there for the first namespace of each kind.
    pub(super) fn take_over(&mut self, net: Option<OwnedFd>, ipc: Option<OwnedFd>) {
        self.net.made.extend(net.map(|it| (0, it)));
        self.ipc.made.extend(ipc.map(|it| (0, it)));
    }

    /// Whether the file system belongs to a namespace that is made outside the
    /// container's user namespaces, so that it is mounted from there.
    pub(super) fn is_outer(&self, fs: OwnFsType) -> bool {
        matches!(fs, OwnFsType::Proc | OwnFsType::Sysfs | OwnFsType::Mqueue)
    }

    /// Makes a superblock in the namespace that it shows.
    pub(super) fn make(&mut self, own: &OwnFileSystem) -> Result<OwnedFd, StepError> {
        let context = match own.fs_type {
            OwnFsType::Mqueue => &mut self.ipc,
            _ => &mut self.net,
        };
        match own.context {
            NamespaceContext::Caller => make(own),
            NamespaceContext::Own(number) => context.inside(number, || {
                let mount = make(own)?;
                queues::make(&own.contents)?;
                Ok(mount)
            }),
        }
    }

    /// The net and the ipc namespace with the lowest number among those that were made.
    pub(super) fn release(self) -> (Option<OwnedFd>, Option<OwnedFd>) {
        (self.net.first(), self.ipc.first())
    }
}

impl Context {
    fn of_caller(kind: NamespaceKind, proc: BorrowedFd<'_>) -> Result<Self, StepError> {
        let caller = current(kind, proc)?;
        let proc = proc
            .try_clone_to_owned()
            .map_err(|error| StepError::Child(error.to_string()))?;
        Ok(Self {
            kind,
            caller,
            made: HashMap::new(),
            proc,
        })
    }

    fn first(self) -> Option<OwnedFd> {
        let lowest = self.made.into_iter().min_by_key(|&(number, _)| number);
        lowest.map(|(_, namespace)| namespace)
    }

    fn inside<T>(
        &mut self,
        number: u32,
        work: impl FnOnce() -> Result<T, StepError>,
    ) -> Result<T, StepError> {
        match self.made.get(&number) {
            Some(namespace) => sys::setns(namespace, self.kind)?,
            None => {
                sys::unshare_namespace(self.kind)?;
                self.made
                    .insert(number, current(self.kind, self.proc.as_fd())?);
            }
        }
        let result = work();
        sys::setns(&self.caller, self.kind)?;
        result
    }
}

fn current(kind: NamespaceKind, proc: BorrowedFd<'_>) -> Result<OwnedFd, StepError> {
    let path = match kind {
        NamespaceKind::Ipc => "thread-self/ns/ipc",
        _ => "thread-self/ns/net",
    };
    openat(proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(named(&format!("openat(proc, \"{path}\")")))
}

/// A detached mount of a new superblock, still writable.
fn make(own: &OwnFileSystem) -> Result<OwnedFd, StepError> {
    finish(sys::fsopen(own.fs_type.name())?, own)
}

/// The same, where the context was begun elsewhere.
pub(super) fn finish(fs: OwnedFd, own: &OwnFileSystem) -> Result<OwnedFd, StepError> {
    sys::fsconfig_string(&fs, b"source", &own.source)?;
    configure(fs.as_fd(), own.flags, &own.options)?;
    sys::fsconfig_create(&fs)?;
    Ok(sys::fsmount(&fs)?)
}

/// A file system of the kernel's.
pub(super) fn make_kernel(kind: KernelFs, options: &[FsOption]) -> Result<OwnedFd, StepError> {
    let fs = sys::fsopen(kind.name())?;
    sys::fsconfig_string(&fs, b"source", kind.name().as_bytes())?;
    configure(fs.as_fd(), SuperblockFlags::default(), options)?;
    sys::fsconfig_create(&fs)?;
    Ok(sys::fsmount(&fs)?)
}

/// A superblock that belongs to a user namespace is made by a process inside it,
/// in a mount namespace that it owns.
pub(super) fn make_in_user_namespace(
    own: &OwnFileSystem,
    user: BorrowedFd<'_>,
    namespace: BorrowedFd<'_>,
) -> Result<OwnedFd, StepError> {
    child::descriptor_from(|| {
        sys::setns(user, NamespaceKind::User)?;
        sys::setns(namespace, NamespaceKind::Mount)?;
        make(own)
    })
}

fn configure(
    fs: BorrowedFd<'_>,
    flags: SuperblockFlags,
    options: &[FsOption],
) -> Result<(), StepError> {
    for option in options {
        match &option.value {
            Some(value) => sys::fsconfig_string(fs, option.key.as_bytes(), value)?,
            None => sys::fsconfig_flag(fs, option.key.as_bytes())?,
        }
    }
    set_flags(fs, flags)
}

fn set_flags(fs: BorrowedFd<'_>, flags: SuperblockFlags) -> Result<(), StepError> {
    let set = [
        (flags.sync, "sync"),
        (flags.dirsync, "dirsync"),
        (flags.lazytime, "lazytime"),
    ];
    for (_, name) in set.iter().filter(|(on, _)| *on) {
        sys::fsconfig_flag(fs, name.as_bytes())?;
    }
    Ok(())
}

/// Makes a superblock read-only once it is full. Never one that the host shares:
/// the host's would become read-only too.
pub(super) fn seal(own: &OwnFileSystem, mount: BorrowedFd<'_>) -> Result<(), StepError> {
    let keyed = matches!(own.fs_type, OwnFsType::Sysfs | OwnFsType::Mqueue);
    let hosts = keyed && own.context == NamespaceContext::Caller;
    if !own.flags.readonly || hosts {
        return Ok(());
    }
    let fs = sys::fspick(mount)?;
    set_flags(fs.as_fd(), own.flags)?;
    sys::fsconfig_flag(&fs, b"ro")?;
    Ok(sys::fsconfig_reconfigure(&fs)?)
}

/// `attr_set` and `attr_clr` of mount_setattr(2): everything is set or cleared.
pub(super) fn attribute_words(attributes: &MountAttributes) -> (u64, u64) {
    let flags = [
        (attributes.readonly, libc::MOUNT_ATTR_RDONLY),
        (attributes.nosuid, libc::MOUNT_ATTR_NOSUID),
        (attributes.nodev, libc::MOUNT_ATTR_NODEV),
        (attributes.noexec, libc::MOUNT_ATTR_NOEXEC),
        (attributes.nosymfollow, libc::MOUNT_ATTR_NOSYMFOLLOW),
        (attributes.nodiratime, libc::MOUNT_ATTR_NODIRATIME),
    ];
    let (on, off): (Vec<_>, Vec<_>) = flags.iter().partition(|(on, _)| *on);
    let word = |flags: Vec<(bool, u64)>| flags.iter().fold(0, |word, (_, bit)| word | bit);
    let atime = match attributes.atime {
        Atime::Relatime => libc::MOUNT_ATTR_RELATIME,
        Atime::Noatime => libc::MOUNT_ATTR_NOATIME,
        Atime::Strict => libc::MOUNT_ATTR_STRICTATIME,
    };
    // One of the atime settings replaces another only if the whole field is cleared.
    (word(on) | atime, word(off) | libc::MOUNT_ATTR__ATIME)
}

/// Runs `work` with the file system ids of `identity`, keeping all capabilities.
pub(super) fn as_identity(
    identity: Option<Identity>,
    work: impl FnOnce() -> Result<(), StepError>,
) -> Result<(), StepError> {
    let Some(Identity { uid, gid }) = identity else {
        return work();
    };
    let previous = sys::set_filesystem_ids(uid, gid)?;
    let result = work();
    sys::set_filesystem_ids(previous.0, previous.1)?;
    result
}

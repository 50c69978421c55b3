//! Runs a mount plan on the kernel.
//!
//! Kind: effect. One match, about one system call a step. It decides nothing: a
//! choice belongs in the plan. It runs in a process of its own that has one thread
//! and is not chrooted, because it moves through mount namespaces; undoing what it
//! did is ending that process and closing every descriptor it handed out.

mod child;
mod error;
mod filesystem;
mod former;
mod lock;
mod place;
mod queues;
mod slots;
mod terminals;
mod user_namespace;

pub use error::{ExecError, StepError};
pub(crate) use user_namespace::own_user_namespace;

use crate::plan::{Plan, Slot, Step};
use crate::sys::{self, Open};
use crux_image::mounts::{
    FsOption, KernelFs, MountIndex, Mounts, NamespaceIndex, Origin, OriginIndex, OwnFileSystem,
    OwnFsType, UserNsIndex,
};
use place::Place;
use rustix::fs::AtFlags;
use slots::{Held, Slots};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use user_namespace::UserNamespaces;

/// A granted source, opened in the caller's namespace.
#[derive(Debug)]
pub enum Source {
    /// An `O_PATH` descriptor of a file that has been checked to be of the right kind.
    Path(OwnedFd),
    /// A file system of the kernel's, to be mounted anew.
    Kernel {
        /// Which.
        fs: KernelFs,
        /// Options for fsconfig(2).
        options: Vec<FsOption>,
    },
}

/// Fills a file system that was just made, through a descriptor of its root.
pub type Fill<'a> = dyn FnMut(&OwnFileSystem, BorrowedFd<'_>) -> Result<(), String> + 'a;

/// Whether a namespace will be bound to a file of the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinning {
    /// The kernel has to allow it.
    Wanted,
    /// Any namespace will do.
    NotWanted,
}

/// What a plan is run with.
pub struct Setup<'a> {
    /// The record that the plan was made from.
    pub mounts: &'a Mounts,
    /// For each origin: the granted source, if it is external.
    pub sources: Vec<Option<Source>>,
    /// For each origin: the root of a mount in the outside peer group (`O_PATH`), if one is joined.
    pub outside: Vec<Option<OwnedFd>>,
    /// Whether the namespaces have to be such that they can be pinned.
    pub pinning: Pinning,
    /// How many descriptors this process may have (`RLIMIT_NOFILE`).
    pub descriptors: u64,
    /// What came with a first task that is there already.
    pub born: Born,
    /// User namespaces in which setgroups(2) is denied.
    pub without_setgroups: Vec<UserNsIndex>,
    /// How contents get into a file system.
    pub fill: &'a mut Fill<'a>,
}

/// What came with a first task, which was born before its mounts.
#[derive(Debug, Default)]
pub struct Born {
    /// Contexts of proc file systems (fsopen(2)) that were begun in the pid namespace that they are to
    /// show: one for each proc of the container's own, or none where they show the caller's.
    pub procs: Vec<OwnedFd>,
    /// A user namespace of the record that is made already.
    pub user: Option<(UserNsIndex, OwnedFd)>,
    /// The first net namespace of the container's own, if it is made already.
    pub net: Option<OwnedFd>,
    /// The first ipc namespace, likewise.
    pub ipc: Option<OwnedFd>,
}

/// A pty of the container, by its master.
#[derive(Debug)]
pub struct BuiltTerminal {
    /// What mounts show it: a devpts, or an external source.
    pub origin: OriginIndex,
    /// Its number in the devpts that it is in.
    pub number: u32,
    /// The master; without it the terminal hangs up.
    pub master: OwnedFd,
}

/// What a plan has made. The mounts live as long as the namespace descriptors.
#[derive(Debug)]
pub struct Built {
    /// The namespaces, in the order of the image.
    pub namespaces: Vec<BuiltNamespace>,
    /// Masters of the ptys that mounts show; a pty goes when its master is closed.
    pub terminals: Vec<BuiltTerminal>,
    /// The net namespace that was made for a sysfs, if one was.
    pub net: Option<OwnedFd>,
    /// The ipc namespace that was made for an mqueue, if one was.
    pub ipc: Option<OwnedFd>,
    /// The user namespaces, in the order of the image.
    pub users: Vec<OwnedFd>,
}

/// One mount namespace that a plan has made.
#[derive(Debug)]
pub struct BuiltNamespace {
    /// The namespace, for setns(2).
    pub namespace: OwnedFd,
    /// The root directory of its tasks (`O_PATH`).
    pub root: OwnedFd,
    /// Its mountinfo as a task reads it whose root is the first mount: the whole table.
    pub table: OwnedFd,
}

/// Runs `plan`. On an error nothing is left once this process has ended.
pub fn execute(plan: &Plan, setup: Setup<'_>) -> Result<Built, ExecError> {
    let mut executor = Executor::new(setup).map_err(ExecError::Prepare)?;
    for (at, step) in plan.steps().enumerate() {
        executor.run(step).map_err(|error| ExecError::Step {
            number: at + 1,
            step: step.to_string(),
            error,
        })?;
    }
    executor.finish().map_err(ExecError::Finish)
}

struct Executor<'a> {
    setup: Setup<'a>,
    place: Place,
    users: UserNamespaces,
    contexts: filesystem::Contexts,
    slots: Slots,
    terminals: Vec<BuiltTerminal>,
}

impl<'a> Executor<'a> {
    fn new(mut setup: Setup<'a>) -> Result<Self, StepError> {
        let place = Place::of_caller()?;
        let (records, denied) = (&setup.mounts.user_namespaces, &setup.without_setgroups);
        let made = setup.born.user.take();
        let users = UserNamespaces::make(records, denied, made, place.proc_dir())?;
        let mut contexts = filesystem::Contexts::of_caller(place.proc_dir())?;
        contexts.take_over(setup.born.net.take(), setup.born.ipc.take());
        Ok(Self {
            slots: Slots::new(setup.descriptors),
            setup,
            place,
            users,
            contexts,
            terminals: Vec::new(),
        })
    }

    fn run(&mut self, step: &Step) -> Result<(), StepError> {
        match step {
            Step::OpenSource { origin, into } => {
                let mount = self.open_source(*origin)?;
                sys::mount_setattr(mount.as_fd(), 0, 0, libc::MS_PRIVATE, None)?;
                self.slots.fill(*into, mount)
            }
            Step::OpenOutside { origin } => {
                let outside = self.setup.outside[origin.at()].take();
                self.slots.fill(
                    Slot::Outside(*origin),
                    outside.ok_or(StepError::NotGranted)?,
                )
            }
            Step::EnterYard => self.place.enter_yard(),
            Step::NewNamespace { namespace } => {
                let owner = self.setup.mounts.namespaces[namespace.at()].owner;
                let owner = owner.map(|user| self.users.get(user));
                self.place.new_namespace(owner, self.setup.pinning)
            }
            Step::Create { origin, into } => {
                let mount = self.create(*origin)?;
                self.slots.fill(*into, mount)
            }
            Step::AttachHelper { helper } => {
                let kind = sys::file_kind(&sys::statx(self.slot(*helper)?)?);
                let directory = kind.is_some_and(|kind| kind.is_directory());
                let mountpoint = self.place.helper_mountpoint(directory)?;
                Ok(sys::move_mount(self.slot(*helper)?, mountpoint)?)
            }
            Step::Clone { from, root, into } => {
                let clone = sys::clone_beneath(self.slot(*from)?.as_fd(), root)?;
                self.slots.fill(*into, clone)
            }
            Step::SetAttributes { mount, attributes } => {
                let (set, clear) = filesystem::attribute_words(attributes);
                let idmap = attributes.idmap.as_ref();
                let idmap = idmap.map(|map| user_namespace::of_map(map, self.place.proc_dir()));
                let idmap = idmap.transpose()?;
                let idmap = idmap.as_ref().map(AsFd::as_fd);
                Ok(sys::mount_setattr(
                    self.slot(*mount)?.as_fd(),
                    set,
                    clear,
                    0,
                    idmap,
                )?)
            }
            Step::EnterNamespace { namespace } => self.place.enter(*namespace),
            Step::ReturnToYard => self.place.return_to_yard(),
            Step::AttachRoot { mount } => self.place.attach_root(self.slot(*mount)?.as_fd()),
            Step::Attach { mount, parent, at } => {
                let target = sys::open_beneath(self.slot(*parent)?.as_fd(), at, Open::Any)?;
                Ok(sys::move_mount(self.slot(*mount)?, target)?)
            }
            Step::Unlink {
                through,
                name,
                former,
                directory,
            } => {
                let flags = match directory {
                    true => AtFlags::REMOVEDIR,
                    false => AtFlags::empty(),
                };
                let through = self.slot(*through)?;
                former::unlink(through.as_fd(), name, former.as_ref(), flags)
            }
            Step::Lock { namespace, held } => self.lock(*namespace, held),
            Step::SetGroup { from, to } => Ok(sys::move_mount_set_group(
                self.slot(*from)?,
                self.slot(*to)?,
            )?),
            Step::MakeShared { mount } => self.propagation(*mount, libc::MS_SHARED),
            Step::MakeSlave { mount } => self.propagation(*mount, libc::MS_SLAVE),
            Step::MakeUnbindable { mount } => self.propagation(*mount, libc::MS_UNBINDABLE),
        }
    }

    fn slot(&self, slot: Slot) -> Result<Held<'_>, StepError> {
        self.slots.get(slot)
    }

    fn open_source(&mut self, origin: OriginIndex) -> Result<OwnedFd, StepError> {
        match self.setup.sources[origin.at()]
            .take()
            .ok_or(StepError::NotGranted)?
        {
            Source::Path(file) => Ok(sys::open_tree_clone(file)?),
            Source::Kernel { fs, options } => filesystem::make_kernel(fs, &options),
        }
    }

    fn create(&mut self, origin: OriginIndex) -> Result<OwnedFd, StepError> {
        let Origin::Own(own) = &self.setup.mounts.origins[origin.at()] else {
            return Err(StepError::NotGranted);
        };
        let mounter = own.user.filter(|_| !self.contexts.is_outer(own.fs_type));
        let own = &OwnFileSystem {
            options: self.users.options_for(mounter, &own.options),
            ..own.clone()
        };
        let user = own.user.map(|user| {
            let namespaces = &self.setup.mounts.namespaces;
            let owned = namespaces.iter().position(|ns| ns.owner == Some(user));
            (user, owned.map(NamespaceIndex::from))
        });
        let mount = match user {
            Some((user, Some(namespace))) if !self.contexts.is_outer(own.fs_type) => {
                let (user, namespace) = (self.users.get(user), self.place.descriptor(namespace)?);
                filesystem::make_in_user_namespace(own, user.as_fd(), namespace)?
            }
            _ => match (own.fs_type, self.setup.born.procs.pop()) {
                (OwnFsType::Proc, Some(begun)) => filesystem::finish(begun, own)?,
                (_, begun) => {
                    self.setup.born.procs.extend(begun);
                    self.contexts.make(own)?
                }
            },
        };
        let identity = user.map(|(user, _)| self.users.root_of(user));
        filesystem::as_identity(identity, || {
            let made = terminals::make(&own.contents, mount.as_fd())?;
            let made = made.into_iter().map(|(number, master)| BuiltTerminal {
                origin,
                number,
                master,
            });
            self.terminals.extend(made);
            (self.setup.fill)(own, mount.as_fd()).map_err(StepError::Fill)
        })?;
        filesystem::seal(own, mount.as_fd())?;
        Ok(mount)
    }

    fn propagation(&self, mount: Slot, kind: libc::c_ulong) -> Result<(), StepError> {
        Ok(sys::mount_setattr(
            self.slot(mount)?.as_fd(),
            0,
            0,
            kind,
            None,
        )?)
    }

    /// Takes what outlives the executor. The helpers and the yard end with it.
    fn finish(mut self) -> Result<Built, StepError> {
        let count = self.setup.mounts.namespaces.len();
        let mut namespaces = Vec::with_capacity(count);
        for at in (0..count).map(NamespaceIndex::from) {
            let root = Slot::Mount(at, self.setup.mounts.namespaces[at.at()].root);
            let first = self.slot(Slot::Mount(at, MountIndex(0)))?;
            let (namespace, table) = self.place.release(at, first.as_fd())?;
            let root = self.slots.take(root)?;
            namespaces.push(BuiltNamespace {
                namespace,
                root,
                table,
            });
        }
        let (net, ipc) = self.contexts.release();
        Ok(Built {
            namespaces,
            terminals: self.terminals,
            net,
            ipc,
            users: self.users.release(),
        })
    }
}

//! Runs the steps of a plan, one function for each.
//!
//! Kind: pure. What the kernel does is in `kernel`; here are slots, the
//! namespace that the executor is in, and the order that plans keep.

use super::files::Files;
use super::kernel::{Attributes, Kernel, MountId, Refusal, Shown};
use super::slots::Slots;
use super::{Place, Rule};
use crate::plan::{Held, Slot, Step};
use crux_image::mounts::{Lock, MountAttributes, Mounts, NamespaceIndex, OriginIndex, OwnFsType};
use crux_image::path::RelPath;
use std::collections::HashMap;

/// How far a namespace of the container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    No,
    CopyOfYard,
    Rooted,
}

/// Whether the last phase has begun. It never ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Propagation {
    None,
    Begun,
}

/// The state of the executor, and of the kernel beneath it.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) image: &'a Mounts,
    pub(super) kernel: Kernel<'a>,
    pub(super) files: Files<'a>,
    pub(super) slots: Slots,
    pub(super) place: Place,
    pub(super) namespaces: Vec<Made>,
    superblocks_made: Vec<bool>,
    helpers_attached: usize,
    pub(super) propagation: Propagation,
    /// The names that deleted files keep.
    pub(super) former: HashMap<(OriginIndex, RelPath), RelPath>,
}

impl<'a> Run<'a> {
    pub(super) fn new(image: &'a Mounts) -> Self {
        Self {
            image,
            kernel: Kernel::with_room_for(room_for(image)),
            files: Files::new(image),
            slots: Slots::new(image),
            place: Place::Caller,
            namespaces: vec![Made::No; image.namespaces.len()],
            superblocks_made: vec![false; image.origins.len()],
            helpers_attached: 0,
            propagation: Propagation::None,
            former: HashMap::new(),
        }
    }

    pub(super) fn step(&mut self, step: &'a Step) -> Result<(), Rule> {
        match step {
            Step::OpenSource { origin, into } => self.open_source(*origin, *into),
            Step::OpenOutside { origin } => self.open_outside(*origin),
            Step::EnterYard => self.enter_yard(),
            Step::NewNamespace { namespace } => self.new_namespace(*namespace),
            Step::Create { origin, into } => self.create(*origin, *into),
            Step::AttachHelper { helper } => self.attach_helper(*helper),
            Step::Clone { from, root, into } => self.clone_mount(*from, root, *into),
            Step::SetAttributes { mount, attributes } => self.set_attributes(*mount, attributes),
            Step::EnterNamespace { namespace } => self.enter_namespace(*namespace),
            Step::ReturnToYard => self.return_to_yard(),
            Step::AttachRoot { mount } => self.attach_root(*mount),
            Step::Attach { mount, parent, at } => self.attach(*mount, *parent, at),
            Step::Lock { namespace, held } => self.lock(*namespace, held),
            Step::Unlink {
                through,
                name,
                former,
                directory,
            } => self.unlink(
                *through,
                name,
                former.as_ref(),
                if *directory {
                    Removal::Rmdir
                } else {
                    Removal::Unlink
                },
            ),
            Step::SetGroup { from, to } => self.set_group(*from, *to),
            Step::MakeShared { mount } => self.change(*mount, Kernel::make_shared),
            Step::MakeSlave { mount } => self.change(*mount, Kernel::make_slave),
            Step::MakeUnbindable { mount } => self.change(*mount, Kernel::make_unbindable),
        }
    }

    // Sources.

    fn open_source(&mut self, origin: OriginIndex, into: Slot) -> Result<(), Rule> {
        self.must_be_in(Place::Caller, "the caller's namespace")?;
        self.external(origin)?;
        self.receives(into, origin)?;
        let superblock = self.files.superblock(origin);
        let root = Shown::Within(RelPath::root());
        let mount = self
            .kernel
            .make(superblock, origin, root, Attributes::OfTheHost);
        self.slots.fill(into, mount)
    }

    fn open_outside(&mut self, origin: OriginIndex) -> Result<(), Rule> {
        self.must_be_in(Place::Caller, "the caller's namespace")?;
        self.external(origin)?;
        self.slots.free(Slot::Outside(origin))?;
        let superblock = self.files.superblock(origin);
        let mount = self
            .kernel
            .make(superblock, origin, Shown::Around, Attributes::OfTheHost);
        self.kernel.put(mount, Place::Caller);
        let name = self.files.outside(origin);
        self.kernel.make_outside(mount, name);
        self.slots.fill(Slot::Outside(origin), mount)
    }

    // The yard.

    fn enter_yard(&mut self) -> Result<(), Rule> {
        match self.place {
            Place::Caller => self.place = Place::Yard,
            Place::Yard | Place::Container(_) => return Err(Rule::SecondYard),
        }
        Ok(())
    }

    fn new_namespace(&mut self, namespace: NamespaceIndex) -> Result<(), Rule> {
        self.must_be_in(Place::Yard, "the yard")?;
        if self.helpers_attached > 0 {
            return Err(Rule::YardNotEmpty);
        }
        match self.made(namespace)? {
            made @ Made::No => *made = Made::CopyOfYard,
            Made::CopyOfYard | Made::Rooted => return Err(Rule::SecondNamespace(namespace)),
        }
        Ok(())
    }

    // Create.

    fn create(&mut self, origin: OriginIndex, into: Slot) -> Result<(), Rule> {
        let own = self.own(origin)?;
        match (own.fs_type, self.place) {
            (_, Place::Container(_)) => self.must_be_in(Place::Yard, "the yard")?,
            (OwnFsType::Proc | OwnFsType::Sysfs | OwnFsType::Mqueue, Place::Yard) => {
                return Err(Rule::MadeTooLate(own.fs_type.name()));
            }
            (_, Place::Caller | Place::Yard) => {}
        }
        self.receives(into, origin)?;
        if std::mem::replace(&mut self.superblocks_made[origin.at()], true) {
            return Err(Rule::SecondSuperblock(origin));
        }
        let superblock = self.files.superblock(origin);
        let root = Shown::Within(RelPath::root());
        let mount = self
            .kernel
            .make(superblock, origin, root, Attributes::Default);
        self.slots.fill(into, mount)
    }

    /// The executor makes the mountpoint, of the kind that the helper's root is.
    fn attach_helper(&mut self, helper: Slot) -> Result<(), Rule> {
        self.must_be_in(Place::Yard, "the yard")?;
        self.must_not_propagate_yet()?;
        if !matches!(helper, Slot::Helper(_) | Slot::Carrier(_)) {
            return Err(Rule::WrongSlot(helper));
        }
        let mount = self.detached(helper)?;
        self.kernel.put(mount, Place::Yard);
        self.helpers_attached += 1;
        Ok(())
    }

    fn clone_mount(&mut self, from: Slot, root: &RelPath, into: Slot) -> Result<(), Rule> {
        self.must_be_in(Place::Yard, "the yard")?;
        self.slots.free(into)?;
        if !matches!(into, Slot::Mount(..) | Slot::Carrier(_)) {
            return Err(Rule::WrongSlot(into));
        }
        let source = self.attached_here(from)?;
        self.must_lead_somewhere(from, source, root)?;
        let clone = self
            .kernel
            .clone_mount(source, root)
            .map_err(|refusal| match refusal {
                Refusal::Unbindable => Rule::Unbindable(from),
                _ => Rule::CrossesMount {
                    mount: from,
                    path: root.clone(),
                },
            })?;
        self.slots.fill(into, clone)
    }

    fn set_attributes(&mut self, slot: Slot, attributes: &'a MountAttributes) -> Result<(), Rule> {
        self.must_be_ours(slot)?;
        let mount = self.detached(slot)?;
        if let Attributes::Set(current) = self.kernel.get(mount).attributes
            && current.idmap.is_some()
        {
            return Err(Rule::IdMapped(slot));
        }
        self.kernel.set_attributes(mount, attributes);
        Ok(())
    }

    /// The copies that take the place of the mounts differ from them in nothing else.
    fn lock(&mut self, namespace: NamespaceIndex, held: &'a [Held]) -> Result<(), Rule> {
        self.must_be_in(Place::Yard, "the yard")?;
        self.must_not_propagate_yet()?;
        let owner = self.image.namespaces.get(namespace.at());
        let owner = owner.ok_or(Rule::NoSuchNamespace(namespace))?.owner;
        if owner.is_none() {
            return Err(Rule::NobodyToLockFor(namespace));
        }
        self.helpers_attached += 1;
        for Held { mount: slot, onto } in held {
            self.must_belong(*slot, namespace)?;
            let mount = self.detached(*slot)?;
            if self.kernel.get(mount).lock != Lock::Free || !self.kernel.is_private(mount) {
                return Err(Rule::LockedTwice(*slot));
            }
            self.kernel.lock(mount, Lock::Flags);
            if let Some((onto, at)) = onto {
                self.hold(*slot, mount, *onto, at)?;
            }
        }
        Ok(())
    }

    /// Puts a mount onto one that was locked before it, where it is found again.
    fn hold(
        &mut self,
        slot: Slot,
        mount: MountId,
        onto: Slot,
        at: &'a RelPath,
    ) -> Result<(), Rule> {
        let parent = self.slots.get(onto)?;
        if self.kernel.get(parent).place.is_some() {
            return Err(Rule::Attached(onto));
        }
        if at.is_root() || self.kernel.get(parent).lock == Lock::Free || parent == mount {
            return Err(Rule::LockedToNothing(slot));
        }
        self.must_lead_somewhere(onto, parent, at)?;
        let crosses = |_| Rule::CrossesMount {
            mount: onto,
            path: at.clone(),
        };
        let target = self.kernel.target(parent, at).map_err(crosses)?;
        let (origin, beneath) = self.beneath(target.parent, target.at)?;
        self.kinds_must_fit(slot, mount, origin, &beneath)?;
        let attached = self.kernel.attach(mount, target);
        attached.map_err(|_| Rule::WouldPropagate(onto))?;
        self.kernel.lock(mount, Lock::Place);
        self.files.mount_on(origin, &beneath);
        Ok(())
    }

    // Attach.

    fn enter_namespace(&mut self, namespace: NamespaceIndex) -> Result<(), Rule> {
        if self.place == Place::Caller {
            self.must_be_in(Place::Yard, "the yard or a namespace of the container")?;
        }
        match self.made(namespace)? {
            Made::No => Err(Rule::NoNamespace(namespace)),
            Made::CopyOfYard | Made::Rooted => {
                self.place = Place::Container(namespace);
                Ok(())
            }
        }
    }

    fn return_to_yard(&mut self) -> Result<(), Rule> {
        self.container()?;
        self.place = Place::Yard;
        Ok(())
    }

    fn attach_root(&mut self, slot: Slot) -> Result<(), Rule> {
        let namespace = self.container()?;
        self.must_not_propagate_yet()?;
        self.must_belong(slot, namespace)?;
        let mount = self.detached(slot)?;
        if *self.made(namespace)? == Made::Rooted {
            return Err(Rule::SecondRoot(namespace));
        }
        let state = self.kernel.get(mount);
        if state.group.is_some() {
            return Err(Rule::SharedRoot(slot));
        }
        if self.kind_of(state).is_some_and(|kind| !kind.is_directory()) {
            return Err(Rule::RootNotDirectory(slot));
        }
        self.kernel.put(mount, self.place);
        self.note_propagation(mount);
        *self.made(namespace)? = Made::Rooted;
        Ok(())
    }

    fn attach(&mut self, slot: Slot, onto: Slot, at: &'a RelPath) -> Result<(), Rule> {
        let namespace = self.container()?;
        self.must_not_propagate_yet()?;
        self.must_belong(slot, namespace)?;
        let mount = self.detached(slot)?;
        if *self.made(namespace)? != Made::Rooted {
            return Err(Rule::NoRoot(namespace));
        }
        let parent = self.attached_here(onto)?;
        self.must_lead_somewhere(onto, parent, at)?;
        let crosses = |_| Rule::CrossesMount {
            mount: onto,
            path: at.clone(),
        };
        let target = self.kernel.target(parent, at).map_err(crosses)?;
        let (origin, beneath) = self.beneath(target.parent, target.at)?;
        self.kinds_must_fit(slot, mount, origin, &beneath)?;
        self.kernel
            .attach(mount, target)
            .map_err(|_| Rule::WouldPropagate(onto))?;
        self.files.mount_on(origin, &beneath);
        self.note_propagation(mount);
        Ok(())
    }

    fn unlink(
        &mut self,
        through: Slot,
        name: &RelPath,
        former: Option<&RelPath>,
        removal: Removal,
    ) -> Result<(), Rule> {
        self.must_not_propagate_yet()?;
        if !matches!(through, Slot::Helper(_)) {
            return Err(Rule::WrongSlot(through));
        }
        let helper = self.slots.get(through)?;
        self.must_lead_somewhere(through, helper, name)?;
        self.must_be_writable(through, helper)?;
        let (origin, path) = self.beneath(helper, name)?;
        // Nothing of the host's is removed, whoever has made the plan.
        self.own(origin)?;
        if path.is_root() || name.is_root() || former.is_some_and(RelPath::is_root) {
            return Err(Rule::UnlinkRoot);
        }
        if let Some(file) = self.files.get(origin, &path) {
            if file.kind.is_directory() != (removal == Removal::Rmdir) {
                return Err(Rule::UnlinkKind(path));
            }
            if file.mounted_on {
                return Err(Rule::MountedOn(path));
            }
            if !file.is_empty() {
                return Err(Rule::NotEmpty(path));
            }
        }
        self.files.unlink(origin, &path);
        if let Some(former) = former {
            self.kernel.move_roots(origin, &path, former);
            self.former.insert((origin, path), former.clone());
        }
        Ok(())
    }

    // Propagate.

    fn set_group(&mut self, from: Slot, to: Slot) -> Result<(), Rule> {
        self.must_be_ours(to)?;
        let (source, target) = (self.attached(from)?, self.attached(to)?);
        self.kernel
            .set_group(source, target)
            .map_err(|refusal| match refusal {
                Refusal::OtherSuperblock => Rule::OtherSuperblock,
                Refusal::NarrowerSource => Rule::NarrowerSource,
                Refusal::LockedChildren => Rule::LockedChildren,
                Refusal::TargetNotPrivate => Rule::TargetNotPrivate,
                _ => Rule::SourcePrivate,
            })?;
        self.note_propagation(target);
        Ok(())
    }

    /// The kernel before 6.17 changes only mounts of the caller's namespace.
    fn change(&mut self, slot: Slot, change: fn(&mut Kernel<'a>, MountId)) -> Result<(), Rule> {
        self.must_be_ours(slot)?;
        let mount = self.attached_here(slot)?;
        change(&mut self.kernel, mount);
        self.note_propagation(mount);
        Ok(())
    }

    fn note_propagation(&mut self, mount: MountId) {
        let in_container = matches!(self.kernel.get(mount).place, Some(Place::Container(_)));
        if in_container && !self.kernel.is_private(mount) {
            self.propagation = Propagation::Begun;
        }
    }
}

/// Every mount of the image, and for each origin a helper and a mount outside.
fn room_for(image: &Mounts) -> usize {
    let mounts = image
        .namespaces
        .iter()
        .map(|namespace| namespace.mounts.len());
    mounts.sum::<usize>() + 2 * image.origins.len()
}

/// What unlinkat(2) is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removal {
    Unlink,
    Rmdir,
}

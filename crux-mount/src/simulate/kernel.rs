//! The kernel's table of mounts, in memory: what is attached where, and the
//! rules of fs/namespace.c for cloning, attaching and joining groups.
//!
//! Kind: pure. It knows mounts by number; slots, phases and the contents of
//! file systems are the business of `run` and `files`.

use super::Place;
use super::groups::{GroupId, Groups};
use crux_image::mounts::{Lock, MountAttributes, OriginIndex};
use crux_image::path::RelPath;
use std::collections::HashMap;

/// A mount of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct MountId(pub(super) usize);

/// Which part of its file system a mount shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    /// A path relative to the root of the origin.
    Within(RelPath),
    /// An unknown directory that contains the origin's root, or is it: a mount outside.
    Around,
}

/// A superblock: the origin that stands for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Superblock(pub(super) OriginIndex);

/// Where the attributes of a mount come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attributes<'a> {
    /// A mount of the host's: nobody knows them.
    OfTheHost,
    /// A new mount.
    Default,
    /// A step.
    Set(&'a MountAttributes),
}

/// One mount.
#[derive(Debug, Clone)]
pub(super) struct MountState<'a> {
    pub(super) superblock: Superblock,
    pub(super) origin: OriginIndex,
    pub(super) root: Shown,
    /// Where its root is by now, if that was moved.
    moved: Option<RelPath>,
    /// `None` while it is detached.
    pub(super) place: Option<Place>,
    pub(super) parent: Option<(MountId, &'a RelPath)>,
    pub(super) attributes: Attributes<'a>,
    pub(super) group: Option<GroupId>,
    /// Of a mount without a group; the master of a group is in [`Groups`].
    master: Option<GroupId>,
    pub(super) unbindable: bool,
    pub(super) lock: Lock,
    children: HashMap<&'a [u8], MountId>,
}

/// Where a mount is going to be attached.
#[derive(Debug, Clone)]
pub(super) struct Target<'a> {
    pub(super) parent: MountId,
    pub(super) at: &'a RelPath,
}

/// What the kernel refuses; `run` puts names to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// `EXDEV`
    CrossesMount,
    /// `EINVAL`
    Unbindable,
    /// Not refused by the kernel; but copies would appear elsewhere.
    WouldPropagate,
    /// `EINVAL`
    OtherSuperblock,
    /// `EINVAL`
    NarrowerSource,
    /// `EINVAL`
    LockedChildren,
    /// `EINVAL`
    TargetNotPrivate,
    /// `EINVAL`
    SourcePrivate,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Kernel<'a> {
    mounts: Vec<MountState<'a>>,
    outside: HashMap<OriginIndex, GroupId>,
    pub(super) groups: Groups,
}

impl<'a> Kernel<'a> {
    /// A kernel without mounts, and room for some.
    pub(super) fn with_room_for(mounts: usize) -> Self {
        Self {
            mounts: Vec::with_capacity(mounts),
            ..Self::default()
        }
    }

    pub(super) fn get(&self, id: MountId) -> &MountState<'a> {
        &self.mounts[id.0]
    }

    pub(super) fn set_attributes(&mut self, id: MountId, attributes: &'a MountAttributes) {
        self.mounts[id.0].attributes = Attributes::Set(attributes);
    }

    /// A new, detached, private mount of the whole of an origin.
    pub(super) fn make(
        &mut self,
        superblock: Superblock,
        origin: OriginIndex,
        root: Shown,
        attributes: Attributes<'a>,
    ) -> MountId {
        self.push(MountState {
            superblock,
            origin,
            root,
            moved: None,
            place: None,
            parent: None,
            attributes,
            group: None,
            master: None,
            unbindable: false,
            lock: Lock::Free,
            children: HashMap::new(),
        })
    }

    fn push(&mut self, mount: MountState<'a>) -> MountId {
        self.mounts.push(mount);
        MountId(self.mounts.len() - 1)
    }

    /// The master of a mount, be it through its group or by itself.
    pub(super) fn master(&self, id: MountId) -> Option<GroupId> {
        let mount = self.get(id);
        match mount.group {
            Some(group) => self.groups.master(group),
            None => mount.master.and_then(|master| self.groups.living(master)),
        }
    }

    /// Whether mount events come to the mount or leave it.
    pub(super) fn is_private(&self, id: MountId) -> bool {
        self.get(id).group.is_none() && self.master(id).is_none()
    }

    /// Resolves `path` from the root of a mount with `RESOLVE_NO_XDEV`: a mount on
    /// the way, or at the end, is crossed, which is refused. A mount on the root
    /// where resolution begins is not.
    pub(super) fn resolve(&self, start: MountId, path: &RelPath) -> Result<(), Refusal> {
        let children = &self.get(start).children;
        if children.is_empty() {
            return Ok(());
        }
        let bytes = path.as_bytes();
        let ends = bytes.iter().enumerate().filter(|(_, b)| **b == b'/');
        let mut prefixes = ends
            .map(|(at, _)| &bytes[..at])
            .chain((!path.is_root()).then_some(bytes));
        match prefixes.any(|prefix| children.contains_key(prefix)) {
            true => Err(Refusal::CrossesMount),
            false => Ok(()),
        }
    }

    /// A detached clone of what `from` shows at `root` (`CL_COPY` without flags):
    /// attributes, peer group and master are those of `from`.
    pub(super) fn clone_mount(
        &mut self,
        from: MountId,
        root: &RelPath,
    ) -> Result<MountId, Refusal> {
        self.resolve(from, root)?;
        let source = self.get(from);
        if source.unbindable {
            return Err(Refusal::Unbindable);
        }
        let shown = match &source.root {
            Shown::Within(whole) => Shown::Within(whole.join(root)),
            Shown::Around => Shown::Around,
        };
        let clone = MountState {
            superblock: source.superblock,
            origin: source.origin,
            root: shown,
            moved: source.moved.clone(),
            place: None,
            parent: None,
            attributes: source.attributes,
            group: source.group,
            master: source.master,
            unbindable: false,
            lock: Lock::Free,
            children: HashMap::new(),
        };
        if let Some(group) = clone.group {
            self.groups.join(group);
        }
        Ok(self.push(clone))
    }

    /// Where move_mount(2) onto `at` in `parent` ends up. A path that leads to a
    /// mountpoint crosses it; but a descriptor of the parent's own root names that
    /// very root, and the kernel then goes up to the top of what is stacked there.
    pub(super) fn target(&self, parent: MountId, at: &'a RelPath) -> Result<Target<'a>, Refusal> {
        self.resolve(parent, at)?;
        let mut parent = parent;
        if at.is_root() {
            while let Some(&above) = self.get(parent).children.get(at.as_bytes()) {
                parent = above;
            }
        }
        Ok(Target { parent, at })
    }

    /// Attaches a detached mount. A shared parent would get copies elsewhere.
    pub(super) fn attach(&mut self, id: MountId, target: Target<'a>) -> Result<(), Refusal> {
        if self.get(target.parent).group.is_some() {
            return Err(Refusal::WouldPropagate);
        }
        let place = self.get(target.parent).place;
        let bytes = target.at.as_bytes();
        self.mounts[target.parent.0].children.insert(bytes, id);
        self.mounts[id.0].parent = Some((target.parent, target.at));
        self.go(id, place);
        Ok(())
    }

    /// Puts a mount into a namespace with no parent that a plan could name: the
    /// root of a namespace, a helper in the yard, a mount of the host's.
    pub(super) fn put(&mut self, id: MountId, place: Place) {
        self.go(id, Some(place));
    }

    /// What is on a mount goes where it goes.
    fn go(&mut self, id: MountId, place: Option<Place>) {
        let mut open = vec![id];
        while let Some(mount) = open.pop() {
            self.mounts[mount.0].place = place;
            open.extend(self.mounts[mount.0].children.values());
        }
    }

    /// Notes that a file of an origin was moved: mounts of it show the same, elsewhere.
    pub(super) fn move_roots(&mut self, origin: OriginIndex, from: &RelPath, to: &RelPath) {
        let is_there = |root: &Shown| matches!(root, Shown::Within(root) if root == from);
        let mounts = self.mounts.iter_mut();
        for mount in mounts.filter(|mount| mount.origin == origin && is_there(&mount.root)) {
            mount.moved = Some(to.clone());
        }
    }

    /// What a copy of a mount namespace for another user namespace does to a mount
    /// (`lock_mnt_tree`), and a clone of the copy to the top of a tree.
    pub(super) fn lock(&mut self, id: MountId, lock: Lock) {
        self.mounts[id.0].lock = lock;
    }

    /// `MOVE_MOUNT_SET_GROUP`. Of an unbindable target only becoming shared clears that.
    pub(super) fn set_group(&mut self, from: MountId, to: MountId) -> Result<(), Refusal> {
        let (source, target) = (self.get(from), self.get(to));
        if source.superblock != target.superblock {
            return Err(Refusal::OtherSuperblock);
        }
        if !contains(source, target) {
            return Err(Refusal::NarrowerSource);
        }
        if self.holds_within(from, &target.root) {
            return Err(Refusal::LockedChildren);
        }
        if !self.is_private(to) {
            return Err(Refusal::TargetNotPrivate);
        }
        if self.is_private(from) {
            return Err(Refusal::SourcePrivate);
        }
        let (group, master) = (source.group, self.master(from));
        let target = &mut self.mounts[to.0];
        target.group = group;
        target.master = master;
        if let Some(group) = group {
            target.unbindable = false;
            self.groups.join(group);
        }
        Ok(())
    }

    /// Whether something is locked onto a mount beneath a part of what it shows.
    fn holds_within(&self, id: MountId, part: &Shown) -> bool {
        let holder = self.get(id);
        let (Shown::Within(root), Shown::Within(part)) = (&holder.root, part) else {
            return false;
        };
        let mut children = holder.children.values().map(|child| self.get(*child));
        children.any(|child| {
            let at = child.parent.as_ref().map(|(_, at)| root.join(at));
            child.lock == Lock::Place && at.is_some_and(|at| at.is_beneath(part))
        })
    }

    /// `MS_SHARED`: a new group, tied to the mount's master; no change within a group.
    pub(super) fn make_shared(&mut self, id: MountId) {
        if self.get(id).group.is_none() {
            let group = self.groups.make(self.master(id));
            let mount = &mut self.mounts[id.0];
            mount.group = Some(group);
            mount.unbindable = false;
        }
    }

    /// Makes a mount of the host's a member of the group outside that `name` names.
    pub(super) fn make_outside(&mut self, id: MountId, name: OriginIndex) {
        let group = match self.outside.get(&name) {
            Some(&group) => group,
            None => self.groups.make_outside(name),
        };
        self.groups.join(group);
        self.outside.insert(name, group);
        self.mounts[id.0].group = Some(group);
    }

    /// `MS_SLAVE`: out of the group, and slave of it; of a group that ends with
    /// this, slave of its master, or private. No change without a group.
    pub(super) fn make_slave(&mut self, id: MountId) {
        if let Some(group) = self.mounts[id.0].group.take() {
            self.groups.leave(group);
            self.mounts[id.0].master = self.groups.living(group);
        }
    }

    /// `MS_UNBINDABLE`
    pub(super) fn make_unbindable(&mut self, id: MountId) {
        self.make_private(id);
        self.mounts[id.0].unbindable = true;
    }

    /// `MS_PRIVATE`, and what becomes of a mount that goes away.
    pub(super) fn make_private(&mut self, id: MountId) {
        self.make_slave(id);
        self.mounts[id.0].master = None;
        self.mounts[id.0].unbindable = false;
    }

    /// Ends every mount that is in no namespace of the container, the host's excepted.
    pub(super) fn end_yard(&mut self) {
        for at in 0..self.mounts.len() {
            if !matches!(
                self.mounts[at].place,
                Some(Place::Container(_) | Place::Caller)
            ) {
                self.make_private(MountId(at));
            }
        }
    }
}

fn contains(outer: &MountState<'_>, inner: &MountState<'_>) -> bool {
    match (&outer.root, &inner.root) {
        (Shown::Around, _) => true,
        (Shown::Within(outer_root), Shown::Within(inner_root)) => {
            let outer_root = outer.moved.as_ref().unwrap_or(outer_root);
            let inner_root = inner.moved.as_ref().unwrap_or(inner_root);
            outer.origin == inner.origin && inner_root.is_beneath(outer_root)
        }
        (Shown::Within(_), Shown::Around) => false,
    }
}

//! Why a step of a plan breaks a rule of the kernel or of plans.
//!
//! Kind: pure.

use crate::plan::Slot;
use crux_image::mounts::{NamespaceIndex, OriginIndex};
use crux_image::path::RelPath;
use std::fmt;

/// A step that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("step {} ({what}): {rule}", .step + 1)]
pub struct SimulationError {
    /// Its position in the plan, from 0 (people read it from 1); the number of steps if the plan as a whole is wrong.
    pub step: usize,
    /// The step in words.
    pub what: String,
    /// The rule that it breaks.
    pub rule: Rule,
}

/// Which mount namespace a step runs in, or a mount is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// That of whoever restores.
    Caller,
    /// The yard.
    Yard,
    /// One of the container's.
    Container(NamespaceIndex),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller => write!(f, "the caller's namespace"),
            Self::Yard => write!(f, "the yard"),
            Self::Container(ns) => write!(f, "namespace {}", ns.0),
        }
    }
}

/// The rules. Those of the kernel name its error; the others are of plans.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// An index that the image does not have.
    #[error("{0} is not in the image")]
    NoSuchSlot(Slot),
    /// An origin that the image does not have.
    #[error("origin {} is not in the image", .0.0)]
    NoSuchOrigin(OriginIndex),
    /// A namespace that the image does not have.
    #[error("namespace {} is not in the image", .0.0)]
    NoSuchNamespace(NamespaceIndex),
    /// A slot is filled once.
    #[error("{0} holds a mount already")]
    SlotFilled(Slot),
    /// A slot is used after it was filled.
    #[error("{0} holds no mount")]
    SlotEmpty(Slot),
    /// A step of this sort cannot have this slot.
    #[error("{0} cannot be used here")]
    WrongSlot(Slot),
    /// The step runs in the wrong namespace.
    #[error("the step runs in {current}, not in {needed}")]
    WrongPlace {
        /// Where the executor is.
        current: Place,
        /// Where the step has to run, in words.
        needed: &'static str,
    },
    /// There is one yard.
    #[error("the yard was entered before")]
    SecondYard,
    /// A namespace that was not made.
    #[error("namespace {} was not made", .0.0)]
    NoNamespace(NamespaceIndex),
    /// A namespace is made once.
    #[error("namespace {} was made before", .0.0)]
    SecondNamespace(NamespaceIndex),
    /// A copy of the yard must be empty.
    #[error("a helper is attached in the yard: it would be copied into the namespace")]
    YardNotEmpty,
    /// fsopen(2) of an external origin, or a clone of the container's own.
    #[error("origin {} is {kind}", .origin.0)]
    OriginKind {
        /// Which.
        origin: OriginIndex,
        /// What it is, in words.
        kind: &'static str,
    },
    /// Each fsopen(2) makes another superblock.
    #[error("the superblock of origin {} was made before: this would be another", .0.0)]
    SecondSuperblock(OriginIndex),
    /// proc, sysfs and mqueue are made while the host's are visible.
    #[error("{0} can be made only before the yard is entered")]
    MadeTooLate(&'static str),
    /// The mount must be detached.
    #[error("{0} is attached already")]
    Attached(Slot),
    /// The mount must be attached.
    #[error("{0} is not attached")]
    NotAttached(Slot),
    /// `EINVAL`: the mount is in another namespace than the caller.
    #[error("{mount} is in {holder}, and the step runs in {current}")]
    ForeignNamespace {
        /// Which.
        mount: Slot,
        /// The namespace that it is in.
        holder: Place,
        /// The namespace that the step runs in.
        current: Place,
    },
    /// `EINVAL`: unbindable mounts cannot be cloned.
    #[error("{0} is unbindable")]
    Unbindable(Slot),
    /// `EXDEV`: `RESOLVE_NO_XDEV` and another mount on the way or at its end.
    #[error("{path} in {mount} lies on another mount")]
    CrossesMount {
        /// Where resolution begins.
        mount: Slot,
        /// The path.
        path: RelPath,
    },
    /// `ENOENT`: the name was unlinked by an earlier step.
    #[error("{path} in {mount} was unlinked")]
    Unlinked {
        /// Where resolution begins.
        mount: Slot,
        /// The path.
        path: RelPath,
    },
    /// `ENOTDIR`, `EINVAL`: a path through, or below, something else than a directory.
    #[error("a part of {path} in {mount} is no directory")]
    ThroughFile {
        /// Where resolution begins.
        mount: Slot,
        /// The path.
        path: RelPath,
    },
    /// A part of a file system that the image does not place.
    #[error("it is not known which part of origin {} this is", .0.0)]
    UnknownPart(OriginIndex),
    /// `EPERM`: an id-map cannot be replaced or removed.
    #[error("{0} has an id-map, which cannot be changed")]
    IdMapped(Slot),
    /// pivot_root(2) goes once into each namespace.
    #[error("namespace {} has a root already", .0.0)]
    SecondRoot(NamespaceIndex),
    /// Nothing can be attached before the root.
    #[error("namespace {} has no root yet", .0.0)]
    NoRoot(NamespaceIndex),
    /// `ENOTDIR`: pivot_root(2) needs a directory.
    #[error("the root of {0} is no directory")]
    RootNotDirectory(Slot),
    /// `EINVAL`: pivot_root(2) refuses shared mounts.
    #[error("{0} is shared, and pivot_root refuses that")]
    SharedRoot(Slot),
    /// Mounting on a shared mount makes copies elsewhere.
    #[error("{0} is shared: the mount would propagate")]
    WouldPropagate(Slot),
    /// `EINVAL`: a directory goes onto a directory, everything else onto a non-directory.
    #[error("{mount} is {kind} and its mountpoint is not")]
    KindMismatch {
        /// Which.
        mount: Slot,
        /// What it is, in words.
        kind: &'static str,
    },
    /// The last phase has begun.
    #[error("a mount of the container is shared or a slave: it is too late for this step")]
    TooLate,
    /// Only for another user namespace the kernel locks anything.
    #[error("namespace {} belongs to no user namespace that could be kept from anything", .0.0)]
    NobodyToLockFor(NamespaceIndex),
    /// Private mounts are locked, each once.
    #[error("{0} is locked already, or is not private any more")]
    LockedTwice(Slot),
    /// What is locked to its place is locked to a mount that was locked before, and not onto its root.
    #[error("{0} cannot be locked there")]
    LockedToNothing(Slot),
    /// `EBUSY`, or in another namespace a silent unmount.
    #[error("something is mounted on {0}")]
    MountedOn(RelPath),
    /// `EISDIR`, `ENOTDIR`: unlinkat(2) with the wrong flag.
    #[error("{0} is not of the kind that the step says")]
    UnlinkKind(RelPath),
    /// `ENOTEMPTY`
    #[error("{0} is not empty")]
    NotEmpty(RelPath),
    /// `EBUSY`: the root of a file system cannot be unlinked.
    #[error("the root of a file system cannot be unlinked")]
    UnlinkRoot,
    /// `EROFS`
    #[error("{0} is read-only")]
    ReadOnly(Slot),
    /// `EINVAL`: `MOVE_MOUNT_SET_GROUP` across superblocks.
    #[error("the two mounts are not known to be of one superblock")]
    OtherSuperblock,
    /// `EINVAL`: `MOVE_MOUNT_SET_GROUP` from a narrower mount.
    #[error("the root of the source does not contain the root of the target")]
    NarrowerSource,
    /// `EINVAL`: `MOVE_MOUNT_SET_GROUP` from a mount with others locked onto it.
    #[error("something is locked onto the source, in what the target shows")]
    LockedChildren,
    /// `EINVAL`: `MOVE_MOUNT_SET_GROUP` onto a shared mount or a slave.
    #[error("the target is not private")]
    TargetNotPrivate,
    /// `EINVAL`: `MOVE_MOUNT_SET_GROUP` from a private mount.
    #[error("the source is private")]
    SourcePrivate,
    /// A mount outside is never changed.
    #[error("{0} is a mount of the host's, and plans do not change those")]
    OutsideChanged(Slot),
    /// At the end: a mount that the plan forgot.
    #[error("{0} was never attached")]
    Forgotten(Slot),
    /// At the end: attributes that come from the host's mount.
    #[error("the attributes of {0} are those of the host's mount")]
    ForeignAttributes(Slot),
    /// At the end: something that a record cannot say.
    #[error("{0} is a slave and unbindable at once, which no image says")]
    UnbindableSlave(Slot),
}

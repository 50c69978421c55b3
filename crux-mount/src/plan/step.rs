//! The vocabulary of a mount plan.
//!
//! Kind: pure. Each step is about one system call. The state of the executor is:
//! which mount namespace it is in (the *caller*'s, the *yard*, or one of the
//! container's), and which mount each slot holds.
//!
//! Phases, in this order: sources (in the caller's namespace), yard, create (in
//! the yard; everything is private and detached, or attached flat as a helper),
//! attach (in each namespace of the container), propagate.

use super::Held;
use crux_image::mounts::{GroupIndex, MountAttributes, MountIndex, NamespaceIndex, OriginIndex};
use crux_image::path::RelPath;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A symbolic name of a mount that the executor holds a descriptor of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Slot {
    /// A mount of the container, which ends in a namespace of it.
    Mount(NamespaceIndex, MountIndex),
    /// A helper that shows the whole of an origin. It lives in the yard and goes with it.
    Helper(OriginIndex),
    /// A clone of a helper that carries a peer group of which no member shows enough.
    /// It lives in the yard and goes with it.
    Carrier(GroupIndex),
    /// A mount outside that is a member of an outside peer group: the one that
    /// holds the granted source of the origin, at its root. Never moved or changed.
    Outside(OriginIndex),
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// In the caller's namespace: clone the granted source of an external origin,
    /// not recursively, as a detached mount, check its kind, make it private
    /// (open_tree(2) `OPEN_TREE_CLONE`). Where the grant is for a file system of the kernel's, mount that.
    OpenSource {
        /// Whose source.
        origin: OriginIndex,
        /// Receives the detached mount.
        into: Slot,
    },
    /// In the caller's namespace: open (`O_PATH`) the root of the mount that holds
    /// the granted source, to join its peer group later. Into [`Slot::Outside`].
    OpenOutside {
        /// Whose source.
        origin: OriginIndex,
    },
    /// Leave the caller's namespace for a new, private one whose root is an empty
    /// tmpfs and that holds nothing else: the yard.
    EnterYard,
    /// In the yard, while it is empty: make a namespace of the container as a
    /// copy of the yard, owned by the user namespace that the image names, private.
    NewNamespace {
        /// Which.
        namespace: NamespaceIndex,
    },
    /// Make the superblock of an own origin and a detached mount of its root with
    /// default attributes (fsopen(2), fsmount(2)), fill it with its contents, close
    /// every descriptor that could write, then set its superblock read-only if it is to be.
    /// proc, sysfs and mqueue are made before [`Step::EnterYard`]: a user namespace
    /// may mount them only while the host's are fully visible.
    Create {
        /// Which.
        origin: OriginIndex,
        /// Receives the detached mount.
        into: Slot,
    },
    /// In the yard: attach a detached helper at a directory of its own
    /// (mounts can be cloned from an attached mount only, before Linux 6.15).
    AttachHelper {
        /// A [`Slot::Helper`] or a [`Slot::Carrier`].
        helper: Slot,
    },
    /// In the yard: a detached clone of `from`, showing `root` of it, not recursively
    /// (openat2(2) beneath `from`, then open_tree(2) `OPEN_TREE_CLONE`).
    Clone {
        /// A helper that is attached.
        from: Slot,
        /// Relative to the root of `from`.
        root: RelPath,
        /// Receives the clone.
        into: Slot,
    },
    /// Set all attributes of a detached mount, its id-map last (mount_setattr(2)).
    SetAttributes {
        /// Which mount.
        mount: Slot,
        /// All of them: what is not listed is cleared.
        attributes: MountAttributes,
    },
    /// Go into a namespace of the container (setns(2)).
    EnterNamespace {
        /// Which.
        namespace: NamespaceIndex,
    },
    /// Go back into the yard, whose helpers can only be changed from inside it.
    ReturnToYard,
    /// In a namespace of the container: attach the first mount, pivot_root(2) into
    /// it, and detach the copy of the yard with exactly one umount.
    AttachRoot {
        /// The namespace's first mount.
        mount: Slot,
    },
    /// In a namespace of the container: attach a detached mount at `at`, resolved
    /// beneath the root of `parent` without crossing mounts or following links
    /// (openat2(2), move_mount(2)). With `at` empty it is stacked on the parent's root.
    Attach {
        /// Which mount.
        mount: Slot,
        /// The mount it goes onto.
        parent: Slot,
        /// Where, relative to the parent's root.
        at: RelPath,
    },
    /// In the yard: put mounts that the owner of `namespace` is not to change onto each other,
    /// copy the yard for that user namespace, whereby the kernel locks each to its parent and the
    /// flags of all, and take clones of the copies in their place: detached trees.
    Lock {
        /// Whose mounts they are.
        namespace: NamespaceIndex,
        /// Which, parents first.
        held: Vec<Held>,
    },
    /// Unlink what `through` shows at `name`: the root of a mount that was deleted
    /// after it had been mounted. `through` is a helper. What is unlinked keeps the name that
    /// it had last, so it is first given `former`: directories that this takes are made for the
    /// moment, what stands in the way is put aside for it.
    Unlink {
        /// A helper that shows the name.
        through: Slot,
        /// What to unlink, relative to the helper's root.
        name: RelPath,
        /// The name that mountinfo goes on showing, if that is known.
        former: Option<RelPath>,
        /// Whether it is a directory.
        directory: bool,
    },
    /// Give `to` the propagation of `from`: its peer group, its master, or both
    /// (move_mount(2) `MOVE_MOUNT_SET_GROUP`).
    SetGroup {
        /// Any attached mount with a group or a master.
        from: Slot,
        /// A private attached mount of the same superblock, whose root lies beneath that of `from`.
        to: Slot,
    },
    /// Make a mount shared: alone in a new peer group; a slave stays one (`MS_SHARED`).
    MakeShared {
        /// Which.
        mount: Slot,
    },
    /// Turn a member of a peer group into a slave of that group (`MS_SLAVE`).
    MakeSlave {
        /// Which; it must have a peer, or it would silently become private.
        mount: Slot,
    },
    /// `MS_UNBINDABLE`, on a private mount.
    MakeUnbindable {
        /// Which.
        mount: Slot,
    },
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount(ns, mount) => write!(f, "mount {}:{}", ns.0, mount.0),
            Self::Helper(origin) => write!(f, "helper {}", origin.0),
            Self::Carrier(group) => write!(f, "carrier of group {}", group.0),
            Self::Outside(origin) => write!(f, "outside {}", origin.0),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenSource { origin, into } => {
                write!(
                    f,
                    "open the source granted for origin {} as {into}",
                    origin.0
                )
            }
            Self::OpenOutside { origin } => {
                write!(
                    f,
                    "open the mount outside whose peer group origin {} names",
                    origin.0
                )
            }
            Self::EnterYard => f.write_str("enter the yard"),
            Self::NewNamespace { namespace } => write!(f, "make namespace {}", namespace.0),
            Self::Create { origin, into } => {
                write!(f, "make the file system of origin {} as {into}", origin.0)
            }
            Self::AttachHelper { helper } => write!(f, "attach {helper} in the yard"),
            Self::Clone { from, root, into } => write!(f, "clone {root} of {from} as {into}"),
            Self::SetAttributes { mount, attributes } => {
                write!(f, "set attributes of {mount} to {attributes}")
            }
            Self::EnterNamespace { namespace } => write!(f, "enter namespace {}", namespace.0),
            Self::ReturnToYard => f.write_str("return to the yard"),
            Self::AttachRoot { mount } => write!(f, "attach {mount} and make it the root"),
            Self::Attach { mount, parent, at } => {
                write!(f, "attach {mount} at {at} of {parent}")
            }
            Self::Unlink {
                through,
                name,
                former,
                directory,
            } => {
                let what = if *directory { "directory" } else { "file" };
                write!(f, "remove the {what} {name} of {through}")?;
                match former {
                    Some(former) => write!(f, ", by the name {former}"),
                    None => Ok(()),
                }
            }
            Self::Lock { namespace, held } => {
                write!(
                    f,
                    "lock, as the owner of namespace {} has them:",
                    namespace.0
                )?;
                held.iter().enumerate().try_for_each(|(at, held)| {
                    let comma = if at > 0 { "," } else { "" };
                    match &held.onto {
                        Some((parent, at)) => {
                            write!(f, "{comma} {} to {at} of {parent}", held.mount)
                        }
                        None => write!(f, "{comma} {}", held.mount),
                    }
                })
            }
            Self::SetGroup { from, to } => write!(f, "give {to} the propagation of {from}"),
            Self::MakeShared { mount } => write!(f, "make {mount} shared"),
            Self::MakeSlave { mount } => write!(f, "make {mount} a slave of its peers"),
            Self::MakeUnbindable { mount } => write!(f, "make {mount} unbindable"),
        }
    }
}

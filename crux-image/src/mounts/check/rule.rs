//! The rules for a record of mounts, in words, and where one was broken.
//!
//! Kind: pure.

use std::fmt;

/// A rule that a record breaks, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {rule}")]
pub struct MountsError {
    /// Where.
    pub at: Place,
    /// Which rule.
    pub rule: Rule,
}

/// A part of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The record as a whole.
    Image,
    /// A user namespace, by its position.
    UserNamespace(usize),
    /// A mount namespace, by its position.
    Namespace(usize),
    /// A mount: its namespace, its position there, its mountpoint on its parent (escaped).
    Mount(usize, usize, String),
    /// An origin: its position, its name or type (escaped).
    Origin(usize, String),
    /// A peer group, by its position.
    Group(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image => write!(f, "the record of mounts"),
            Self::UserNamespace(at) => write!(f, "user namespace {at}"),
            Self::Namespace(at) => write!(f, "namespace {at}"),
            Self::Mount(namespace, at, on) => {
                write!(
                    f,
                    "namespace {namespace}, mount {at} (at \"{on}\" of its parent)"
                )
            }
            Self::Origin(at, name) => write!(f, "origin {at} (\"{name}\")"),
            Self::Group(at) => write!(f, "peer group {at}"),
        }
    }
}

/// What a record has to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Rule {
    #[error("{count} {what}, where {limit} are the limit")]
    TooMany {
        what: &'static str,
        count: usize,
        limit: usize,
    },
    #[error("there is no mount namespace")]
    NoNamespace,
    #[error("names {what} {index}, but there are only {count}")]
    Index {
        what: &'static str,
        index: usize,
        count: usize,
    },
    #[error("its parent does not stand before it")]
    ParentAfterChild,
    #[error("an id range is empty or goes beyond the last id")]
    IdRange,
    #[error("two id ranges overlap")]
    IdOverlap,
    #[error("it has no mounts")]
    NoMounts,
    #[error("the first mount has a parent or a mountpoint")]
    FirstHasParent,
    #[error("it has no parent, which only the first mount may lack")]
    NoParent,
    #[error("another mount is on the same place of the same parent")]
    MountpointTaken,
    #[error("the root of its tasks is neither the first mount nor stacked on it")]
    RootNotStacked,
    #[error("the root of its tasks is not a directory")]
    RootNotDirectory,
    #[error("a directory is mounted on a file, or a file on a directory")]
    KindOnKind,
    #[error("it is mounted beneath something that is not a directory")]
    BeneathFile,
    #[error("it shows the root of a file system, which is a directory, as something else")]
    KindOfRoot,
    #[error("it shows a part of a source that is not a directory")]
    PartOfFile,
    #[error("the root of a file system cannot be deleted")]
    DeletedRoot,
    #[error("it has the former name of a deleted root, which it does not show")]
    FormerName,
    #[error("it is locked, in a namespace that belongs to no user namespace of its own")]
    LockWithoutOwner,
    #[error("it is locked to a mount that is not locked itself, or to none")]
    LockedToNothing,
    #[error("its path is longer than 1 MiB")]
    PathTooLong,
    #[error("the paths of all mounts together are longer than 1 GiB")]
    PathsTooLong,
    #[error("the peer group has no member in this container")]
    NoMember,
    #[error("its masters form a circle")]
    MasterCircle,
    #[error(
        "an outside peer group needs an external origin, and origin {0} is the container's own"
    )]
    OutsideNotExternal(usize),
    #[error("it is in a peer group with, or a slave of, a mount of another file system")]
    GroupSpans,
    #[error("two external origins have the name \"{0}\"")]
    NameTaken(String),
    #[error("its name is empty, too long, \"auto\", or has a \"=\" or an unprintable character")]
    Name,
    #[error("there is more than one external origin for the container's root")]
    TwoRoots,
    #[error("the container's root is not a directory")]
    ExternalRootKind,
    #[error("the name of its file system type is not one")]
    FsTypeName,
    #[error("an option has no name, or one with characters that no option has")]
    OptionKey,
    #[error("a source or an option value is longer than 1 MiB or has a NUL byte")]
    OptionValue,
    #[error("a {0} does not have contents of this kind")]
    ContentsKind(&'static str),
    #[error("its contents are beyond the end of any file")]
    ContentsRange,
    #[error("a queue is listed twice, or has a name or mode bits that no queue has")]
    Queue,
    #[error("a terminal is listed twice or has mode bits that do not exist")]
    Terminal,
}

impl Rule {
    pub(super) fn at(self, at: Place) -> MountsError {
        MountsError { at, rule: self }
    }
}

//! Why a container cannot be dumped so that it could be restored.
//!
//! Kind: pure. All obstacles of a dump are reported at once.

use crux_image::path::{Escaped, HostPath};
use crux_mount::ids::PeerGroupId;
use std::fmt;

/// One reason, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The mount that it is about, if it is about one.
    pub place: Option<Place>,
    /// What is wrong.
    pub cause: Cause,
}

/// A mount, for people.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// A task of its mount namespace.
    pub pid: u32,
    /// Its mountpoint, as that task sees it.
    pub mountpoint: Vec<u8>,
    /// Its file system type.
    pub fs_type: Vec<u8>,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// No row in the table of file systems.
    #[error("nothing is known of this type of file system")]
    UnknownType,
    /// The table of file systems says so.
    #[error("this type of file system cannot be restored: {0}")]
    RefusedType(&'static str),
    /// An option of its superblock that the table does not list.
    #[error("nothing is known of its option \"{}\"", Escaped(.0))]
    UnknownOption(Vec<u8>),
    /// An option that the table refuses.
    #[error("its option \"{}\" cannot be restored: {why}", Escaped(.key))]
    RefusedOption {
        /// The option.
        key: Vec<u8>,
        /// Why.
        why: &'static str,
    },
    /// A per-mount attribute without a meaning to us.
    #[error("nothing is known of its attribute \"{}\"", Escaped(.0))]
    UnknownAttribute(Vec<u8>),
    /// An optional field of mountinfo without a meaning to us.
    #[error("nothing is known of its field \"{}\" in mountinfo", Escaped(.0))]
    UnknownField(Vec<u8>),
    /// `idmapped`, on a kernel that does not tell how.
    #[error("it is id-mapped, and this kernel does not tell how (Linux 6.15 does)")]
    UnreadableIdMap,
    /// It comes from outside, and nobody said that it may.
    #[error("it shows something from outside the container ({}), and nothing declares it external", Escaped(.root))]
    Undeclared {
        /// The root within its file system.
        root: Vec<u8>,
        /// A name to propose.
        name: String,
    },
    /// Its root was removed, and nobody said what to take in its place.
    #[error(
        "what it shows was removed on the host; only a declaration by name can put something in its place"
    )]
    DeletedSource {
        /// A name to propose.
        name: String,
    },
    /// A deleted root in a file system whose contents are not recorded.
    #[error("what it shows was removed, and cannot be made again in this type of file system")]
    DeletedRoot,
    /// A file of a file system whose root no mount shows.
    #[error(
        "it shows a single or a removed file of a file system whose root is mounted nowhere, and which cannot be recorded"
    )]
    PartOfNothing,
    /// A mount of `/proc/PID/...`.
    #[error("it shows a task's directory in proc, which will be another one after a restore")]
    TaskDirectory,
    /// Something in a devpts that is no terminal.
    #[error("it shows \"{}\" of a devpts, which is neither its root, ptmx nor a terminal", Escaped(.0))]
    NoTerminal(Vec<u8>),
    /// A file system that has to be empty is not.
    #[error("there is something in it: {0}")]
    NotEmpty(&'static str),
    /// Messages in a queue.
    #[error(
        "queue \"{}\" has {waiting} messages in it, which cannot be read without taking them; receive them first",
        Escaped(.queue)
    )]
    Messages {
        /// Its name.
        queue: Vec<u8>,
        /// How many.
        waiting: u32,
    },
    /// The root could not be looked at.
    #[error("its root could not be looked at, so what it is and holds is not known{}", Because(.why))]
    UnknownRoot {
        /// The call that failed, if one did.
        why: String,
    },
    /// A master that is in no table.
    #[error("it is a slave of peer group {0}, which no mount that can be seen is a member of")]
    MasterNowhere(PeerGroupId),
    /// An outside group without a member that could be joined.
    #[error("it belongs with peer group {group} outside the container, but {}", Elsewhere(.seen_by))]
    NoOutsideMember {
        /// The id of the group.
        group: PeerGroupId,
        /// Tasks in whose mount namespaces the group has members.
        seen_by: Vec<u32>,
    },
    /// Peers, or a slave and its master, that no single source shows.
    #[error(
        "it and its peers show parts of a file system that no path on this host shows together"
    )]
    DisjointGroup,
    /// Peers of which some show paths and some do not.
    #[error("its peers show things of another kind")]
    MixedGroup,
    /// An inside group that straddles what was declared.
    #[error("it was declared as \"{first}\" and, through its peers, as \"{second}\"")]
    TwoNames {
        /// One name.
        first: String,
        /// The other.
        second: String,
    },
    /// The table is no tree.
    #[error("the mount table of process {pid} is no tree: {what}")]
    NoTree {
        /// Whose table.
        pid: u32,
        /// In which way.
        what: String,
    },
    /// The mount that the root directory is on is nowhere to be seen.
    #[error("the mount that the root directory of process {0} is on is not in its mount table")]
    Chrooted(u32),
    /// `--external NAME=MOUNTPOINT` with nothing there.
    #[error("--external {name}={}: no mount of the container is there", Escaped(.mountpoint))]
    NothingToDeclare {
        /// The name.
        name: String,
        /// Where.
        mountpoint: Vec<u8>,
    },
    /// `--slave-mount-map` with nothing at the target.
    #[error("--slave-mount-map: no mount of the container is at \"{}\"", Escaped(.0))]
    NothingToMap(Vec<u8>),
    /// `--slave-mount-map` for a mount that is tied to nothing outside.
    #[error("--slave-mount-map: the mount at \"{}\" has no master outside the container", Escaped(.0))]
    NoSlave(Vec<u8>),
    /// `--slave-mount-map` with a source in another group.
    #[error(
        "--slave-mount-map: {source_path} does not show it through a member of its peer group {group}"
    )]
    WrongMaster {
        /// The source given.
        source_path: HostPath,
        /// The group that it would have to be in.
        group: PeerGroupId,
    },
}

impl Obstacle {
    /// An obstacle that is about no single mount.
    pub fn general(cause: Cause) -> Self {
        Self { place: None, cause }
    }

    /// Options of the command line that would remove it.
    pub fn options(&self) -> Vec<String> {
        match (&self.cause, &self.place) {
            (Cause::Undeclared { name, .. }, Some(place)) => {
                vec![
                    declaration(name, &place.mountpoint),
                    "--external auto".to_owned(),
                ]
            }
            (Cause::DeletedSource { name }, Some(place)) => {
                vec![declaration(name, &place.mountpoint)]
            }
            _ => Vec::new(),
        }
    }
}

fn declaration(name: &str, mountpoint: &[u8]) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"/._-=@:+,".contains(b);
    let word = [name.as_bytes(), b"=", mountpoint].concat();
    if word.iter().all(plain) {
        return format!("--external {}", Escaped(&word));
    }
    // A shell takes these octal escapes back; a quote ends the string and so is one of them.
    let shown: String = word
        .iter()
        .map(|&b| {
            if plain(&b) || b == b' ' {
                char::from(b).to_string()
            } else {
                format!("\\{b:03o}")
            }
        })
        .collect();
    format!("--external $'{shown}'")
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.cause),
            None => self.cause.fmt(f),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}, process {})",
            Escaped(&self.mountpoint),
            Escaped(&self.fs_type),
            self.pid
        )
    }
}

struct Elsewhere<'a>(&'a [u32]);

impl fmt::Display for Elsewhere<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.0.first() else {
            return f.write_str("no path on this host shows it through a member of that group");
        };
        write!(
            f,
            "the group's members are in the mount namespace of process {first}"
        )?;
        match self.0.len() - 1 {
            0 => f.write_str(", not in that of crux-dump"),
            more => write!(f, " and {more} more, not in that of crux-dump"),
        }
    }
}

/// A cause in brackets, where there is one.
struct Because<'a>(&'a str);

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            why => write!(f, " ({why})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undeclared_mount_says_how_to_declare_it() {
        let place = Place {
            pid: 7,
            mountpoint: b"/a b'".to_vec(),
            fs_type: b"ext4".to_vec(),
        };
        let cause = Cause::Undeclared {
            root: b"/x".to_vec(),
            name: "/a b'".into(),
        };
        let obstacle = Obstacle {
            place: Some(place),
            cause,
        };
        assert_eq!(
            obstacle.options(),
            [r"--external $'/a b\047=/a b\047'", "--external auto"]
        );
        assert!(
            obstacle
                .to_string()
                .starts_with("/a b' (ext4, process 7): it shows")
        );
    }
}

//! Why a process could not be looked at.
//!
//! Kind: pure.

use super::PeelError;
use crate::contents::ContentsError;
use crate::failure::Exit;
use crate::judge::Obstacle;
use crux_image::contents::FormatError;
use crux_image::error::{ImageError, Problem};
use crux_mount::observe::ObserveError;
use crux_mount::sys::SysError;
use crux_role::{Grounds, Need, named};
use rustix::io::Errno;

/// Why a dump failed.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// There is no such process.
    #[error("dump process {0}: it does not exist")]
    NoProcess(u32),
    /// It is one of the kernel's own.
    #[error("dump process {0}: it is a kernel thread and has no mount namespace of its own")]
    KernelThread(u32),
    /// It has ended.
    #[error("dump process {0}: it is a zombie: it has ended, and its mount namespace has gone")]
    Zombie(u32),
    /// It is in the dumper's own mount namespace.
    #[error(
        "dump process {0}: it is in the mount namespace of crux-dump itself, so not in a container"
    )]
    SameNamespace(u32),
    /// Capabilities are missing.
    #[error("dump: {}{advice}", named(.missing))]
    Capabilities {
        /// All that are missing at once.
        missing: Vec<Need>,
        /// How to grant them, once `advised` has said so.
        advice: String,
    },
    /// The process may not be looked at.
    #[error("look at process {pid}: {error}; this needs CAP_SYS_PTRACE over its user namespace")]
    Forbidden {
        /// Whose.
        pid: u32,
        /// The call.
        error: SysError,
    },
    /// Its table could not be read.
    #[error("read the mount namespace of process {pid}: {error}")]
    Observe {
        /// Whose.
        pid: u32,
        /// Why.
        error: ObserveError,
    },
    /// Whether it is chrooted could not be found out.
    #[error(
        "see what mounts the namespace of process {pid} has beyond its root directory: {error}"
    )]
    Beyond {
        /// Whose.
        pid: u32,
        /// Why.
        error: PeelError,
    },
    /// Locks could not be tried out.
    #[error("find out what is locked in the mount namespace of process {pid}: {error}")]
    Locks {
        /// Whose.
        pid: u32,
        /// Why.
        error: PeelError,
    },
    /// A call failed.
    #[error("look at process {pid}: {error}")]
    Process {
        /// Whose.
        pid: u32,
        /// The call.
        error: SysError,
    },
    /// /proc could not be read.
    #[error("read {what}: {error}")]
    Proc {
        /// Which file.
        what: String,
        /// Why.
        error: std::io::Error,
    },
    /// The user namespace that owns a mount namespace has no process to read its maps from.
    #[error(
        "read the id maps of the user namespace that owns the mounts of process {0}: none of its processes is in it"
    )]
    UserMaps(u32),
    /// It cannot be restored, for these reasons.
    #[error("dump what could be restored: {} of the container cannot be", Counted(.0.len()))]
    Obstacles(Vec<Obstacle>),
    /// The tables did not stay the same.
    #[error(
        "read the mount tables of process {0}: they keep changing; stop what mounts and unmounts there, or try again"
    )]
    Changing(u32),
    /// The contents of a file system could not be read.
    #[error("reach the contents of {place}: {reason}")]
    Reach {
        /// Which mount.
        place: String,
        /// Why.
        reason: String,
    },
    /// The contents of a file system could not be recorded.
    #[error("{error}, in {place}")]
    Contents {
        /// Which mount.
        place: String,
        /// Why.
        error: ContentsError,
    },
    /// The contents members could not be completed.
    #[error("write the contents: {0}")]
    Format(#[from] FormatError),
    /// The image could not be written.
    #[error("write {0}")]
    Image(#[from] ImageError),
    /// What has to be said before was not.
    #[error("judge the container: nothing was collected of it")]
    OutOfTurn,
    /// The machine does not say what it is.
    #[error("describe the image: getrandom: {0}")]
    Facts(Errno),
}

/// The message where so many obstacles are.
pub(crate) fn stands_in_the_way(count: usize) -> String {
    format!(
        "dump what could be restored: {} of the container cannot be",
        Counted(count)
    )
}

struct Counted(usize);

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            1 => f.write_str("1 thing"),
            many => write!(f, "{many} things"),
        }
    }
}

impl DumpError {
    /// The same, with how to grant what is missing.
    pub(crate) fn advised(mut self, grounds: &Grounds) -> Self {
        if let Self::Capabilities { missing, advice } = &mut self {
            *advice = format!("; {}", grounds.advice(missing, &super::capabilities::all()));
        }
        self
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NoProcess(_)
            | Self::Observe {
                error: ObserveError::Gone(_),
                ..
            } => Exit::Usage,
            Self::Image(error)
                if matches!(
                    error.problem,
                    Problem::Exists | Problem::PartialExists(_) | Problem::NoName
                ) =>
            {
                Exit::Usage
            }
            Self::KernelThread(_)
            | Self::Zombie(_)
            | Self::SameNamespace(_)
            | Self::UserMaps(_)
            | Self::Obstacles(_) => Exit::Obstacle,
            Self::Capabilities { .. } | Self::Forbidden { .. } => Exit::Lacking,
            _ => Exit::Undone,
        }
    }
}

//! Why a task cannot be dumped so that it could be restored.
//!
//! Kind: pure. All obstacles of a dump are reported at once.

use crux_image::path::Escaped;
use std::fmt;

/// One reason, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskObstacle {
    /// The process, as the dumper sees it.
    pub pid: u32,
    /// Which part of it.
    pub part: Part,
    /// What is wrong.
    pub cause: TaskCause,
}

/// A part of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Process,
    /// A thread, by its number.
    Thread(u32),
    /// A descriptor, by its number.
    Descriptor(u32),
    /// A mapping, by its first address.
    Area(u64),
    /// Its root directory.
    Root,
    /// Its working directory.
    Working,
    /// Its program.
    Program,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskCause {
    /// A kind of file that images do not hold yet.
    #[error("is \"{}\", which cannot be dumped yet", Escaped(.0))]
    Unsupported(Vec<u8>),
    /// A file in a mount that is none of the container's.
    #[error("is \"{}\", which is outside the container; nothing declares it external", Escaped(.0))]
    Outside(Vec<u8>),
    /// An open file from outside, and what declares it: a name for a place.
    #[error(
        "is \"{}\", which is outside the container; nothing declares it external",
        Escaped(shown)
    )]
    Undeclared {
        /// What /proc shows.
        shown: Vec<u8>,
        /// `NAME=fd:PID:N`
        declaration: String,
    },
    /// A path that the container's mount table does not explain.
    #[error("is \"{}\", which its mount does not show", Escaped(.0))]
    Unplaced(Vec<u8>),
    /// Memory that is not a process's own to keep.
    #[error("shows \"{}\", which cannot be mapped again", Escaped(.0))]
    Mapping(Vec<u8>),
    /// Something else, in words.
    #[error("{0}")]
    Other(String),
}

impl TaskObstacle {
    /// Options of the command line that would remove it.
    pub fn options(&self) -> Vec<String> {
        match &self.cause {
            TaskCause::Undeclared { declaration, .. } => vec![
                format!("--external {declaration}"),
                "--external auto".to_owned(),
            ],
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for TaskObstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, part, cause } = self;
        match part {
            Part::Process => write!(f, "process {pid}: {cause}"),
            Part::Thread(tid) => write!(f, "process {pid}, thread {tid}: {cause}"),
            Part::Descriptor(fd) => write!(f, "process {pid}: descriptor {fd} {cause}"),
            Part::Area(start) => write!(f, "process {pid}: the mapping at {start:#x} {cause}"),
            Part::Root => write!(f, "process {pid}: its root directory {cause}"),
            Part::Working => write!(f, "process {pid}: its working directory {cause}"),
            Part::Program => write!(f, "process {pid}: its program {cause}"),
        }
    }
}

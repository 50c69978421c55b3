//! What the roles of a restore say to each other, in the order in which they do.
//!
//! Kind: pure. Each is a record of crux-image's codec, with a bound that the
//! receiver sets. An answer is what was asked for, or why there is none.

use crate::failure::{Exit, Failure};
use crate::grants::Wanted;
use crate::tasks::wanted::{Kept, Made};
use crux_image::mounts::{Mounts, UserNsIndex};
use crux_mount::plan::Step;
use crux_mount::verify::External;
use crux_role::Bound;
use serde::{Deserialize, Serialize};

/// An answer of a role.
pub(crate) type Answer<T> = Result<T, Refusal>;

/// A failure on its way to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refusal {
    exit: u8,
    message: String,
}

/// Bytes of a cause; a longer one is cut.
const CAUSE: usize = 1 << 20;

/// Members of an image; with their descriptors, and that of the host's table
/// before them where there is to be a restore.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Image {
    /// `MemberKind::number`
    pub members: Vec<u32>,
}

/// What the planner has found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Planned {
    /// The plan in words, where only that was asked for.
    Shown(String),
    /// A [`Record`] follows, for the builder; when there is a plan, or none, an answer that says so; then its [`Steps`]; and
    /// an answer once there is nothing more to look at.
    Record,
}

/// From the planner to the builder, which looks at it while the planner plans; the supervisor only carries it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub mounts: Mounts,
    /// User namespaces in which setgroups(2) is denied.
    pub without_setgroups: Vec<UserNsIndex>,
    /// What tasks had open from outside.
    pub wanted: Vec<Wanted>,
}

/// Likewise: the plan, in a row of such records.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Steps(pub Vec<Step>);

/// From the builder: how many descriptors of which kind came along, and what the sources were.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Done {
    pub namespaces: u32,
    /// By their masters.
    pub terminals: Vec<Made>,
    /// What was opened for tasks, by name.
    pub files: Vec<String>,
    pub net: bool,
    pub ipc: bool,
    pub users: u32,
    pub facts: Vec<Option<External>>,
}

/// To the planner, with a mountinfo of each namespace: is it as recorded?
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Restored {
    pub facts: Vec<Option<External>>,
}

/// From the planner: it is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Verified {
    pub namespaces: u64,
    pub mounts: u64,
}

/// To the forker, with descriptors: the namespace, its root, and those of net and ipc.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Release {
    pub net: bool,
    pub ipc: bool,
}

/// To the forker, once it has pinned what was to be pinned.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Then {
    /// Run COMMAND.
    Command,
    /// Take the pin away again, for this cause.
    Undo(String),
}

/// From the planner, where there are tasks: what the supervisor has to know of their plan,
/// which follows, for the tracer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Delivery {
    pub base: u64,
    pub birth: crate::tasks::plan::Birth,
    pub inherited: Vec<crate::tasks::plan::Inherited>,
    pub processes: u64,
    pub threads: u64,
    /// Of each terminal of the tasks, the pty that is made for it.
    pub made: Vec<Option<Made>>,
    /// Terminals whose masters are for somebody outside.
    pub kept: Vec<Kept>,
    pub cgroups: crate::tasks::cgroups::CgroupPlan,
    /// How many proc file systems of the first task's pid namespace the builder needs.
    pub procs: u32,
}

/// From the forker, and to the builder, which then begins, with descriptors: the first task is there, if there are tasks.
/// First come its proc file systems.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Begun {
    /// How many.
    pub procs: u32,
    /// Then its user namespace, if it is in a new one: which of the record.
    pub user: Option<UserNsIndex>,
    /// Then its net namespace, if that has to be taken for the container's.
    pub net: bool,
    /// Then its ipc namespace, likewise.
    pub ipc: bool,
}

/// To the role for cgroups. It answers each.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Placing {
    /// To make those that are not there.
    Make(crate::tasks::cgroups::CgroupPlan),
    /// To load a program of the plan, and to attach it. It comes with the answer.
    Load(u32),
    /// The first task is there.
    First(u32),
    /// All are there: process, and its number.
    All(Vec<(crux_image::tasks::ProcessIndex, u32)>),
    /// To remove what it has made.
    Undo,
}

/// To the tracer, with a descriptor of /proc; a [`crate::tasks::plan::TaskPlan`] follows.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Tracing {}

/// From the tracer, with the arena's memory and the gate of the first task.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Linked {
    /// Bytes of the memory.
    pub length: u64,
    /// The address of the first task's first line.
    pub line: u64,
}

/// To the tracer: the first task is there.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Traced {
    pub pid: u32,
}

/// From the tracer, with `maps` and `status` of each process: nothing is left but to let them go.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Followed {
    /// Processes and their numbers, as the caller sees them.
    pub processes: Vec<(crux_image::tasks::ProcessIndex, u32)>,
}

/// To the forker: all tasks live on their own.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Released {
    /// Wait for the first, and say how it ended.
    Wait,
    /// Leave.
    Leave,
}

/// Bytes of records whose size does not depend on the image, and of causes.
pub(crate) const SMALL: u64 = 2 << 20;
/// Bytes of a record, and of a plan: twice what a record of mounts may have.
pub(crate) const RECORD: u64 = 512 << 20;
/// Bytes of the facts on all sources.
pub(crate) const FACTS: u64 = 256 << 20;

/// A bound.
pub(crate) fn bound(bytes: u64, descriptors: usize) -> Bound {
    Bound { bytes, descriptors }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let mut message = failure.message;
        let end = (0..=CAUSE.min(message.len())).rfind(|at| message.is_char_boundary(*at));
        message.truncate(end.unwrap_or(0));
        Self {
            exit: failure.exit as u8,
            message,
        }
    }
}

impl From<Refusal> for Failure {
    /// TRUST: the message may come from a role that was taken over. It goes to a
    /// terminal: nothing in it controls one.
    fn from(refusal: Refusal) -> Self {
        let exits = [
            Exit::Usage,
            Exit::Obstacle,
            Exit::Lacking,
            Exit::Image,
            Exit::Uncertain,
        ];
        let exit = exits.into_iter().find(|exit| *exit as u8 == refusal.exit);
        Self::new(exit.unwrap_or(Exit::Undone), printable(&refusal.message))
    }
}

/// Without control characters, but for the ends of lines.
pub(crate) fn printable(text: &str) -> String {
    let shown = |c: char| {
        if c.is_control() && c != '\n' {
            '\u{fffd}'
        } else {
            c
        }
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_cannot_control_a_terminal_or_make_up_an_exit_code() {
        let refusal = Refusal {
            exit: 0,
            message: "a\x1b]0;b\nc".into(),
        };
        let failure = Failure::from(refusal);
        assert_eq!(failure.exit, Exit::Undone);
        assert_eq!(failure.message, "a\u{fffd}]0;b\nc");
    }
}

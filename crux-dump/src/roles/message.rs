//! What the roles of a dump say to each other, in the order in which they do.
//!
//! Kind: pure. Each is a record of crux-image's codec, with a bound that the
//! receiver sets. An answer is what was asked for, or why there is none.

use crate::collect::DumpError;
use crate::collect::cgroups::SeenCgroups;
use crate::collect::ipc::SeenIpc;
use crate::failure::{Exit, Failure, Told};
use crate::judge::{ContentsWork, NamespaceId, Obstacle, RootFact, SeenQueue, WishCheck};
use crate::network::SeenNetwork;
use crate::tasks::{CaptureError, FreezeError, Release, TaskObstacle};
use crux_image::contents::Section;
use crux_image::mounts::{IdMap, Lock, OriginIndex, UserNamespace, UserNsIndex};
use crux_image::tasks::{NetSysctl, SeccompFilter};
use crux_mount::ids::{Device, MountId};
use crux_mount::mountinfo::Entry;
use crux_role::{Bound, Need, named};
use crux_trace::TraceError;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// An answer of a role.
pub(crate) type Answer<T> = Result<T, Refusal>;

/// A failure on its way to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refusal {
    exit: u8,
    message: String,
    obstacles: Vec<Told>,
    pub(crate) doubt: Doubt,
}

/// Whether it could be otherwise next time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Doubt {
    /// It is as it is.
    None,
    /// It is so only if the tables have not changed meanwhile.
    IfChanged,
    /// They kept changing.
    Changing,
}

/// What the collector is asked for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Everything from the beginning: it answers, [`Tables`] follow; it answers, [`Facts`] follow.
    Look,
    /// [`Work`] follows, and the contents members come along where there is an image: it answers, [`Done`] follows.
    Contents,
    /// It answers, and the descriptors of segments come along; [`IpcSight`] follows.
    Ipc,
    /// It answers, [`Settings`] follow.
    Settings,
    /// Whether the tables are still those that it has read.
    Unchanged,
}

/// What the tracer is asked for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Trace {
    /// To stop all tasks: it answers with [`Stopped`].
    Freeze,
    /// [`IpcSight`] follows, and the segments of shared memory come along. There is no answer.
    Ipc,
    /// It answers with [`Filtered`].
    Filtered,
    /// [`SeenFilters`] follow. There is no answer.
    Filters,
    /// [`Tables`] follow, and the member for memory comes along: it answers, is sent [`Settings`], which were looked for
    /// meanwhile, and [`Captured`](crate::tasks::Captured) follows.
    Capture,
    /// To let them go: it answers with how long they were stopped, in microseconds.
    Release(Release),
}

/// From the tracer: all tasks stand still.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Stopped {
    /// How many.
    pub(crate) processes: u64,
    /// How long it took, from the first on.
    pub(crate) microseconds: u64,
}

impl Stopped {
    /// Where no tasks are dumped.
    pub(crate) const NONE: Self = Self {
        processes: 0,
        microseconds: 0,
    };
}

/// From the tracer to the reader: threads whose seccomp filters are to be read.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Filtered(pub Vec<u32>);

/// From the reader to the tracer: what they are.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SeenFilters(pub Vec<(u32, Vec<SeccompFilter>)>);

/// What the encoder is told.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Order {
    /// The directory of the image comes along; without it nothing is written.
    Directory,
    /// [`Tables`] follow, in the place of all that was said before. There is no answer.
    Tables,
    /// [`Facts`] follow: it answers with [`Fit`] and the contents members, [`Work`] follows.
    Judge,
    /// [`Captured`](crate::tasks::Captured) follows. There is no answer.
    Tasks,
    /// [`Done`] follows: it answers with what to print.
    Finish,
}

/// From the collector to the encoder: mount tables as the kernel gave them out.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tables {
    /// The process given.
    pub pid: u32,
    /// The name of that process: bytes that it chose itself.
    pub command: Vec<u8>,
    /// The container's namespaces, that of `pid` first.
    pub container: Vec<Space>,
    /// User namespaces that own some of them, or that tasks are in.
    pub user_namespaces: Vec<UserNamespace>,
    /// Their inode numbers.
    pub user_ids: Vec<u64>,
    /// Those of them in which setgroups(2) is denied.
    pub without_setgroups: Vec<UserNsIndex>,
    /// The dumper's own.
    pub host: Vec<u8>,
    /// Its net namespace.
    pub host_net: NamespaceId,
    /// Its ipc namespace.
    pub host_ipc: NamespaceId,
    /// All other namespaces, each with a task in it.
    pub foreign: Vec<(u32, Vec<u8>)>,
    /// The network namespaces that tasks of the container are in, but for the dumper's own.
    pub networks: Vec<SeenNetwork>,
}

/// A mount namespace of the container.
#[derive(Debug, Serialize, Deserialize)]
pub struct Space {
    /// A task in it.
    pub pid: u32,
    /// Its mountinfo.
    pub table: Vec<u8>,
    /// What its root directory is, where that is not the root of a mount.
    pub chrooted: Option<Entry>,
    /// The maps of id-mapped mounts.
    pub idmaps: BTreeMap<MountId, IdMap>,
    /// The mount that the root directory is on.
    pub root: MountId,
    /// See `SeenNamespace::unreached`.
    pub unreached: u64,
    /// Its owner, where that is not the dumper's own user namespace.
    pub owner: Option<UserNsIndex>,
    /// The net namespace of its task.
    pub net: NamespaceId,
    /// The ipc namespace of its task.
    pub ipc: NamespaceId,
}

/// From the collector to the encoder: what the roots of mounts are.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub roots: HashMap<MountId, RootFact>,
    /// Why nothing is known of others.
    pub unlooked: HashMap<MountId, String>,
    /// What is locked in namespaces that user namespaces own.
    pub locks: HashMap<MountId, Lock>,
    /// The queues that mqueues show, by device.
    pub queues: HashMap<Device, Vec<SeenQueue>>,
}

/// From the collector to the tracer: what the ipc namespaces of the tasks hold.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct IpcSight {
    pub ipc: Vec<SeenIpc>,
    pub cgroups: SeenCgroups,
}

/// From the encoder: it can be dumped.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Fit {
    /// How many mounts above a chroot are left out.
    pub left_out: u64,
    /// How many locks a restore cannot make again.
    pub lost: u64,
}

/// From the encoder to the collector: what is left to do on the live system.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Work {
    pub contents: Vec<ContentsWork>,
    pub wishes: Vec<WishCheck>,
}

/// From the collector to the tracer: of each network namespace of [`Tables`] what is not as in a new one.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Settings(pub Vec<Vec<NetSysctl>>);

/// From the collector to the encoder: it was done.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Where the contents are.
    pub sections: Vec<(OriginIndex, Section)>,
    /// How many files are covered by mounts that nobody can take away.
    pub covered: u64,
    /// Origins whose wishes lead elsewhere.
    pub unfulfilled: Vec<OriginIndex>,
}

/// From the encoder: the image is complete.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Finished {
    /// What to print.
    pub text: String,
    /// See [`Done::covered`].
    pub covered: u64,
    /// Bytes in terminals that nobody had read.
    pub unread: u64,
}

/// Bytes of records whose size does not depend on the container, and of causes.
pub(crate) const SMALL: u64 = 2 << 20;
/// Bytes of tables, facts and work: as many mounts as a few kernels would have.
pub(crate) const LARGE: u64 = 2 << 30;
/// Segments of shared memory: as many as a process may have open.
pub(crate) const SEGMENTS: usize = 1 << 20;
/// Bytes of what is printed.
pub(crate) const TEXT: u64 = 1 << 30;

/// A bound.
pub(crate) fn bound(bytes: u64, descriptors: usize) -> Bound {
    Bound { bytes, descriptors }
}

impl From<DumpError> for Refusal {
    fn from(error: DumpError) -> Self {
        let doubt = match &error {
            DumpError::Changing(_) => Doubt::Changing,
            // The contents of a mount that has gone meanwhile cannot be reached, and what
            // was seen may have been half of a change.
            DumpError::Reach { .. }
            | DumpError::Locks { .. }
            | DumpError::Contents { .. }
            | DumpError::Process { .. }
            | DumpError::Obstacles(_) => Doubt::IfChanged,
            _ => Doubt::None,
        };
        let obstacles: &[Obstacle] = match &error {
            DumpError::Obstacles(obstacles) => obstacles,
            _ => &[],
        };
        let told = |obstacle: &Obstacle| Told {
            what: obstacle.to_string(),
            options: obstacle.options(),
        };
        Self {
            exit: error.exit() as u8,
            message: error.to_string(),
            obstacles: obstacles.iter().map(told).collect(),
            doubt,
        }
    }
}

impl Refusal {
    fn of_tasks(exit: Exit, message: String, obstacles: &[TaskObstacle], doubt: Doubt) -> Self {
        let told = |obstacle: &TaskObstacle| Told {
            what: obstacle.to_string(),
            options: obstacle.options(),
        };
        Self {
            exit: exit as u8,
            message,
            obstacles: obstacles.iter().map(told).collect(),
            doubt,
        }
    }
}

impl Refusal {
    /// Filters that cannot be read.
    pub(crate) fn of_filters(tid: u32, error: &TraceError) -> Self {
        let message =
            format!("read the seccomp filters of thread {tid}: {error}; this needs CAP_SYS_ADMIN");
        Self::of_tasks(Exit::Lacking, message, &[], Doubt::None)
    }

    /// Whether there are any cannot be told.
    pub(crate) fn of_status(error: crux_mount::sys::SysError) -> Self {
        let message = format!("see which tasks have seccomp filters: {error}");
        Self::of_tasks(Exit::Undone, message, &[], Doubt::None)
    }
}

impl From<FreezeError> for Refusal {
    fn from(error: FreezeError) -> Self {
        let exit = match &error {
            FreezeError::NoProcess(_) => Exit::Usage,
            FreezeError::Obstacle(obstacle) => {
                let message = crate::collect::stands_in_the_way(1);
                let obstacles = std::slice::from_ref(obstacle);
                return Self::of_tasks(Exit::Obstacle, message, obstacles, Doubt::None);
            }
            FreezeError::Forbidden { .. } => Exit::Lacking,
            FreezeError::Process { .. } | FreezeError::Trace { .. } => Exit::Undone,
        };
        Self::of_tasks(exit, error.to_string(), &[], Doubt::None)
    }
}

impl Refusal {
    /// Of one who lacks these capabilities. Not every call that fails, and not all that is not found, is so for want of one.
    pub(crate) fn without(mut self, missing: &[Need]) -> Self {
        if !missing.is_empty() {
            self.message += &format!("; it may be so because {}", named(missing));
        }
        self
    }
}

impl From<CaptureError> for Refusal {
    fn from(error: CaptureError) -> Self {
        match &error {
            CaptureError::Obstacles(obstacles) => {
                let message = crate::collect::stands_in_the_way(obstacles.len());
                Self::of_tasks(Exit::Obstacle, message, obstacles, Doubt::IfChanged)
            }
            _ => Self::of_tasks(Exit::Undone, error.to_string(), &[], Doubt::IfChanged),
        }
    }
}

impl From<TraceError> for Refusal {
    fn from(error: TraceError) -> Self {
        let message = format!("let the tasks go: {error}");
        Self::of_tasks(Exit::Undone, message, &[], Doubt::None)
    }
}

impl From<Refusal> for Failure {
    /// TRUST: the words may come from a role that was taken over. They go to a
    /// terminal: nothing in them controls one.
    fn from(refusal: Refusal) -> Self {
        let exits = [Exit::Usage, Exit::Obstacle, Exit::Lacking];
        let exit = exits.into_iter().find(|exit| *exit as u8 == refusal.exit);
        let told = |told: Told| Told {
            what: printable(&told.what),
            options: told.options.iter().map(|text| printable(text)).collect(),
        };
        Self {
            exit: exit.unwrap_or(Exit::Undone),
            message: printable(&refusal.message),
            obstacles: refusal.obstacles.into_iter().map(told).collect(),
        }
    }
}

/// Without control characters, but for the ends of lines.
pub(crate) fn printable(text: &str) -> String {
    let shown = |c: char| match c.is_control() && c != '\n' {
        true => '\u{fffd}',
        false => c,
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_cannot_control_a_terminal_or_make_up_an_exit_code() {
        let told = Told {
            what: "c\x07".into(),
            options: vec!["\x1b[2J".into()],
        };
        let failure = Failure::from(Refusal {
            exit: 0,
            message: "a\x1b]0;b\nc".into(),
            obstacles: vec![told],
            doubt: Doubt::None,
        });
        assert_eq!(failure.exit, Exit::Undone);
        assert_eq!(failure.message, "a\u{fffd}]0;b\nc");
        assert_eq!(failure.obstacles[0].what, "c\u{fffd}");
        assert_eq!(failure.obstacles[0].options, ["\u{fffd}[2J"]);
    }
}

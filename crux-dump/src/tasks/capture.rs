//! From frozen tasks to the record of them.
//!
//! Kind: effect. Everything that stands in the way is found before it fails.

use super::ask::AskError;
use super::cgroups;
use super::files::{self, FilesError};
use super::for_children;
use super::freeze::Frozen;
use super::interview::{Conversation, Told, conversation};
use super::ipc::{self, Ipc};
use super::memory::{self, Known, MemoryError, PagesWriter, Space};
use super::namespaces::{Homes, Namespaces};
use super::proc_text::Status;
use super::processes::Facts;
use super::procs;
use super::questions::Answers;
use super::signals::queue;
use super::target::Target;
use super::threads::{self, About, ThreadError};
use super::users::Ids;
use super::{Distinct, Filters, Objects, Part, Places, Shared, TaskCause, TaskObstacle};
use crate::judge::{Obstacle, Policy, SeenNamespace};
use crate::network::SeenNetwork;
use crate::sys;
use crux_image::mounts::{NamespaceIndex, UserNamespace, UserNsIndex};
use crux_image::tasks::{
    AddressSpace, Clocks, InetSocket, IntervalTimer, NetSysctl, OpenNamespace, OpenTarget,
    PidNsIndex, Process, Socket, SocketState, SpaceIndex, Tasks, Thread,
};
use crux_mount::sys::SysError;
use crux_trace::{Queue, Stopped};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fs::File;

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// They cannot be restored.
    #[error("dump what could be restored")]
    Obstacles(Vec<TaskObstacle>),
    /// The mount table does not make sense.
    #[error("find the places of files: {0}")]
    Places(Obstacle),
    /// A call on a process failed.
    #[error("look at process {pid}: {error}")]
    Process {
        /// Whose.
        pid: u32,
        /// The call.
        error: SysError,
    },
    /// A thread could not be looked at.
    #[error("look at process {pid}: {error}")]
    Thread {
        /// Whose.
        pid: u32,
        /// Why.
        error: ThreadError,
    },
    /// A thread did not answer.
    #[error("ask thread {tid} of process {pid}: {error}")]
    Ask {
        /// Whose.
        pid: u32,
        /// Which.
        tid: u32,
        /// Why.
        error: AskError,
    },
    /// Memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Open files.
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// What the record of mounts has, as far as tasks refer to it.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// Mount namespaces, in the order of the record.
    pub spaces: &'a [SeenNamespace],
    /// User namespaces, likewise.
    pub users: &'a [UserNamespace],
    /// Their inode numbers.
    pub user_ids: &'a [u64],
    /// Those in which setgroups(2) is denied.
    pub without_setgroups: &'a [UserNsIndex],
    /// What the command line says.
    pub policy: &'a Policy,
    /// The network namespaces that tasks are in.
    pub networks: &'a [SeenNetwork],
}

/// The record of tasks, and of its pages.
#[derive(Debug, Serialize, Deserialize)]
pub struct Captured {
    /// The record.
    pub tasks: Tasks,
    /// CRC-32 of the pages.
    pub checksum: u32,
    /// Where each of the record's network namespaces is in [`Surroundings::networks`].
    #[serde(skip)]
    networks: Vec<usize>,
}

impl Captured {
    /// The settings of each of [`Surroundings::networks`], which are the last to be known.
    pub(crate) fn add(&mut self, mut settings: Vec<Vec<NetSysctl>>) {
        for (network, place) in self.tasks.networks.iter_mut().zip(&self.networks) {
            if let Some(settings) = settings.get_mut(*place) {
                network.sysctls = std::mem::take(settings);
            }
        }
    }
}

/// Captures frozen tasks; their memory goes to `pages`.
pub fn capture(
    frozen: &mut Frozen,
    surroundings: &Surroundings<'_>,
    mut ipc: Ipc,
    filters: &Filters,
    pages: File,
) -> Result<Captured, CaptureError> {
    let places = Places::new(surroundings.spaces).map_err(CaptureError::Places)?;
    let Conversation {
        told,
        mut obstacles,
    } = conversation(frozen, filters)?;
    let seen_cgroups = std::mem::take(&mut ipc.cgroups);
    let mut objects = Objects::new(PagesWriter::new(pages));
    let first = frozen.targets.first().map_or(0, |first| first.pid);
    let segments = ipc::segments(&ipc, first, &mut objects, &mut obstacles)?;
    ipc::undo_lists(&ipc, &frozen.targets, &mut obstacles)
        .map_err(|error| CaptureError::Process { pid: first, error })?;
    let mounts = mount_namespaces(&frozen.targets, surroundings.spaces)?;
    let memories = memories(
        &frozen.targets,
        &told,
        &mounts,
        &places,
        &mut objects,
        &mut obstacles,
    )?;
    let mut files = files::capture(
        &frozen.targets,
        &places,
        surroundings.policy,
        &seen_cgroups.attached,
        &mut objects,
        &mut obstacles,
    )?;
    let mut recorder = Recorder::new(surroundings)?;
    let mut processes = Vec::with_capacity(told.len());
    let outside = told.first().map_or(0, |first| first.facts.levels - 1);
    let ours = frozen.targets.iter().map(|target| target.pid).collect();
    for (at, told) in told.into_iter().enumerate() {
        let target = &frozen.targets[at];
        let (descriptors, fs) = files.of.get(at).copied().unwrap_or_default();
        let common = Common {
            outside,
            ours: &ours,
            space: memories.of[at],
            descriptors,
            fs,
            mount_namespace: mounts[at],
        };
        let threads = &frozen.held[at].threads;
        processes.push(recorder.process(target, threads, told, common, &mut obstacles)?);
    }
    for (file, kind, process) in std::mem::take(&mut files.namespaces) {
        if let Some(namespace) = OpenNamespace::of(&processes[process.at()], kind) {
            files.files[file.at()].target = OpenTarget::Namespace(namespace);
        }
    }
    let seccomp_chains = filters.complete(frozen, &mut processes, &mut obstacles);
    let seccomp_chains =
        seccomp_chains.map_err(|error| CaptureError::Process { pid: first, error })?;
    cgroups::roots(&mut recorder.namespaces, &seen_cgroups.roots);
    cgroups::held_by_none(
        &seen_cgroups,
        &files,
        surroundings.policy,
        first,
        &mut obstacles,
    );
    cgroups::of_threads(frozen, &processes, &mut obstacles)
        .map_err(|error| CaptureError::Process { pid: first, error })?;
    let context = ipc::Context {
        targets: &frozen.targets,
        namespaces: &recorder.namespaces,
        users: surroundings.users,
    };
    let ipc_contents = ipc::contents(&context, ipc, segments, &mut objects, &mut obstacles);
    let pids = frozen.targets.iter().map(|target| target.pid);
    let pids = pids.zip(processes.iter().map(Process::first_pid)).collect();
    let found = (files.sockets, files.socket_namespaces);
    let sockets = recorder.sockets(found, &pids, &processes, &mut obstacles);
    procs::refuse(
        &frozen.targets,
        surroundings.spaces,
        &recorder.namespaces,
        &mut obstacles,
    );
    let found = for_children::capture(&frozen.targets, &recorder.namespaces, &mut obstacles);
    let pid_for_children = found.map_err(|(pid, error)| CaptureError::Process { pid, error })?;
    if !obstacles.is_empty() {
        return Err(CaptureError::Obstacles(obstacles));
    }
    let (pages, shared_memory, unlinked) = objects.into_parts();
    let (_, checksum) = pages.finish();
    let Recorder {
        namespaces, clocks, ..
    } = recorder;
    let networks = namespaces.networks();
    let tasks = Tasks {
        clocks,
        processes,
        spaces: memories.spaces,
        shared_memory,
        descriptor_tables: files.tables,
        files: files.files,
        unlinked,
        pipes: files.pipes,
        fs: files.fs,
        pid_namespaces: namespaces.pid,
        uts_namespaces: namespaces.uts,
        ipc_namespaces: namespaces.ipc,
        net_namespaces: namespaces.net,
        cgroup_namespaces: namespaces.cgroup,
        time_namespaces: namespaces.time,
        ipc_contents,
        sockets,
        without_setgroups: surroundings.without_setgroups.to_vec(),
        seccomp_chains,
        terminals: files.terminals,
        controlling: files.controlling,
        networks,
        removed_working: files.removed_working,
        cgroups: seen_cgroups.beneath,
        programs: files.programs,
        cgroup_settings: seen_cgroups.settings,
        pid_for_children,
        locks: files.locks,
        memberships: files.memberships,
    };
    Ok(Captured {
        tasks,
        checksum,
        networks: namespaces.places,
    })
}

/// Which of the record each process is in.
fn mount_namespaces(
    targets: &[Target],
    spaces: &[SeenNamespace],
) -> Result<Vec<Option<NamespaceIndex>>, CaptureError> {
    let mut ids = Vec::with_capacity(targets.len());
    for target in targets {
        ids.push(match target.zombie {
            true => None,
            false => Some(mount_namespace(target)?),
        });
    }
    let mut known = HashMap::new();
    for (at, space) in spaces.iter().enumerate() {
        let whose = targets.iter().position(|target| target.pid == space.pid);
        if let Some(id) = whose.and_then(|whose| ids[whose]) {
            known.insert(id, NamespaceIndex::from(at));
        }
    }
    Ok(ids
        .iter()
        .map(|id| known.get(id.as_ref()?).copied())
        .collect())
}

fn mount_namespace(target: &Target) -> Result<u64, CaptureError> {
    let pid = target.pid;
    let failed = |error| CaptureError::Process { pid, error };
    let found = super::namespaces::linked(target, "mnt").map_err(failed)?;
    found.ok_or_else(|| failed(super::proc_text::odd("ns/mnt")))
}

/// Address spaces, and whose they are.
struct Memories {
    spaces: Vec<AddressSpace>,
    of: Vec<Option<SpaceIndex>>,
}

/// Bytes of all processes together that are kept for comparing with their children.
const KEPT: usize = 4 << 20;

fn memories(
    targets: &[Target],
    told: &[Told],
    mounts: &[Option<NamespaceIndex>],
    places: &Places,
    objects: &mut Objects,
    obstacles: &mut Vec<TaskObstacle>,
) -> Result<Memories, CaptureError> {
    let mut spaces: Vec<Space> = Vec::new();
    let mut of: Vec<Option<SpaceIndex>> = Vec::with_capacity(targets.len());
    let mut distinct = Distinct::new(Shared::Memory);
    let parents: HashSet<usize> = targets.iter().filter_map(|it| it.parent).collect();
    let mut kept = 0;
    for (at, target) in targets.iter().enumerate() {
        let pid = target.pid;
        if target.zombie {
            of.push(None);
            continue;
        }
        let known = distinct.find(pid, 0, spaces.len());
        if let Some(known) = known.map_err(|error| CaptureError::Process { pid, error })? {
            obstacles.push(shared_memory(pid));
            of.push((known < spaces.len()).then(|| known.into()));
            continue;
        }
        let first = told[at].answers.first();
        let parent = target.parent.and_then(|parent| of[parent]);
        let known = Known {
            namespace: mounts[at],
            brk: first
                .and_then(|it| it.process.as_ref())
                .map_or(0, |it| it.brk),
            parent: parent.map(|parent| &spaces[parent.at()]),
        };
        match memory::capture(target, known, places, objects, obstacles)? {
            None => of.push(None),
            Some(mut space) => {
                if !parents.contains(&at) || kept + space.kept() > KEPT {
                    space.forget();
                }
                kept += space.kept();
                of.push(Some(spaces.len().into()));
                spaces.push(space);
            }
        }
    }
    let spaces = spaces.into_iter().map(|space| space.record).collect();
    Ok(Memories { spaces, of })
}

/// `CLONE_VM` without `CLONE_THREAD`: a child of vfork(2) that has not become another program yet, mostly.
fn shared_memory(pid: u32) -> TaskObstacle {
    let what = "it shares its memory with another process, which cannot be restored yet";
    TaskObstacle {
        pid,
        part: Part::Process,
        cause: TaskCause::Other(what.into()),
    }
}

/// What other parts have found of a process.
struct Common<'a> {
    outside: usize,
    ours: &'a HashSet<u32>,
    space: Option<SpaceIndex>,
    descriptors: Option<crux_image::tasks::DescriptorTableIndex>,
    fs: Option<crux_image::tasks::FsIndex>,
    mount_namespace: Option<NamespaceIndex>,
}

/// What grows as processes are recorded.
struct Recorder<'a> {
    namespaces: Namespaces<'a>,
    users: &'a [UserNamespace],
    clocks: Clocks,
}

impl<'a> Recorder<'a> {
    fn new(surroundings: &Surroundings<'a>) -> Result<Self, CaptureError> {
        let ids = surroundings.user_ids.iter().enumerate();
        let ids = ids.map(|(at, id)| (*id, UserNsIndex::from(at))).collect();
        Ok(Self {
            namespaces: Namespaces::new(ids, surroundings.networks).map_err(|error| {
                CaptureError::Process {
                    pid: std::process::id(),
                    error,
                }
            })?,
            users: surroundings.users,
            clocks: clocks(),
        })
    }

    /// Sockets as the container counts processes, users and namespaces.
    fn sockets(
        &self,
        (mut sockets, inodes): (Vec<Socket>, Vec<u64>),
        pids: &HashMap<u32, u32>,
        processes: &[Process],
        obstacles: &mut Vec<TaskObstacle>,
    ) -> Vec<Socket> {
        let first = processes.first();
        let user = first.and_then(|first| first.user_namespace);
        let ids = Ids {
            all: self.users,
            user,
        };
        let numbers = files::Numbers { pids, ids };
        for (socket, inode) in sockets.iter_mut().zip(inodes) {
            numbers.translate(socket);
            match self.namespaces.net_with_inode(inode) {
                Some(namespace) => socket.net_namespace = namespace,
                None => obstacles.push(TaskObstacle {
                    pid: pids.keys().copied().min().unwrap_or(0),
                    part: Part::Process,
                    cause: TaskCause::Other(format!(
                        "a socket is of the network namespace net:[{inode}], in which no process of the container is"
                    )),
                }),
            }
            if let (SocketState::Tcp(tcp), None) = (&socket.state, socket.net_namespace) {
                obstacles.push(TaskObstacle {
                    pid: pids.keys().copied().min().unwrap_or(0),
                    part: Part::Process,
                    cause: TaskCause::Other(format!(
                        "a TCP connection from {} to {} is in the network namespace of the caller, in which it cannot be dumped",
                        InetSocket::shown(&tcp.own),
                        InetSocket::shown(&tcp.peer)
                    )),
                });
            }
        }
        sockets
    }

    fn process(
        &mut self,
        target: &Target,
        held: &[Stopped],
        told: Told,
        common: Common<'_>,
        obstacles: &mut Vec<TaskObstacle>,
    ) -> Result<Process, CaptureError> {
        let pid = target.pid;
        let failed = |error| CaptureError::Process { pid, error };
        let pid_namespace = self.namespaces.pid(target).map_err(failed)?;
        let of_process = told.answers.first().and_then(|it| it.process.clone());
        let names = of_process.as_ref().map_or((&[][..], &[][..]), |it| {
            (it.host_name.as_slice(), it.domain_name.as_slice())
        });
        let homes = match target.zombie {
            true => self.namespaces.of_zombie(target).map_err(failed)?,
            false => self
                .namespaces
                .homes(target, names, obstacles)
                .map_err(failed)?,
        };
        let about = About {
            target,
            ids: Ids {
                all: self.users,
                user: homes.user,
            },
            outside: common.outside,
            clocks: &self.clocks,
        };
        let threads = threads(about, held, &told.statuses, told.answers, obstacles)?;
        let shared = match held.first() {
            Some(first) => queue(first, Queue::Process).map_err(|error| CaptureError::Thread {
                pid,
                error: error.into(),
            })?,
            None => Vec::new(),
        };
        let state = told.facts.state(target, told.stopped);
        let record = Record {
            target,
            facts: told.facts,
            homes,
            common,
            pid_namespace,
        };
        let timers = of_process.as_ref().map_or(&[][..], |it| &it.timers);
        let posix_timers = record.facts.timers(timers, &threads);
        let mut process = record.into_process(threads.into_iter().map(|(_, it)| it).collect());
        process.state = state;
        process.pending = shared;
        process.posix_timers = posix_timers;
        if let Some(told) = of_process {
            process.subreaper = told.subreaper;
            process.dumpable = told.dumpable;
            process.actions = told.actions;
            process.interval_timers = told.interval_timers;
        }
        Ok(process)
    }
}

/// With their numbers as the dumper sees them.
fn threads(
    about: About<'_>,
    held: &[Stopped],
    statuses: &[Status],
    answers: Vec<Answers>,
    obstacles: &mut Vec<TaskObstacle>,
) -> Result<Vec<(u32, Thread)>, CaptureError> {
    let pid = about.target.pid;
    let failed = |error| CaptureError::Thread { pid, error };
    if about.target.zombie {
        let thread = threads::zombie(about).map_err(failed)?;
        return Ok(vec![(pid, thread)]);
    }
    let all = held.iter().zip(statuses).zip(answers);
    all.map(|((thread, status), answers)| {
        let found = threads::capture(about, thread, status, answers, obstacles);
        Ok((thread.tid().number(), found.map_err(failed)?))
    })
    .collect()
}

/// What makes a record of a process, but for what it said itself.
struct Record<'a> {
    target: &'a Target,
    facts: Facts,
    homes: Homes,
    common: Common<'a>,
    pid_namespace: PidNsIndex,
}

impl Record<'_> {
    fn into_process(self, threads: Vec<Thread>) -> Process {
        let (common, homes, facts) = (self.common, self.homes, self.facts);
        let (group, session) = facts.group_and_session(common.outside, common.ours);
        Process {
            parent: self.target.parent.map(Into::into),
            pid_namespace: self.pid_namespace,
            group,
            session,
            exit_signal: facts.exit_signal,
            state: facts.state(self.target, None),
            subreaper: false,
            dumpable: 0,
            personality: facts.personality,
            thp_disabled: facts.thp_disabled,
            oom_score_adj: facts.oom_score_adj,
            coredump_filter: facts.coredump_filter,
            limits: facts.limits,
            actions: Vec::new(),
            pending: Vec::new(),
            interval_timers: [IntervalTimer::default(); 3],
            posix_timers: Vec::new(),
            space: common.space,
            descriptors: common.descriptors,
            fs: common.fs,
            mount_namespace: common.mount_namespace,
            user_namespace: homes.user,
            uts_namespace: homes.uts.map(Into::into),
            ipc_namespace: homes.ipc.map(Into::into),
            net_namespace: homes.net.map(Into::into),
            cgroup_namespace: homes.cgroup.map(Into::into),
            time_namespace: homes.time.map(Into::into),
            cgroups: facts.cgroups,
            threads,
        }
    }
}

fn clocks() -> Clocks {
    Clocks {
        realtime: sys::clock(libc::CLOCK_REALTIME),
        monotonic: sys::clock(libc::CLOCK_MONOTONIC),
        boottime: sys::clock(libc::CLOCK_BOOTTIME),
    }
}

//! Open files: descriptors, open file descriptions, pipes, root and working directories.
//!
//! Kind: effect. Each description is recorded once, however many descriptors of however many
//! processes lead to it. What comes from outside the container is external under a name (`outside`), and an
//! obstacle where it has none.

mod anonymous;
mod counters;
mod diag;
mod directories;
mod epoll;
mod fdinfo;
mod groups;
mod inet;
mod inotify;
mod locks;
mod messages;
mod namespaces;
mod netlink;
mod outside;
mod owners;
mod paths;
mod pipes;
mod programs;
mod queue;
mod seen;
mod sockets;
mod sys;
mod tcp;
mod terminals;
mod unix;

pub(super) use sockets::Numbers;

use super::memory::{MemoryError, complete, memfd};
use super::objects::Objects;
use super::removed::{DELETED, is_removed};
use super::same::{Distinct, Shared};
use super::{Part, Places, Target, TaskCause, TaskObstacle};
use crate::collect::cgroups::AttachedProgram;
use crate::judge::Policy;
use crux_image::mounts::FileKind;
use crux_image::tasks::{
    BpfIndex, BpfProgram, ControllingTerminal, Descriptor, DescriptorTable, DescriptorTableIndex,
    FileAccess, FileIndex, FileLock, FsContext, FsIndex, Membership, OpenFile, OpenTarget, Pipe,
    PipeEnd, PipeIndex, ProcessIndex, RemovedWorking, Socket, Terminal,
};
use crux_mount::sys::SysError;
use outside::Names;
use rustix::fs::{CWD, Mode, OFlags, openat};
use seen::{Seen, identity, list, open, read_info, see};
use sockets::Sockets;
use std::collections::{HashMap, HashSet};
use terminals::Terminals;

/// Why open files could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A call on the process failed.
    #[error("read the open files of process {pid}: {error}")]
    Process {
        /// Whose.
        pid: u32,
        /// The call.
        error: SysError,
    },
    /// The data of a file could not be recorded.
    #[error(transparent)]
    Data(#[from] MemoryError),
}

/// The open files of all processes.
#[derive(Debug, Default)]
pub struct Files {
    /// By [`DescriptorTableIndex`].
    pub tables: Vec<DescriptorTable>,
    /// By [`FileIndex`].
    pub files: Vec<OpenFile>,
    /// By [`PipeIndex`].
    pub pipes: Vec<Pipe>,
    /// By [`FsIndex`].
    pub fs: Vec<FsContext>,
    /// By [`SocketIndex`](crux_image::tasks::SocketIndex). Their pids, ids and namespaces are still as the dumper sees
    /// them (`Numbers`).
    pub sockets: Vec<Socket>,
    /// The network namespace of each, by inode number.
    pub socket_namespaces: Vec<u64>,
    /// By [`crux_image::tasks::TerminalIndex`].
    pub terminals: Vec<Terminal>,
    /// Sessions with a terminal.
    pub controlling: Vec<ControllingTerminal>,
    /// Of [`Files::fs`]: those whose working directory was removed.
    pub removed_working: Vec<RemovedWorking>,
    /// By [`BpfIndex`].
    pub programs: Vec<BpfProgram>,
    /// The number that each has as long as it is loaded.
    pub program_numbers: Vec<u32>,
    /// Files that are namespaces: of which kind, and who is in it. What they lead to is for the record of that process to say.
    pub namespaces: Vec<(FileIndex, &'static str, ProcessIndex)>,
    /// Memberships of sockets in multicast groups.
    pub memberships: Vec<Membership>,
    /// Locks on files.
    pub locks: Vec<FileLock>,
    /// Of each process: none for a zombie, and where there is an obstacle.
    pub of: Vec<(Option<DescriptorTableIndex>, Option<FsIndex>)>,
}

/// Captures them. They are complete if no obstacle was added.
pub(crate) fn capture(
    targets: &[Target],
    places: &Places,
    policy: &Policy,
    attached: &[AttachedProgram],
    objects: &mut Objects,
    obstacles: &mut Vec<TaskObstacle>,
) -> Result<Files, FilesError> {
    let mut tables = Distinct::new(Shared::Descriptors);
    let mut contexts = Distinct::new(Shared::Directories);
    let failed = |target: &Target| {
        let pid = target.pid;
        move |error| FilesError::Process { pid, error }
    };
    let mut holders = HashMap::new();
    let depth = match targets.first() {
        Some(first) => outside::depth(targets).map_err(failed(first))?,
        None => 0,
    };
    for (at, target) in targets.iter().enumerate() {
        let numbers = outside::numbers(target).map_err(failed(target))?;
        let pid = numbers.get(depth).copied().unwrap_or(0);
        let first = at == 0;
        holders.insert(target.pid, (pid, first));
    }
    let by_pid = targets.iter().enumerate();
    let by_pid = by_pid.map(|(at, target)| (target.pid, ProcessIndex::from(at)));
    let mut collector = Collector {
        mounts: places,
        objects,
        obstacles,
        files: Files::default(),
        ends: HashSet::new(),
        packets: HashSet::new(),
        pipes: HashMap::new(),
        known: HashMap::new(),
        epolls: Vec::new(),
        by_pid: by_pid.collect(),
        places: HashMap::new(),
        by_inode: HashMap::new(),
        sockets: Sockets::new().map_err(own)?,
        this: this().map_err(own)?,
        first: targets.first().map_or(0, |target| target.pid),
        names: Names::new(policy),
        programs: HashMap::new(),
        attached,
        namespaces: None,
        targets,
        known_locks: HashSet::new(),
        replaces_programs: policy.replaces_programs,
        terminals: Terminals::default(),
        holders,
    };
    let mut listed = Vec::new();
    for (at, target) in targets.iter().enumerate() {
        let failed = |error| FilesError::Process {
            pid: target.pid,
            error,
        };
        if target.zombie {
            collector.files.of.push((None, None));
            continue;
        }
        let next = listed.len();
        let table = tables.find(target.pid, 0, next).map_err(failed)?;
        if table.is_none() {
            let found = list(target).map_err(failed)?;
            collector.note_pipes(&found);
            collector.note_sockets(target, at, &found)?;
            collector.note_terminals(target, &found)?;
            listed.push((target, found));
        }
        let session = collector.terminals.note_session(target, at.into(), depth);
        session.map_err(failed)?;
        let next = collector.files.fs.len();
        let fs = match contexts.find(target.pid, 0, next).map_err(failed)? {
            Some(known) => Some(known.into()),
            None => collector.context(target, at.into())?,
        };
        let table = DescriptorTableIndex::from(table.unwrap_or(listed.len() - 1));
        collector.files.of.push((Some(table), fs));
    }
    collector.sockets.find_peers().map_err(own)?;
    collector.sockets.leave_out_those_of_outside();
    collector.terminals.find_sessions(collector.obstacles);
    for (target, found) in listed {
        let table = collector.table(target, found)?;
        collector.files.tables.push(table);
    }
    // What is on its way in sockets may be an epoll.
    collector.record_sockets(targets)?;
    let first = collector.first;
    collector
        .epolls(targets)
        .map_err(|error| FilesError::Process { pid: first, error })?;
    collector.files.terminals = collector.terminals.all;
    collector.files.controlling = collector.terminals.controlling;
    Ok(collector.files)
}

/// What tells descriptions apart cheaply; kcmp(2) has the last word.
type Key = (u64, u64, u32, Vec<u8>);

struct Collector<'a> {
    mounts: &'a Places,
    objects: &'a mut Objects,
    obstacles: &'a mut Vec<TaskObstacle>,
    files: Files,
    /// Ends of pipes that some process of the container has.
    ends: HashSet<(u64, bool)>,
    /// Pipes to which somebody of the container writes packets.
    packets: HashSet<u64>,
    pipes: HashMap<u64, PipeIndex>,
    known: HashMap<Key, Distinct>,
    epolls: Vec<epoll::Epoll>,
    /// The processes, by their numbers as they are seen here.
    by_pid: HashMap<u32, ProcessIndex>,
    /// What each number of each process leads to.
    places: HashMap<epoll::Place, FileIndex>,
    /// By inode number: descriptions, and where each was seen first.
    by_inode: HashMap<u64, Vec<(epoll::Place, FileIndex)>>,
    names: Names<'a>,
    /// By the kernel's numbers.
    programs: HashMap<u32, BpfIndex>,
    attached: &'a [AttachedProgram],
    /// Looked for when there is a descriptor of one.
    namespaces: Option<namespaces::Known>,
    targets: &'a [Target],
    known_locks: HashSet<FileLock>,
    /// `--replace-bpf`
    replaces_programs: bool,
    terminals: Terminals,
    /// Of each process: its number in the container, and whether it is the first.
    holders: HashMap<u32, (u32, bool)>,
    sockets: Sockets,
    /// This process, which has copies of what is on its way in sockets.
    this: Target,
    /// The number of the first process.
    first: u32,
}

/// What goes wrong with none of the processes.
fn own(error: SysError) -> FilesError {
    FilesError::Process {
        pid: std::process::id(),
        error,
    }
}

fn this() -> Result<Target, SysError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, "/proc/self", flags, Mode::empty());
    Ok(Target {
        pid: std::process::id(),
        directory: directory.map_err(|errno| SysError::new("open(\"/proc/self\")", errno))?,
        parent: None,
        zombie: false,
    })
}

impl Collector<'_> {
    fn note_pipes(&mut self, found: &[Seen]) {
        for seen in found {
            let inode = seen.stat.st_ino;
            if seen.pipe_end().is_some() && seen.info.flags.direct {
                self.packets.insert(inode);
            }
            match (seen.pipe_end(), seen.info.access) {
                (None, _) | (_, FileAccess::Path) => {}
                (_, FileAccess::ReadWrite) => self.ends.extend([(inode, true), (inode, false)]),
                (Some(end), _) => {
                    self.ends.insert((inode, end == PipeEnd::Read));
                }
            }
        }
    }

    fn context(
        &mut self,
        target: &Target,
        first: ProcessIndex,
    ) -> Result<Option<FsIndex>, FilesError> {
        let failed = |error| FilesError::Process {
            pid: target.pid,
            error,
        };
        let (places, obstacles) = (self.mounts, &mut *self.obstacles);
        let root = directories::locate(target, "root", Part::Root, places, obstacles);
        let root = root.map_err(failed)?;
        let index = FsIndex::from(self.files.fs.len());
        let working = match directories::removed_working(target, places).map_err(failed)? {
            Some((file, home)) => {
                let place = home.0.clone();
                let directory = self.objects.unlinked(&file, home)?;
                let fs = index;
                let removed = RemovedWorking { fs, directory };
                self.files.removed_working.push(removed);
                Some(place)
            }
            None => directories::locate(target, "cwd", Part::Working, places, obstacles)
                .map_err(failed)?,
        };
        let (Some(root), Some(working)) = (root, working) else {
            return Ok(None);
        };
        self.files.fs.push(FsContext {
            root,
            working,
            umask: directories::umask(target).map_err(failed)?,
            first,
        });
        Ok(Some(index))
    }

    fn table(&mut self, target: &Target, found: Vec<Seen>) -> Result<DescriptorTable, FilesError> {
        let mut descriptors = Vec::with_capacity(found.len());
        let table = DescriptorTableIndex::from(self.files.tables.len());
        for seen in found {
            let (number, close_on_exec) = (seen.number, seen.info.close_on_exec);
            let text = seen.info.locked.then(|| seen.text.clone());
            if let Some(file) = self.description(target, seen)? {
                self.locks_of_table(&text.unwrap_or_default(), file, table);
                self.places.insert((target.pid, number), file);
                descriptors.push(Descriptor {
                    number,
                    close_on_exec,
                    file,
                });
            }
        }
        Ok(DescriptorTable { descriptors })
    }

    /// The description that a descriptor leads to; none where that is an obstacle.
    fn description(
        &mut self,
        target: &Target,
        seen: Seen,
    ) -> Result<Option<FileIndex>, FilesError> {
        let (mount, path) = (seen.info.mount.0, seen.path.clone());
        let key = (seen.stat.st_dev, seen.stat.st_ino, mount, path);
        let known = self.known.entry(key);
        let known = known.or_insert_with(|| Distinct::new(Shared::File));
        let next = self.files.files.len();
        let found = known.find(target.pid, seen.number.into(), next);
        let found = found.map_err(|error| FilesError::Process {
            pid: target.pid,
            error,
        })?;
        if let Some(found) = found {
            return Ok(Some(found.into()));
        }
        let before = self.obstacles.len();
        let failed = |error| FilesError::Process {
            pid: target.pid,
            error,
        };
        let file = OpenFile {
            target: self.target(target, &seen)?,
            access: seen.info.access,
            flags: seen.info.flags,
            position: seen.info.position,
            owner: self.owner(target, &seen).map_err(failed)?,
        };
        self.locks_of_description(target, &seen, next.into());
        // With an obstacle nothing will be written; positions stay right all the same.
        self.files.files.push(file);
        let same = self.by_inode.entry(seen.stat.st_ino).or_default();
        same.push(((target.pid, seen.number), next.into()));
        Ok(Some(next.into()).filter(|_| self.obstacles.len() == before))
    }

    fn target(&mut self, target: &Target, seen: &Seen) -> Result<OpenTarget, FilesError> {
        let failed = |error| FilesError::Process {
            pid: target.pid,
            error,
        };
        if let Some(end) = seen.pipe_end() {
            let other = (seen.stat.st_ino, end != PipeEnd::Read);
            let lone = seen.info.access != FileAccess::Path && !self.ends.contains(&other);
            if lone && pipes::is_held_elsewhere(target, seen.number, end).map_err(failed)? {
                return Ok(self.outside(target, seen));
            }
            return self.pipe(target, seen, end);
        }
        if seen.path.starts_with(b"/memfd:") {
            let name = &seen.path[b"/memfd:".len()..];
            let name = name.strip_suffix(DELETED).unwrap_or(name);
            let (mut kind, file) = (memfd(name), open(target, seen).map_err(failed)?);
            complete(&mut kind, &file).map_err(failed)?;
            let index = self.objects.shared_memory(identity(seen), kind, &file)?;
            return Ok(OpenTarget::Memory(index));
        }
        if let Some(index) = self.sockets.index(seen) {
            return Ok(OpenTarget::Socket(index));
        }
        if let Some(side) = terminals::kind(seen) {
            let found = self.terminals.file(target, seen, side, self.mounts);
            if let Some((index, file)) = found.map_err(failed)? {
                return Ok(OpenTarget::Terminal(index, file));
            }
            let what = "is the terminal of another session, which cannot be dumped yet";
            self.refuse(target, seen, TaskCause::Other(what.to_owned()));
            return Ok(nothing(seen, FileKind::Regular));
        }
        if let Some(found) = self.anonymous(target, seen).map_err(failed)? {
            return Ok(found);
        }
        match seen.kind() {
            _ if !self.mounts.has(seen.info.mount) => Ok(self.outside(target, seen)),
            Some(FileKind::Regular) if seen.stat.st_nlink == 0 => self.unlinked(target, seen),
            Some(FileKind::Fifo) if pipes::has_data(target, seen).map_err(failed)? => {
                let what = "is a fifo with data in it, which cannot be dumped yet";
                self.refuse(target, seen, TaskCause::Other(what.to_owned()));
                Ok(nothing(seen, FileKind::Fifo))
            }
            Some(FileKind::Directory) if is_removed(&seen.stat, &seen.path) => {
                self.unlinked(target, seen)
            }
            Some(kind) if seen.path.starts_with(b"/") => Ok(self.path(target, seen, kind)),
            _ => Ok(self.outside(target, seen)),
        }
    }

    fn pipe(
        &mut self,
        target: &Target,
        seen: &Seen,
        end: PipeEnd,
    ) -> Result<OpenTarget, FilesError> {
        let inode = seen.stat.st_ino;
        let packets = self.packets.contains(&inode);
        let index = match self.pipes.get(&inode) {
            Some(index) => *index,
            None => {
                let index = PipeIndex::from(self.files.pipes.len());
                let pipe = pipes::record(target, seen.number, packets)?;
                self.files.pipes.push(pipe);
                self.pipes.insert(inode, index);
                index
            }
        };
        Ok(OpenTarget::Pipe(index, end))
    }

    fn refuse(&mut self, target: &Target, seen: &Seen, cause: TaskCause) {
        self.refuse_number(target, seen.number, cause);
    }

    fn refuse_number(&mut self, target: &Target, number: u32, cause: TaskCause) {
        let (pid, part, cause) = match target.pid == self.this.pid {
            false => (target.pid, Part::Descriptor(number), cause),
            true => {
                let what = format!("a descriptor that is on its way in a socket {cause}");
                (self.first, Part::Process, TaskCause::Other(what))
            }
        };
        self.obstacles.push(TaskObstacle { pid, part, cause });
    }
}

/// In the place of what is an obstacle; never written.
fn nothing(seen: &Seen, kind: FileKind) -> OpenTarget {
    OpenTarget::External {
        name: String::new(),
        kind,
        described: seen.path.clone(),
    }
}

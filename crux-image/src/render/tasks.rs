//! The tasks of a container for people and for programs: a tree, and one process in full.
//!
//! Kind: pure. What a container chose (names, paths) is escaped. The input has passed
//! [`Tasks::check`].

use super::homes::namespaces;
use super::ipc::{self, IpcRecord, ipc_records};
use super::network::{self, NetworkRecord};
use super::terminals::{self, TerminalRecord};
use super::{sockets, words};
use crate::mounts::Mounts;
use crate::path::Escaped;
use crate::tasks::{
    AddressSpace, Area, Backing, BpfKind, BpfProgram, FileIndex, FileLock, Location, LockOwner,
    OpenFile, OpenTarget, PAGE_SIZE, PageSource, PipeEnd, Process, ProcessIndex, ProcessState,
    SeccompState, SharedMemoryKind, Sharing, Tasks, tag_text,
};
use serde::Serialize;
use std::fmt::Write;

/// [`Tasks`] for `--json`. Names are added, never renamed.
#[derive(Debug, Serialize)]
pub struct TasksRecord {
    processes: Vec<ProcessRecord>,
    shared_memory: Vec<SharedRecord>,
    ipc: Vec<IpcRecord>,
    terminals: Vec<TerminalRecord>,
    networks: Vec<NetworkRecord>,
}

#[derive(Debug, Serialize)]
struct ProcessRecord {
    pids: Vec<u32>,
    parent: Option<u32>,
    name: String,
    state: String,
    group: u32,
    session: u32,
    program: Option<String>,
    root: Option<String>,
    working_directory: Option<String>,
    umask: Option<u32>,
    uids: [u32; 4],
    gids: [u32; 4],
    threads: Vec<ThreadRecord>,
    memory: Vec<AreaRecord>,
    files: Vec<DescriptorRecord>,
    cgroups: Vec<String>,
    namespaces: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ThreadRecord {
    pids: Vec<u32>,
    name: String,
    blocked: String,
    pending: usize,
    seccomp_filters: usize,
}

#[derive(Debug, Serialize)]
struct AreaRecord {
    start: String,
    end: String,
    protection: String,
    shows: String,
    /// Pages in the image, and pages that are its parent's.
    pages: u64,
    parents_pages: u64,
}

#[derive(Debug, Serialize)]
struct DescriptorRecord {
    number: u32,
    close_on_exec: bool,
    file: u32,
    shows: String,
    locks: Vec<String>,
}

#[derive(Debug, Serialize)]
struct SharedRecord {
    kind: String,
    size: u64,
    pages: u64,
}

/// A checked record, for `--json`.
pub fn tasks_record(tasks: &Tasks, mounts: &Mounts) -> TasksRecord {
    let view = View { tasks, mounts };
    TasksRecord {
        processes: tasks.processes.iter().map(|it| view.process(it)).collect(),
        shared_memory: tasks
            .shared_memory
            .iter()
            .map(|memory| SharedRecord {
                kind: shared(&memory.kind),
                size: memory.size,
                pages: memory.pages.iter().map(|run| run.count).sum(),
            })
            .collect(),
        ipc: ipc_records(tasks),
        terminals: terminals::records(tasks),
        networks: network::networks(tasks),
    }
}

/// The tree of processes, and what they have in all.
pub fn tasks_tree(tasks: &Tasks, mounts: &Mounts) -> String {
    let view = View { tasks, mounts };
    let mut text = String::new();
    let threads = tasks.processes.iter().map(|it| it.threads.len()).sum();
    let spaces = tasks.spaces.iter().flat_map(|space| &space.areas);
    let pages: u64 = spaces.map(own_pages).sum();
    let shared = tasks.shared_memory.iter().flat_map(|memory| &memory.pages);
    let pages = pages + shared.map(|run| run.count).sum::<u64>();
    let processes = match tasks.processes.len() {
        1 => "1 process".to_owned(),
        count => format!("{count} processes"),
    };
    let _ = writeln!(
        text,
        "{:<14}{processes}, {}, {} of memory, {}",
        "Tasks",
        words::count(threads, "thread"),
        size(pages * PAGE_SIZE),
        words::count(tasks.files.len(), "open file"),
    );
    ipc::lines(&mut text, tasks);
    // Depth first, by a stack of our own: a hostile tree may be deep.
    let mut open = vec![(ProcessIndex(0), 0_usize)];
    let mut below: Vec<Vec<ProcessIndex>> = vec![Vec::new(); tasks.processes.len()];
    for (at, process) in tasks.processes.iter().enumerate() {
        if let Some(parent) = process.parent {
            below[parent.at()].push(at.into());
        }
    }
    while let Some((at, depth)) = open.pop() {
        view.line(&mut text, &tasks.processes[at.at()], depth);
        open.extend(below[at.at()].iter().rev().map(|child| (*child, depth + 1)));
    }
    text + &network::text(tasks)
}

/// Everything about the process with a number, as its container counts; none if there is none.
pub fn one_task(tasks: &Tasks, mounts: &Mounts, pid: u32) -> Option<String> {
    let view = View { tasks, mounts };
    let mut all = tasks.processes.iter();
    let process = all.find(|process| process.first_pid() == pid)?;
    let record = view.process(process);
    let mut text = String::new();
    view.line(&mut text, process, 0);
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<12}{value}");
    };
    let pids: Vec<String> = record.pids.iter().map(ToString::to_string).collect();
    field("pids", &pids.join(" "));
    field(
        "session",
        &format!("{} (group {})", record.session, record.group),
    );
    field("uids", &format!("{:?}", record.uids));
    field("gids", &format!("{:?}", record.gids));
    for (name, value) in [
        ("program", record.program),
        ("root", record.root),
        ("directory", record.working_directory),
    ] {
        field(name, &value.unwrap_or_default());
    }
    for thread in &record.threads {
        let filters = match thread.seccomp_filters {
            0 => String::new(),
            count => format!(", {}", words::count(count, "seccomp filter")),
        };
        let what = format!(
            "{} {}, blocked {}, {} pending{filters}",
            thread.pids[0], thread.name, thread.blocked, thread.pending
        );
        field("thread", &what);
    }
    for area in &record.memory {
        let AreaRecord {
            start, end, pages, ..
        } = area;
        let parents = match area.parents_pages {
            0 => String::new(),
            count => format!(", {count} of its parent's"),
        };
        let what = format!(
            "{start}-{end} {} {} ({pages} pages{parents})",
            area.protection, area.shows
        );
        field("memory", &what);
    }
    for file in &record.files {
        let mark = if file.close_on_exec {
            " (close-on-exec)"
        } else {
            ""
        };
        let locks = file.locks.iter().map(|lock| format!(", {lock}"));
        let locks: String = locks.collect();
        field(
            "file",
            &format!("{} {}{mark}{locks}", file.number, file.shows),
        );
    }
    for cgroup in &record.cgroups {
        field("cgroup", cgroup);
    }
    for namespace in &record.namespaces {
        field("namespace", namespace);
    }
    Some(text)
}

/// `an exclusive lock of bytes 0 to 9 (POSIX)`.
fn lock(lock: &FileLock) -> String {
    let kind = match lock.exclusive {
        true => "an exclusive lock",
        false => "a shared lock",
    };
    let range = match (lock.start, lock.last) {
        (0, None) => String::new(),
        (start, None) => format!(" from byte {start} on"),
        (start, Some(last)) => format!(" of bytes {start} to {last}"),
    };
    let owner = match lock.owner {
        LockOwner::Whole => "flock",
        LockOwner::Description => "OFD",
        LockOwner::Table(_) => "POSIX",
    };
    format!("{kind}{range} ({owner})")
}

pub(super) struct View<'a> {
    tasks: &'a Tasks,
    mounts: &'a Mounts,
}

impl View<'_> {
    fn line(&self, text: &mut String, process: &Process, depth: usize) {
        // A tree that is deeper than any screen is wide says so in numbers.
        let indent = "  ".repeat(depth.min(30));
        let threads = match process.threads.len() {
            0 | 1 => String::new(),
            count => format!(", {count} threads"),
        };
        let memory = process.space.map_or(0, |space| {
            let areas = self.tasks.spaces[space.at()].areas.iter();
            areas.map(own_pages).sum()
        });
        let _ = writeln!(
            text,
            "  {indent}{} {} ({}{threads}, {})",
            process.first_pid(),
            name(process),
            state(process.state),
            size(memory * PAGE_SIZE),
        );
    }

    fn process(&self, process: &Process) -> ProcessRecord {
        let tasks = self.tasks;
        let space = process.space.map(|space| &tasks.spaces[space.at()]);
        let fs = process.fs.map(|fs| &tasks.fs[fs.at()]);
        let leader = process.threads.first();
        let table = process
            .descriptors
            .map(|it| &tasks.descriptor_tables[it.at()]);
        let descriptors = table.map_or(&[][..], |table| &table.descriptors);
        ProcessRecord {
            pids: leader.map(|leader| leader.pids.clone()).unwrap_or_default(),
            parent: process
                .parent
                .map(|it| tasks.processes[it.at()].first_pid()),
            name: name(process),
            state: state(process.state),
            group: process.group,
            session: process.session,
            program: space.map(|space| self.path(&space.exe)),
            root: fs.map(|fs| self.path(&fs.root)),
            working_directory: fs.map(|fs| self.path(&fs.working)),
            umask: fs.map(|fs| fs.umask),
            uids: leader.map(|it| it.credentials.uids).unwrap_or_default(),
            gids: leader.map(|it| it.credentials.gids).unwrap_or_default(),
            threads: process.threads.iter().map(|it| thread(tasks, it)).collect(),
            memory: space.map(|space| self.areas(space)).unwrap_or_default(),
            files: descriptors
                .iter()
                .map(|it| DescriptorRecord {
                    number: it.number,
                    close_on_exec: it.close_on_exec,
                    file: it.file.0,
                    shows: self.file(&tasks.files[it.file.at()]),
                    locks: self.locks(process, it.file),
                })
                .collect(),
            cgroups: process
                .cgroups
                .iter()
                .map(|it| format!("{}:{}", Escaped(&it.controllers), Escaped(&it.path)))
                .collect(),
            namespaces: namespaces(self.tasks, self.mounts, process),
        }
    }

    /// Those that this process has by way of a file, in words.
    fn locks(&self, process: &Process, file: FileIndex) -> Vec<String> {
        let mine = |lock: &&FileLock| match lock.owner {
            LockOwner::Table(table) => process.descriptors == Some(table),
            LockOwner::Whole | LockOwner::Description => true,
        };
        let locks = self.tasks.locks.iter();
        let locks = locks.filter(|lock| lock.file == file).filter(mine);
        locks.map(lock).collect()
    }

    fn areas(&self, space: &AddressSpace) -> Vec<AreaRecord> {
        let record = |area: &Area| AreaRecord {
            start: format!("{:x}", area.start),
            end: format!("{:x}", area.end),
            protection: protection(area),
            shows: self.backing(area),
            pages: own_pages(area),
            parents_pages: runs(area, |source| source == PageSource::Parent),
        };
        space.areas.iter().map(record).collect()
    }

    fn backing(&self, area: &Area) -> String {
        match &area.backing {
            Backing::Anonymous => "anonymous".into(),
            Backing::File {
                location, unlinked, ..
            } => {
                let removed = if unlinked.is_some() { " (removed)" } else { "" };
                format!("{}{removed} at {:#x}", self.path(location), area.offset)
            }
            Backing::SharedMemory(index) => shared(&self.tasks.shared_memory[index.at()].kind),
            Backing::Device(file) => self.file(&self.tasks.files[file.at()]),
            Backing::Vdso => "vdso".into(),
            Backing::Vvar | Backing::VvarClock => "vvar".into(),
        }
    }

    fn file(&self, file: &OpenFile) -> String {
        match &file.target {
            OpenTarget::Path { location, .. } => {
                format!("{} at {}", self.path(location), file.position)
            }
            OpenTarget::Unlinked(index) => {
                let file = &self.tasks.unlinked[index.at()];
                let directory = self.path(&file.directory);
                format!("{directory}/{} (removed)", Escaped(&file.name))
            }
            OpenTarget::Pipe(index, PipeEnd::Read) => format!("pipe {}, read", index.0),
            OpenTarget::Pipe(index, PipeEnd::Write) => format!("pipe {}, write", index.0),
            OpenTarget::Memory(index) => shared(&self.tasks.shared_memory[index.at()].kind),
            OpenTarget::External {
                name, described, ..
            } => format!("{name}: {}, from outside", Escaped(described)),
            OpenTarget::Event(it) if it.semaphore => format!("semaphore of events, {}", it.count),
            OpenTarget::Event(it) => format!("counter of events, {}", it.count),
            OpenTarget::Signals { mask } => format!("signals {mask:016x}"),
            OpenTarget::Timer(it) => format!(
                "timer of clock {}, {} ns left, {} expirations not read",
                it.clock, it.remaining, it.ticks
            ),
            OpenTarget::Process(index) => {
                format!("process {}", self.tasks.processes[index.at()].first_pid())
            }
            OpenTarget::Namespace(namespace) => match namespace.position() {
                Some(at) => format!("{} namespace {at}", namespace.kind()),
                None => format!("{} namespace of the caller", namespace.kind()),
            },
            OpenTarget::Program(index) => program(&self.tasks.programs[index.at()]),
            OpenTarget::Inotify(watches) => {
                let shown = watches.iter().map(|it| {
                    let path = self.path(&it.location);
                    format!(" {} {path} ({:#x})", it.number, it.mask)
                });
                format!("watches of{}", shown.collect::<String>())
            }
            OpenTarget::Epoll(targets) => {
                let targets = targets.iter();
                let shown = targets.map(|it| format!(" {} ({:#x})", it.number, it.events));
                format!("epoll of{}", shown.collect::<String>())
            }
            OpenTarget::Socket(index) => sockets::shown(self.tasks, *index),
            OpenTarget::Terminal(index, side) => {
                terminals::file(self, &self.tasks.terminals[index.at()], side)
            }
        }
    }

    pub(super) fn path(&self, place: &Location) -> String {
        let namespace = &self.mounts.namespaces[place.namespace.at()];
        let path = namespace.path_of(place.mount).join(&place.path);
        format!("/{}", Escaped(path.as_bytes()))
    }
}

fn thread(tasks: &Tasks, thread: &crate::tasks::Thread) -> ThreadRecord {
    ThreadRecord {
        pids: thread.pids.clone(),
        name: Escaped(&thread.name).to_string(),
        blocked: format!("{:016x}", thread.mask),
        pending: thread.pending.len(),
        seccomp_filters: match thread.seccomp {
            SeccompState::Off => 0,
            SeccompState::Filters(at) => tasks.seccomp_chains[at.at()].filters.len(),
        },
    }
}

fn name(process: &Process) -> String {
    let leader = process.threads.first();
    Escaped(leader.map_or(&[][..], |leader| &leader.name)).to_string()
}

fn state(state: ProcessState) -> String {
    match state {
        ProcessState::Running => "running".into(),
        ProcessState::Stopped(signal) => format!("stopped by signal {signal}"),
        ProcessState::Zombie(status) => format!("ended, status {status:#x}"),
    }
}

fn own_pages(area: &Area) -> u64 {
    runs(area, |source| source != PageSource::Parent)
}

fn runs(area: &Area, wanted: impl Fn(PageSource) -> bool) -> u64 {
    let runs = area.pages.iter().filter(|run| wanted(run.source));
    runs.map(|run| run.count).sum()
}

fn protection(area: &Area) -> String {
    let bit = |set: bool, letter: char| if set { letter } else { '-' };
    let it = area.protection;
    let sharing = match area.sharing {
        Sharing::Private => 'p',
        Sharing::Shared => 's',
    };
    let letters = [
        bit(it.read, 'r'),
        bit(it.write, 'w'),
        bit(it.execute, 'x'),
        sharing,
    ];
    letters.iter().collect()
}

fn shared(kind: &SharedMemoryKind) -> String {
    match kind {
        SharedMemoryKind::Anonymous => "shared memory".into(),
        SharedMemoryKind::Memfd { name, .. } => format!("memfd \"{}\"", Escaped(name)),
        SharedMemoryKind::SystemV { id, .. } => format!("System V shared memory {id}"),
    }
}

/// In the unit that leaves up to four digits.
fn size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.iter().find(|(_, shift)| bytes >> shift >= 10);
    unit.map_or_else(
        || format!("{bytes} B"),
        |(name, shift)| format!("{} {name}", bytes >> shift),
    )
}

fn program(program: &BpfProgram) -> String {
    let kind = BpfKind::of(program.kind).map_or("?", |it| it.name);
    let what = match program.replaced {
        true => "in the place of one that could not be read".to_owned(),
        false => format!("tag {}", tag_text(program.tag)),
    };
    let places = program.attached.iter();
    let places = places.map(|it| format!(", attached to {}", Escaped(&it.cgroup)));
    format!("eBPF program, {kind}, {what}{}", places.collect::<String>())
}

//! Numbers that no task of the image uses: descriptors that come with the first task, and the addresses of the
//! arena.
//!
//! Kind: pure.

use super::files::Homes;
use super::namespaces::Kind;
use super::network::has_outer_ends;
use super::ranges::Ranges;
use super::users;
use crate::tasks::plan::{Inherited, Source};
use crux_image::mounts::{
    Mounts, NamespaceContext, NamespaceIndex, Origin, OwnFsType, UserNsIndex,
};
use crux_image::tasks::{
    BpfIndex, FileIndex, OpenFile, OpenTarget, SharedMemoryIndex, SharedMemoryKind, SocketIndex,
    Tasks, TerminalIndex, UnlinkedIndex,
};
use std::collections::{BTreeMap, HashMap};

/// The arena, and behind it shared memory while it is filled.
const ARENA: u64 = 1 << 30;
/// Where the arena is looked for: far from where the kernel, Go and the sanitizers put things.
const CANDIDATES: u64 = 0x1000_0000_0000;
const STEP: u64 = 0x100_0000_0000;
const END: u64 = 0x5000_0000_0000;

/// What has which number.
#[derive(Debug)]
pub(super) struct Numbers {
    /// Where the arena is.
    pub(super) base: u64,
    /// Where shared memory is while it is filled, each object behind the one before.
    parking: Vec<u64>,
    /// The first descriptor that is nobody's.
    pub(super) first: u32,
    pub(super) gate: u32,
    /// A place, for a moment.
    pub(super) place: u32,
    pub(super) pages: u32,
    /// /proc, where ipc namespaces have something in them, network namespaces have sysctls, or something is opened
    /// that has no name.
    pub(super) proc: Option<u32>,
    namespaces: Vec<(u32, u32)>,
    net: u32,
    ipc: u32,
    /// A socket of the caller's network namespace, where a pair has an end there.
    pub(super) caller_route: Option<u32>,
    pub(super) built_net: bool,
    pub(super) built_ipc: bool,
    externals: Vec<(u32, String)>,
    programs: Vec<(u32, BpfIndex)>,
    files: Vec<u32>,
    memory: Vec<u32>,
    /// Each socket, and who helps to bring it about.
    sockets: Vec<(u32, u32)>,
    unlinked: Vec<u32>,
    users: Vec<u32>,
    /// By [`Kind`]: what the first task is born in, if it is the caller's, and then those of the record.
    kept: Vec<Vec<u32>>,
    /// None: something that a mount shows.
    terminals: Vec<(u32, Option<Source>)>,
}

impl Numbers {
    pub(super) fn new(
        tasks: &Tasks,
        mounts: &Mounts,
        given: &BTreeMap<TerminalIndex, String>,
        homes: &Homes,
    ) -> Self {
        let tables = tasks.descriptor_tables.iter();
        let last = tables.filter_map(|table| table.descriptors.last());
        let last = last.map(|it| it.number).chain(registered(tasks));
        let first = last.map(|number| number + 1).max().unwrap_or(0).max(3);
        let mut next = first;
        let mut take = || {
            next += 1;
            next - 1
        };
        let (gate, pages, net, ipc) = (take(), take(), take(), take());
        let place = take();
        let proc = needs_proc(tasks).then(&mut take);
        let caller_route = has_outer_ends(&tasks.networks).then(&mut take);
        let namespaces = mounts.namespaces.iter().map(|_| (take(), take())).collect();
        let (mut externals, mut programs) = (Vec::new(), Vec::new());
        let mut files = Vec::with_capacity(tasks.files.len());
        let mut open = HashMap::new();
        for (at, file) in tasks.files.iter().enumerate() {
            let number = homes.of(at.into()).unwrap_or_else(&mut take);
            if let OpenTarget::Socket(socket) = file.target {
                open.insert(socket.at(), number);
            }
            if let OpenTarget::External { name, .. } = &file.target {
                externals.push((number, name.clone()));
            }
            if let OpenTarget::Program(index) = file.target {
                programs.push((number, index));
            }
            files.push(number);
        }
        let memory = tasks.shared_memory.iter().map(|_| take()).collect();
        let sockets = (0..tasks.sockets.len()).map(|at| {
            let number = open.get(&at).copied().unwrap_or_else(&mut take);
            (number, take())
        });
        let sockets = sockets.collect();
        let unlinked = tasks.unlinked.iter().map(|_| take()).collect();
        let users = mounts.user_namespaces.iter().map(|_| take()).collect();
        let kept = Kind::ALL.map(|kind| (0..=kind.count(tasks)).map(|_| take()).collect());
        let terminals = (0..tasks.terminals.len()).map(TerminalIndex::from);
        let terminals = terminals.map(|at| match given.get(&at) {
            Some(_) if tasks.terminals[at.at()].place.is_some() => (take(), None),
            Some(name) => (take(), Some(Source::External(name.clone()))),
            None => (take(), Some(Source::Terminal(at))),
        });
        let terminals = terminals.collect();
        let built = |wanted: OwnFsType| {
            let mut origins = mounts.origins.iter();
            origins.any(|origin| match origin {
                Origin::Own(own) => {
                    own.fs_type == wanted && own.context != NamespaceContext::Caller
                }
                Origin::External(_) => false,
            })
        };
        let (base, parking) = addresses(tasks);
        Self {
            base,
            parking,
            first,
            gate,
            place,
            pages,
            proc,
            namespaces,
            net,
            ipc,
            // Where the first task is born in a user namespace, the builder takes what it is born in.
            built_net: built(OwnFsType::Sysfs) && users::born(tasks).is_none(),
            built_ipc: built(OwnFsType::Mqueue) && users::born(tasks).is_none(),
            caller_route,
            externals,
            programs,
            files,
            memory,
            sockets,
            unlinked,
            users,
            kept: kept.into(),
            terminals,
        }
    }

    /// The first address that is neither the arena's nor shared memory's.
    pub(super) fn arena_end(&self) -> u64 {
        self.base + ARENA
    }

    /// The namespace itself, and the root directory of its tasks.
    pub(super) fn namespace(&self, namespace: NamespaceIndex) -> (u32, u32) {
        self.namespaces[namespace.at()]
    }

    /// An open file description while it is on its way to those who have it.
    pub(super) fn file(&self, file: FileIndex) -> u32 {
        self.files[file.at()]
    }

    /// A descriptor of shared memory, likewise.
    pub(super) fn memory(&self, memory: SharedMemoryIndex) -> u32 {
        self.memory[memory.at()]
    }

    /// A file without a name.
    pub(super) fn unlinked(&self, file: UnlinkedIndex) -> u32 {
        self.unlinked[file.at()]
    }

    /// A user namespace that the builder made.
    pub(super) fn user(&self, user: UserNsIndex) -> u32 {
        self.users[user.at()]
    }

    /// A namespace that is to be joined; none: the caller's.
    pub(super) fn kept(&self, kind: Kind, namespace: Option<usize>) -> u32 {
        self.kept[kind as usize][namespace.map_or(0, |it| it + 1)]
    }

    /// A socket on its way to those who have it.
    pub(super) fn socket(&self, socket: SocketIndex) -> u32 {
        self.sockets[socket.at()].0
    }

    /// A socket that is there for the moment: a former peer, a listener, a sender of datagrams.
    pub(super) fn helper(&self, socket: SocketIndex) -> u32 {
        self.sockets[socket.at()].1
    }

    /// The master of a terminal that is made.
    pub(super) fn master(&self, terminal: TerminalIndex) -> Option<u32> {
        let (number, source) = &self.terminals[terminal.at()];
        matches!(source, Some(Source::Terminal(_))).then_some(*number)
    }

    /// What was granted for one that is not.
    pub(super) fn given(&self, terminal: TerminalIndex) -> u32 {
        self.terminals[terminal.at()].0
    }

    /// Where shared memory is mapped as a whole.
    pub(super) fn parking(&self, memory: SharedMemoryIndex) -> u64 {
        self.parking[memory.at()]
    }

    /// What the forker has to provide.
    pub(super) fn inherited(&self) -> Vec<Inherited> {
        let mut all = vec![(self.gate, Source::Gate), (self.pages, Source::Pages)];
        if self.built_net {
            all.push((self.net, Source::BuiltNet));
        }
        if self.built_ipc {
            all.push((self.ipc, Source::BuiltIpc));
        }
        all.extend(self.proc.map(|number| (number, Source::Proc)));
        let route = self.caller_route;
        all.extend(route.map(|number| (number, Source::CallerRoute)));
        for (at, (namespace, root)) in self.namespaces.iter().enumerate() {
            all.push((*namespace, Source::MountNamespace(at.into())));
            all.push((*root, Source::Root(at.into())));
        }
        for (at, user) in self.users.iter().enumerate() {
            all.push((*user, Source::UserNamespace(at.into())));
        }
        let externals = self.externals.iter();
        all.extend(externals.map(|(number, name)| (*number, Source::External(name.clone()))));
        let programs = self.programs.iter();
        all.extend(programs.map(|(number, at)| (*number, Source::Program(*at))));
        let terminals = self.terminals.iter().cloned();
        all.extend(terminals.filter_map(|(number, source)| Some((number, source?))));
        let inherited = |(number, source)| Inherited { number, source };
        let mut all: Vec<_> = all.into_iter().map(inherited).collect();
        all.sort_by_key(|it| it.number);
        all
    }

    /// Names for people.
    pub(super) fn names(&self) -> Vec<(u32, String)> {
        let name = |it: Inherited| {
            let name = match it.source {
                Source::Gate => "the gate".to_owned(),
                Source::Pages => "pages.raw".to_owned(),
                Source::MountNamespace(at) => format!("mount namespace {}", at.0),
                Source::Root(at) => format!("root of namespace {}", at.0),
                Source::UserNamespace(at) => format!("user namespace {}", at.0),
                Source::BuiltNet => "network namespace".to_owned(),
                Source::BuiltIpc => "ipc namespace".to_owned(),
                Source::Proc => "/proc".to_owned(),
                Source::CallerRoute => "the caller's network".to_owned(),
                Source::External(name) => name,
                Source::Terminal(at) => format!("master of terminal {}", at.0),
                Source::Program(at) => format!("eBPF program {}", at.0),
            };
            (it.number, name)
        };
        let kept = Kind::ALL.into_iter().flat_map(|kind| {
            let numbers = self.kept[kind as usize].iter().enumerate();
            numbers.map(move |(at, number)| match at {
                0 => (*number, format!("the caller's {} namespace", kind.name())),
                at => (*number, format!("{} namespace {}", kind.name(), at - 1)),
            })
        });
        self.inherited().into_iter().map(name).chain(kept).collect()
    }

    /// The network and ipc namespaces that the builder made.
    pub(super) fn built(&self) -> (Option<u32>, Option<u32>) {
        (
            self.built_net.then_some(self.net),
            self.built_ipc.then_some(self.ipc),
        )
    }
}

/// Whether something is opened that has no name, or ipc namespaces have something in them.
fn needs_proc(tasks: &Tasks) -> bool {
    use OpenTarget::{Inotify, Memory, Namespace, Pipe};
    let nameless = |file: &OpenFile| {
        matches!(
            file.target,
            Pipe(..) | Memory(_) | Inotify(_) | Namespace(_)
        )
    };
    let mut shared = tasks.shared_memory.iter();
    !tasks.ipc_contents.is_empty()
        || tasks.networks.iter().any(|it| !it.sysctls.is_empty())
        || !tasks.unlinked.is_empty()
        || tasks.files.iter().any(nameless)
        || shared.any(|memory| matches!(memory.kind, SharedMemoryKind::Memfd { .. }))
}

/// Numbers with which files were registered with an epoll.
fn registered(tasks: &Tasks) -> impl Iterator<Item = u32> {
    tasks.files.iter().flat_map(|file| match &file.target {
        OpenTarget::Epoll(targets) => targets.iter().map(|it| it.number).collect(),
        _ => Vec::new(),
    })
}

/// Room for the arena and all shared memory where no task has anything.
fn addresses(tasks: &Tasks) -> (u64, Vec<u64>) {
    let areas = tasks.spaces.iter().flat_map(|space| &space.areas);
    let taken = Ranges::new(areas.map(|area| area.start..area.end));
    let sizes = tasks.shared_memory.iter().map(|memory| memory.size);
    let mut parking = Vec::new();
    let mut end = ARENA;
    for size in sizes {
        parking.push(end);
        end = end.saturating_add(size).next_multiple_of(2 << 20);
    }
    let free = |base: &u64| {
        let wanted = *base..base.saturating_add(end);
        taken.gaps(wanted.clone()) == [wanted]
    };
    let mut candidates = (CANDIDATES..END).step_by(STEP as usize);
    let base = candidates.find(free).unwrap_or(CANDIDATES);
    (base, parking.into_iter().map(|at| base + at).collect())
}

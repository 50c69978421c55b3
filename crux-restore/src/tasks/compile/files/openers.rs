//! Who opens what: the last process that all who have it descend from.
//!
//! Kind: pure.

use super::components::Components;
use super::namespaces;
use crate::tasks::compile::lineage::Lineage;
use crux_image::tasks::{
    FileIndex, OpenTarget, PipeIndex, ProcessIndex, SocketIndex, SocketState, Tasks,
};
use std::collections::{BTreeSet, HashMap};

/// What is made by one call, or several that belong together: all its descriptions have one opener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Object {
    /// A description that stands for itself.
    File(FileIndex),
    /// Both ends of a pipe.
    Pipe(PipeIndex),
    /// Sockets that need each other, by the first of them.
    Sockets(SocketIndex),
}

impl Object {
    fn of(index: FileIndex, target: &OpenTarget, components: &Components) -> Self {
        match target {
            OpenTarget::Pipe(pipe, _) => Self::Pipe(*pipe),
            OpenTarget::Socket(socket) => Self::Sockets(components.first(*socket)),
            _ => Self::File(index),
        }
    }
}

/// The opener of each description.
#[derive(Debug)]
pub(in crate::tasks::compile) struct Openers {
    /// By [`FileIndex`]; none for what nobody has.
    of: Vec<Option<ProcessIndex>>,
    /// By [`ProcessIndex`]: the objects that it opens, each with all its descriptions.
    objects: Vec<Vec<Vec<FileIndex>>>,
    /// By [`ProcessIndex`]: the epolls that watch something it opens.
    epolls: Vec<Vec<FileIndex>>,
    /// Likewise, sockets that need each other.
    sockets: Vec<Vec<Vec<SocketIndex>>>,
}

/// Kernels have no deeper chain of epolls (`EP_MAX_NESTS`); whoever has one gets all of it from the first process.
const NESTED: usize = 8;

/// An epoll is made by a process that whoever opens one of its targets descends from: a target is registered by its
/// opener. By process: the epolls that watch something it opens.
fn watching(
    tasks: &Tasks,
    lineage: &Lineage,
    objects: &[Object],
    found: &mut HashMap<Object, ProcessIndex>,
) -> Vec<Vec<FileIndex>> {
    let epolls = tasks.files.iter().enumerate();
    let epolls: Vec<_> = epolls
        .filter_map(|(at, file)| match &file.target {
            OpenTarget::Epoll(targets) => Some((at, targets)),
            _ => None,
        })
        .collect();
    for pass in 0..=NESTED {
        let mut changed = false;
        for (at, targets) in &epolls {
            let Some(before) = found.get(&objects[*at]).copied() else {
                continue;
            };
            let opener = targets.iter().fold(before, |opener, target| {
                let its = *found.entry(objects[target.file.at()]).or_insert(before);
                lineage.ancestor(opener, its)
            });
            let opener = if pass == NESTED {
                ProcessIndex(0)
            } else {
                opener
            };
            changed |= opener != before;
            found.insert(objects[*at], opener);
        }
        if !changed {
            break;
        }
    }
    let mut by_process = vec![Vec::new(); tasks.processes.len()];
    for (at, targets) in epolls {
        let openers = targets
            .iter()
            .filter_map(|it| found.get(&objects[it.file.at()]));
        let openers: BTreeSet<_> = openers.collect();
        for opener in openers {
            by_process[opener.at()].push(at.into());
        }
    }
    by_process
}

/// The process that made sockets that have no names, all in its own network namespace.
fn made_by(tasks: &Tasks, component: &[SocketIndex]) -> Option<ProcessIndex> {
    let mut pids = BTreeSet::new();
    for index in component {
        let SocketState::Unix(unix) = &tasks.sockets[index.at()].state else {
            return None;
        };
        match (&unix.name, &unix.peer_credentials) {
            (None, Some(maker)) => pids.insert(maker.pid),
            _ => return None,
        };
    }
    let pid = pids.pop_first().filter(|_| pids.is_empty())?;
    let mut all = tasks.processes.iter();
    let at = all.position(|process| process.first_pid() == pid)?;
    let of = |index: &SocketIndex| tasks.sockets[index.at()].net_namespace;
    let here = tasks.processes[at].net_namespace;
    let same = component.iter().all(|index| of(index) == here);
    same.then_some(at.into())
}

impl Openers {
    pub(in crate::tasks::compile) fn new(tasks: &Tasks, lineage: &Lineage) -> Self {
        let components = Components::new(tasks);
        let objects = tasks.files.iter().enumerate();
        let objects: Vec<_> = objects
            .map(|(at, file)| Object::of(at.into(), &file.target, &components))
            .collect();
        let mut found: HashMap<Object, ProcessIndex> = HashMap::new();
        let mut note = |object: Object, at: ProcessIndex| {
            let opener = found.entry(object).or_insert(at);
            *opener = lineage.ancestor(*opener, at);
        };
        for (at, process) in tasks.processes.iter().enumerate() {
            let table = process.descriptors;
            let table = table.map(|table| &tasks.descriptor_tables[table.at()]);
            for descriptor in table.into_iter().flat_map(|table| &table.descriptors) {
                note(objects[descriptor.file.at()], at.into());
            }
        }
        // `SO_PEERCRED` says who had them made; who inherited them need not have anything of them any more.
        for component in components.all() {
            let opener = found.get_mut(&Object::Sockets(component[0]));
            if let (Some(opener), Some(maker)) = (opener, made_by(tasks, &component))
                && lineage.ancestor(*opener, maker) == maker
            {
                *opener = maker;
            }
        }
        for (at, file) in tasks.files.iter().enumerate() {
            if let Some(opener) = found.get_mut(&objects[at])
                && let Some(insider) = namespaces::insider(tasks, *opener, &file.target)
            {
                *opener = insider;
            }
        }
        // Who sends a descriptor has it.
        for (first, file) in components.on_their_way(tasks) {
            if let Some(sender) = found.get(&Object::Sockets(first)).copied() {
                let opener = found.entry(objects[file.at()]).or_insert(sender);
                *opener = lineage.ancestor(*opener, sender);
            }
        }
        let epolls = watching(tasks, lineage, &objects, &mut found);
        let mut places: HashMap<Object, usize> = HashMap::new();
        let mut by_process = vec![Vec::<Vec<FileIndex>>::new(); tasks.processes.len()];
        for (at, object) in objects.iter().enumerate() {
            let Some(opener) = found.get(object) else {
                continue;
            };
            let opened = &mut by_process[opener.at()];
            let place = *places.entry(*object).or_insert(opened.len());
            match opened.get_mut(place) {
                Some(known) => known.push(at.into()),
                None => opened.push(vec![at.into()]),
            }
        }
        let mut sockets = vec![Vec::new(); tasks.processes.len()];
        for component in components.all() {
            if let Some(opener) = found.get(&Object::Sockets(component[0])) {
                sockets[opener.at()].push(component);
            }
        }
        Self {
            of: objects.iter().map(|it| found.get(it).copied()).collect(),
            objects: by_process,
            epolls,
            sockets,
        }
    }

    /// The process that opens a description.
    pub(in crate::tasks::compile) fn opener(&self, index: FileIndex) -> Option<ProcessIndex> {
        self.of[index.at()]
    }

    /// The epolls that watch something that a process opens.
    pub(in crate::tasks::compile) fn epolls_of(&self, at: ProcessIndex) -> &[FileIndex] {
        &self.epolls[at.at()]
    }

    /// What a process opens, in the order of the record: the descriptions of each object.
    pub(in crate::tasks::compile) fn of(&self, at: ProcessIndex) -> &[Vec<FileIndex>] {
        &self.objects[at.at()]
    }

    /// The sockets that a process makes: those that need each other together.
    pub(in crate::tasks::compile) fn sockets(&self, at: ProcessIndex) -> &[Vec<SocketIndex>] {
        &self.sockets[at.at()]
    }
}

//! Who opens what: the last process that all who have it descend from.
//!
//! Kind: pure.

use crate::tasks::compile::lineage::Lineage;
use crux_image::tasks::{FileIndex, OpenTarget, PipeIndex, ProcessIndex, Tasks};
use std::collections::HashMap;

/// What is made by one call, or several that belong together: all its descriptions have one opener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Object {
    /// A description that stands for itself.
    File(FileIndex),
    /// Both ends of a pipe.
    Pipe(PipeIndex),
}

impl Object {
    fn of(index: FileIndex, target: &OpenTarget) -> Self {
        match target {
            OpenTarget::Pipe(pipe, _) => Self::Pipe(*pipe),
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
}

impl Openers {
    pub(in crate::tasks::compile) fn new(tasks: &Tasks, lineage: &Lineage) -> Self {
        let objects = tasks.files.iter().enumerate();
        let objects: Vec<_> = objects
            .map(|(at, file)| Object::of(at.into(), &file.target))
            .collect();
        let mut found: HashMap<Object, ProcessIndex> = HashMap::new();
        for (at, process) in tasks.processes.iter().enumerate() {
            let table = process.descriptors;
            let table = table.map(|table| &tasks.descriptor_tables[table.at()]);
            for descriptor in table.into_iter().flat_map(|table| &table.descriptors) {
                let opener = found.entry(objects[descriptor.file.at()]);
                let opener = opener.or_insert(at.into());
                *opener = lineage.ancestor(*opener, at.into());
            }
        }
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
        Self {
            of: objects.iter().map(|it| found.get(it).copied()).collect(),
            objects: by_process,
        }
    }

    /// The process that opens a description.
    pub(in crate::tasks::compile) fn opener(&self, index: FileIndex) -> Option<ProcessIndex> {
        self.of[index.at()]
    }

    /// What a process opens, in the order of the record: the descriptions of each object.
    pub(in crate::tasks::compile) fn of(&self, at: ProcessIndex) -> &[Vec<FileIndex>] {
        &self.objects[at.at()]
    }
}

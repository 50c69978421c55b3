//! Files that are opened at the number at which they stay: a process can have half as many descriptors as it may if each
//! takes two numbers.
//!
//! Kind: pure. Those are files of one descriptor, opened by who has it. Whoever that process makes afterwards has a copy,
//! which it closes in the end.

use super::components::Components;
use super::late::is_late;
use super::openers::Openers;
use crate::tasks::compile::Compiler;
use crux_image::tasks::{DescriptorTable, FileIndex, OpenFile, OpenTarget, ProcessIndex, Tasks};
use crux_script::{Call, arguments};
use std::collections::{BTreeMap, BTreeSet};

/// Lower numbers are free until the end: what is made gets the lowest ones for a moment.
const LOWEST: u32 = 16;

/// Numbers at which files are opened to stay.
#[derive(Debug)]
pub(in crate::tasks::compile) struct Homes {
    /// By [`FileIndex`].
    of: Vec<Option<u32>>,
    /// Who has such files.
    who: BTreeSet<ProcessIndex>,
}

impl Homes {
    pub(in crate::tasks::compile) fn new(tasks: &Tasks, openers: &Openers) -> Self {
        let mut homes = Self {
            of: vec![None; tasks.files.len()],
            who: BTreeSet::new(),
        };
        let barred = barred(tasks, openers);
        for (file, (process, number)) in single(tasks) {
            let here = openers.opener(file) == Some(process) && number >= LOWEST;
            let barred = barred.files.contains(&file) || barred.is_used(process, number, file);
            if here && !barred && stays(&tasks.files[file.at()]) {
                homes.of[file.at()] = Some(number);
                homes.who.insert(process);
            }
        }
        homes
    }

    /// The number of a file that is opened where it stays.
    pub(in crate::tasks::compile) fn of(&self, file: FileIndex) -> Option<u32> {
        self.of[file.at()]
    }
}

/// Files of one descriptor, of one process: whose, and its number.
fn single(tasks: &Tasks) -> BTreeMap<FileIndex, (ProcessIndex, u32)> {
    let mut found: BTreeMap<FileIndex, Option<(ProcessIndex, u32)>> = BTreeMap::new();
    for (at, process) in tasks.processes.iter().enumerate() {
        let table = process.descriptors;
        let table = table.map(|table| &tasks.descriptor_tables[table.at()]);
        for descriptor in table.into_iter().flat_map(|table| &table.descriptors) {
            let who = (at.into(), descriptor.number);
            let known = found.contains_key(&descriptor.file);
            found.insert(descriptor.file, (!known).then_some(who));
        }
    }
    let found = found.into_iter();
    found.filter_map(|(file, who)| Some((file, who?))).collect()
}

/// Those that somebody has already got at a number, and those that another process may need: an epoll registers what
/// others have opened.
fn stays(file: &OpenFile) -> bool {
    let elsewhere = matches!(
        file.target,
        OpenTarget::External { .. }
            | OpenTarget::Program(_)
            | OpenTarget::Terminal(..)
            | OpenTarget::Epoll(_)
    );
    !elsewhere && !is_late(file)
}

/// What has to have a number of its own.
struct Barred {
    /// They are on their way in sockets, which others may fill.
    files: BTreeSet<FileIndex>,
    /// Under these numbers a process registers these files with epolls.
    registered: BTreeMap<(ProcessIndex, u32), BTreeSet<FileIndex>>,
}

fn barred(tasks: &Tasks, openers: &Openers) -> Barred {
    let on_their_way = Components::new(tasks).on_their_way(tasks);
    let mut barred = Barred {
        files: on_their_way.into_iter().map(|(_, file)| file).collect(),
        registered: BTreeMap::new(),
    };
    for file in &tasks.files {
        let OpenTarget::Epoll(targets) = &file.target else {
            continue;
        };
        for target in targets {
            if let Some(opener) = openers.opener(target.file) {
                let place = barred.registered.entry((opener, target.number));
                place.or_default().insert(target.file);
            }
        }
    }
    barred
}

impl Barred {
    /// Whether another file is registered under this number.
    fn is_used(&self, process: ProcessIndex, number: u32, file: FileIndex) -> bool {
        let files = self.registered.get(&(process, number));
        files.is_some_and(|files| files.iter().any(|other| *other != file))
    }
}

impl Compiler<'_> {
    /// Closes copies of what stays with those who made this process.
    pub(super) fn close_copies(&mut self, at: ProcessIndex, table: &DescriptorTable) {
        let has_files = |maker: ProcessIndex| self.homes.who.contains(&maker);
        if !self.lineage.line(at).skip(1).any(has_files) {
            return;
        }
        let mut next = 0;
        let end = std::iter::once(self.numbers.first);
        let numbers = table.descriptors.iter().map(|it| it.number).chain(end);
        for number in numbers.collect::<Vec<_>>() {
            if next < number {
                let range = arguments![next, number - 1, 0_u32];
                self.call(at, Call::new(libc::SYS_close_range).with(range));
            }
            next = number + 1;
        }
    }
}

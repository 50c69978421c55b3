//! What can be opened only when all processes are there, and watches, which nobody is to trip over.
//!
//! Kind: pure. Who opens it does so behind the barrier of all; whoever else has it takes it from
//! there (pidfd_getfd(2)) behind the next one.

use super::namespaces;
use crate::tasks::compile::Compiler;
use crux_image::tasks::{FileIndex, OpenFile, OpenTarget, Process, ProcessIndex, Tasks, Watch};
use crux_script::{Block, Call, arguments};

/// Whether a file is opened late.
pub(super) fn is_late(file: &OpenFile) -> bool {
    matches!(file.target, OpenTarget::Process(_)) || namespaces::is_late(&file.target)
}

/// Whether there is anything that is done late.
pub(super) fn any(tasks: &Tasks) -> bool {
    let mut files = tasks.files.iter();
    files.any(|file| is_late(file) || matches!(file.target, OpenTarget::Inotify(_)))
}

impl Compiler<'_> {
    /// Opens what this process is to open late.
    pub(super) fn open_late(&mut self, at: ProcessIndex, process: &Process) {
        for index in self.opened_by(at) {
            let file = &self.tasks.files[index.at()];
            let other = match file.target {
                OpenTarget::Process(other) => other,
                OpenTarget::Namespace(namespace) if is_late(file) => {
                    self.open_late_namespace(at, process, index, namespace);
                    continue;
                }
                _ => continue,
            };
            let nonblock = match file.flags.nonblock {
                true => libc::O_NONBLOCK,
                false => 0,
            };
            if let Some(fd) = self.pidfd(at, process, other, nonblock) {
                self.keep(at, fd, self.numbers.file(index));
            }
        }
    }

    fn opened_by(&self, at: ProcessIndex) -> Vec<FileIndex> {
        let objects = self.openers.of(at).iter();
        objects.map(|object| object[0]).collect()
    }

    /// A descriptor of a process, by the number that it has for this one.
    fn pidfd(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        other: ProcessIndex,
        flags: i32,
    ) -> Option<crux_script::LineId> {
        let depth = process.threads.first().map_or(0, |it| it.pids.len());
        let leader = self.tasks.processes[other.at()].threads.first();
        let pid = leader.and_then(|it| it.pids.get(depth.checked_sub(1)?));
        let Some(pid) = pid else {
            let what = "it has a descriptor of a process of another pid namespace, which cannot be restored yet";
            self.refuse(process, what);
            return None;
        };
        let call = Call::new(libc::SYS_pidfd_open).with(arguments![*pid, flags]);
        Some(self.call(at, call))
    }

    /// Takes what others have opened late from them.
    pub(super) fn take_late(&mut self, at: ProcessIndex, process: &Process) {
        let tasks = self.tasks;
        let Some(table) = process.descriptors else {
            return;
        };
        let mut taken = std::collections::BTreeSet::new();
        for descriptor in &tasks.descriptor_tables[table.at()].descriptors {
            let index = descriptor.file;
            let opener = self.openers.opener(index).filter(|opener| *opener != at);
            let Some(opener) = opener.filter(|_| is_late(&tasks.files[index.at()])) else {
                continue;
            };
            if !taken.insert(index.at()) {
                continue;
            }
            let Some(from) = self.pidfd(at, process, opener, 0) else {
                return;
            };
            let number = self.numbers.file(index);
            let call = Call::new(libc::SYS_pidfd_getfd).with(arguments![from, number]);
            let fd = self.call(at, call);
            self.keep(at, fd, number);
            self.call(at, Call::new(libc::SYS_close).with(arguments![from]));
        }
    }

    pub(super) fn open_inotify(&mut self, at: ProcessIndex, index: FileIndex, file: &OpenFile) {
        let nonblock = match file.flags.nonblock {
            true => libc::O_NONBLOCK,
            false => 0,
        };
        let flags = libc::IN_CLOEXEC | nonblock;
        let call = Call::new(libc::SYS_inotify_init1).with(arguments![flags]);
        let fd = self.call(at, call);
        self.keep(at, fd, self.numbers.file(index));
    }

    /// Watches, by who opened the inotify: through /proc, as a path is all that the call takes.
    pub(super) fn watches(&mut self, at: ProcessIndex, process: &Process) {
        let tasks = self.tasks;
        for index in self.opened_by(at) {
            let OpenTarget::Inotify(watches) = &tasks.files[index.at()].target else {
                continue;
            };
            if watches.is_empty() {
                continue;
            }
            let (here, flags) = (self.string(b"."), libc::O_PATH | libc::O_DIRECTORY);
            let flags = flags | libc::O_CLOEXEC;
            let open = arguments![libc::AT_FDCWD, here, flags];
            let back = self.call(at, Call::new(libc::SYS_openat).with(open));
            let proc = self.numbers.proc.unwrap_or(0);
            self.call(at, Call::new(libc::SYS_fchdir).with(arguments![proc]));
            let mut next = 1;
            for watch in watches {
                self.watch(at, process, index, watch, next);
                next = watch.number + 1;
            }
            self.call(at, Call::new(libc::SYS_fchdir).with(arguments![back]));
            self.call(at, Call::new(libc::SYS_close).with(arguments![back]));
        }
    }

    /// Numbers come in their order: those that are nobody's any more are given and taken away. Each tells of
    /// that (`IN_IGNORED`), and what it told is read.
    fn watch(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        index: FileIndex,
        watch: &Watch,
        next: u32,
    ) {
        const EVENT: u64 = 16;
        let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        let Some(fd) = self.open(at, process, &watch.location, flags) else {
            return;
        };
        let place = self.numbers.place;
        self.keep(at, fd, place);
        let path = self.string(format!("thread-self/fd/{place}").as_bytes());
        let inotify = self.numbers.file(index);
        let add = |number: u32, mask: u32| {
            let call = Call::new(libc::SYS_inotify_add_watch);
            let call = call.with(arguments![inotify, path, mask]);
            call.exactly(number.into())
        };
        for number in next..watch.number {
            self.call(at, add(number, libc::IN_MOVE_SELF));
            let remove = Call::new(libc::SYS_inotify_rm_watch);
            self.call(at, remove.with(arguments![inotify, number]));
        }
        if next < watch.number {
            let length = u64::from(watch.number - next) * EVENT;
            let room = self.arena.block(Block::room(length as usize));
            let read = Call::new(libc::SYS_read).with(arguments![inotify, room, length]);
            self.call(at, read);
        }
        self.call(at, add(watch.number, watch.mask));
        self.call(at, Call::new(libc::SYS_close).with(arguments![place]));
    }
}

//! Open files: each description is opened once, by the nearest common ancestor of those who have it, at
//! a number that nobody uses; its descendants inherit it.
//!
//! Kind: pure. One file a kind of file; this one knows who opens what, and when.

mod components;
mod connections;
mod counters;
mod directories;
mod epoll;
mod fifos;
mod groups;
mod homes;
mod inet;
mod late;
mod locks;
mod memory;
mod names;
mod namespaces;
mod netlink;
mod openers;
mod owners;
mod paths;
mod pipes;
mod sockets;
mod terminals;
mod unix;
mod unlinked;

pub(super) use homes::Homes;
pub(super) use openers::Openers;

use super::Compiler;
use crate::tasks::plan::TOGETHER;
use crux_image::tasks::{
    FileAccess, FileFlags, OpenTarget, Process, ProcessIndex, SharedMemoryKind, Tasks,
};
use crux_script::{Call, LineId, arguments};

impl Compiler<'_> {
    /// Opens what this process is to open. What is made as a pair or more is made once.
    pub(super) fn files(&mut self, at: ProcessIndex, process: &Process) {
        if at.at() == 0 {
            // Numbers are given from the lowest: pipe2(2) tells its own in memory only.
            let close = Call::new(libc::SYS_close_range).with(arguments![
                0_u32,
                self.numbers.first - 1,
                0_u32
            ]);
            self.call(at, close);
            self.terminals(at);
        }
        if !self.begins_late(at, process) {
            self.take_terminal(at, process);
        }
        let tasks = self.tasks;
        for object in self.openers.of(at).to_vec() {
            let index = object[0];
            let file = &tasks.files[index.at()];
            match &file.target {
                OpenTarget::Path { location, kind, .. } => {
                    self.open_path(at, process, index, file, location, *kind);
                }
                OpenTarget::Pipe(pipe, _) => self.open_pipe(at, *pipe),
                OpenTarget::Memory(memory) => {
                    self.open_memory(at, index, file, *memory);
                }
                OpenTarget::Event(event) => self.open_event(at, index, file, *event),
                OpenTarget::Signals { mask } => self.open_signals(at, index, file, *mask),
                OpenTarget::Timer(timer) => self.open_timer(at, index, file, timer),
                OpenTarget::Epoll(_) => self.open_epoll(at, index, file),
                OpenTarget::Inotify(_) => self.open_inotify(at, index, file),
                OpenTarget::Namespace(_) if late::is_late(file) => {}
                OpenTarget::Namespace(namespace) => {
                    self.open_namespace(at, process, index, *namespace);
                }
                OpenTarget::Process(_) => {}
                OpenTarget::External { .. } | OpenTarget::Socket(_) | OpenTarget::Program(_) => {}
                OpenTarget::Terminal(..) => self.open_terminal(at, process, index, file),
                OpenTarget::Unlinked(unlinked) => self.open_unlinked(at, index, file, *unlinked),
            }
        }
        self.sockets(at, process);
    }

    /// Gives a descriptor the number at which it is found later.
    pub(super) fn keep(&mut self, at: ProcessIndex, fd: LineId, number: u32) {
        let call = Call::new(libc::SYS_dup3).with(arguments![fd, number, libc::O_CLOEXEC]);
        self.call(at, call);
        self.call(at, Call::new(libc::SYS_close).with(arguments![fd]));
    }

    /// Its own descriptors at their numbers; all others go.
    pub(in crate::tasks::compile) fn descriptors(&mut self, at: ProcessIndex, process: &Process) {
        let Some(index) = process.descriptors else {
            return;
        };
        let tasks = self.tasks;
        self.owners(at, process);
        if self.has_late {
            self.open_late(at, process);
            // All memory is as it is to be, and nobody opens anything any more.
            self.arena.stop(self.scripts[at.at()], TOGETHER);
            self.seal(at);
            self.take_late(at, process);
            self.watches(at, process);
            self.arena.stop(self.scripts[at.at()], TOGETHER);
        }
        self.lock_descriptions(at);
        self.register(at, process);
        self.timer_files(at);
        let table = &tasks.descriptor_tables[index.at()];
        self.close_copies(at, table);
        for descriptor in &table.descriptors {
            let from = self.numbers.file(descriptor.file);
            if from == descriptor.number {
                // It was opened with `O_CLOEXEC`.
                if !descriptor.close_on_exec {
                    let set = arguments![from, libc::F_SETFD, 0_u32];
                    self.call(at, Call::new(libc::SYS_fcntl).with(set));
                }
                continue;
            }
            let flags = match descriptor.close_on_exec {
                true => libc::O_CLOEXEC,
                false => 0,
            };
            let call = Call::new(libc::SYS_dup3).with(arguments![from, descriptor.number, flags]);
            self.call(at, call.exactly(descriptor.number.into()));
        }
        // A user namespace is entered later, and closed then.
        let kept = self.entered(process).map(|user| self.numbers.user(user));
        let ranges = match kept {
            None => vec![(self.numbers.first, u32::MAX)],
            Some(kept) => vec![(self.numbers.first, kept - 1), (kept + 1, u32::MAX)],
        };
        for (from, to) in ranges {
            let rest = arguments![from, to, 0_u32];
            self.call(at, Call::new(libc::SYS_close_range).with(rest));
        }
        self.lock_own(at, process);
    }
}

/// Whether there is anything that can be done only when all processes have come to their last lines.
pub(super) fn has_late(tasks: &Tasks) -> bool {
    late::any(tasks)
        || tasks.shared_memory.iter().any(|memory| match memory.kind {
            SharedMemoryKind::Memfd { seals, mode, .. } => {
                memory::has_seals(seals) || mode & 0o7777 != 0o777
            }
            _ => false,
        })
}

fn access(access: FileAccess) -> i32 {
    match access {
        FileAccess::Read => libc::O_RDONLY,
        FileAccess::Write => libc::O_WRONLY,
        FileAccess::ReadWrite => libc::O_RDWR,
        FileAccess::Path => libc::O_PATH,
    }
}

fn flags(flags: &FileFlags) -> i32 {
    let bit = |set: bool, bit: i32| if set { bit } else { 0 };
    bit(flags.append, libc::O_APPEND)
        | bit(flags.nonblock, libc::O_NONBLOCK)
        | bit(flags.direct, libc::O_DIRECT)
        | bit(flags.dsync, libc::O_DSYNC)
        | bit(flags.sync, libc::O_SYNC)
        | bit(flags.noatime, libc::O_NOATIME)
        | bit(flags.directory, libc::O_DIRECTORY)
        | bit(flags.nofollow, libc::O_NOFOLLOW)
}

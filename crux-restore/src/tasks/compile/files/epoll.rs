//! epoll: made empty with the other files, its targets registered when all of them are there.
//!
//! Kind: pure. A target is registered by who opened it, under the number that it was registered with
//! before, which is free until descriptors come to their numbers, or its own. An epoll keeps file and number, not the
//! descriptor: closing that takes nothing away.

use crate::tasks::compile::Compiler;
use crux_image::tasks::{EpollTarget, FileIndex, OpenFile, OpenTarget, Process, ProcessIndex};
use crux_script::{Block, Call, arguments};

/// Whatever may be ready.
const ANY: u32 = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLPRI | libc::EPOLLRDHUP) as u32;

impl Compiler<'_> {
    pub(super) fn open_epoll(&mut self, at: ProcessIndex, index: FileIndex, file: &OpenFile) {
        let call = Call::new(libc::SYS_epoll_create1).with(arguments![libc::EPOLL_CLOEXEC]);
        let fd = self.call(at, call);
        if file.flags.nonblock {
            let flags = libc::O_NONBLOCK;
            let call = Call::new(libc::SYS_fcntl).with(arguments![fd, libc::F_SETFL, flags]);
            self.call(at, call);
        }
        self.keep(at, fd, self.numbers.file(index));
    }

    /// Registers what this process has opened.
    pub(super) fn register(&mut self, at: ProcessIndex, process: &Process) {
        let tasks = self.tasks;
        for index in self.openers.epolls_of(at).to_vec() {
            let OpenTarget::Epoll(targets) = &tasks.files[index.at()].target else {
                continue;
            };
            let here = |target: &&EpollTarget| self.openers.opener(target.file) == Some(at);
            let (disarmed, armed): (Vec<_>, Vec<_>) =
                targets.iter().filter(here).partition(|it| it.is_disarmed());
            if !disarmed.is_empty() && disarmed.len() + armed.len() < targets.len() {
                self.refuse(
                    process,
                    "an epoll with a one-shot that was reported watches files of several processes, which cannot be restored yet",
                );
                continue;
            }
            for target in disarmed {
                self.add(at, index, target, target.events | ANY);
                self.report(at, index);
            }
            for target in armed {
                self.add(at, index, target, target.events);
            }
        }
    }

    fn add(&mut self, at: ProcessIndex, epoll: FileIndex, target: &EpollTarget, events: u32) {
        let epoll = self.numbers.file(epoll);
        let (file, number) = (self.numbers.file(target.file), target.number);
        let event = [&events.to_le_bytes()[..], &target.data.to_le_bytes()].concat();
        let event = self.bytes(event);
        let copied = file != number;
        if copied {
            let dup = Call::new(libc::SYS_dup3).with(arguments![file, number, libc::O_CLOEXEC]);
            self.call(at, dup);
        }
        let operation = libc::EPOLL_CTL_ADD;
        let call = Call::new(libc::SYS_epoll_ctl).with(arguments![epoll, operation, number, event]);
        self.call(at, call);
        if copied {
            self.call(at, Call::new(libc::SYS_close).with(arguments![number]));
        }
    }

    /// Who is reported once is disarmed. Nothing else is there that could be.
    fn report(&mut self, at: ProcessIndex, epoll: FileIndex) {
        let epoll = self.numbers.file(epoll);
        let event = self.arena.block(Block::room(12));
        let call = Call::new(libc::SYS_epoll_pwait).with(arguments![epoll, event, 1_u32, 0_u32]);
        self.call(at, call.exactly(1));
    }
}

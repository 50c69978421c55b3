//! Who hears of what happens to a file (`F_SETOWN_EX`, `F_SETSIG`, `O_ASYNC`).
//!
//! Kind: pure.

use super::flags;
use crate::tasks::compile::Compiler;
use crux_image::tasks::{FileIndex, FileOwner, OpenTarget, OwnerKind, Process, ProcessIndex};
use crux_script::{Block, Call, arguments};

impl Compiler<'_> {
    /// Who hears of what happens to a file: set by who opened it, when all are there.
    pub(super) fn owners(&mut self, at: ProcessIndex, process: &Process) {
        let tasks = self.tasks;
        for (index, file) in tasks.files.iter().enumerate() {
            let index = FileIndex::from(index);
            if file.owner.is_none() && !file.flags.async_io
                || self.openers.opener(index) != Some(at)
            {
                continue;
            }
            if matches!(file.target, OpenTarget::External { .. }) {
                self.refuse(
                    process,
                    "a file of outside that tells of its changes cannot be restored yet",
                );
                continue;
            }
            let number = self.numbers.file(index);
            if let Some(owner) = &file.owner {
                self.owner(at, process, number, owner);
            }
            if file.flags.async_io {
                let flags = flags(&file.flags) | libc::O_ASYNC;
                let call =
                    Call::new(libc::SYS_fcntl).with(arguments![number, libc::F_SETFL, flags]);
                self.call(at, call);
            }
        }
    }

    fn owner(&mut self, at: ProcessIndex, process: &Process, number: u32, owner: &FileOwner) {
        const F_SETSIG: u32 = 10;
        const F_SETOWN_EX: u32 = 15;
        let leads = self
            .tasks
            .processes
            .iter()
            .any(|it| it.first_pid() == owner.id);
        let thread = owner.kind == OwnerKind::Thread;
        if process.pid_namespace.at() != 0 || thread && !leads {
            self.refuse(
                process,
                "a file that tells a thread of its changes cannot be restored yet",
            );
            return;
        }
        let kind: u32 = match owner.kind {
            OwnerKind::Thread => 0,
            OwnerKind::Process => 1,
            OwnerKind::Group => 2,
        };
        let block = self
            .arena
            .block(Block::words(&[u64::from(kind) | u64::from(owner.id) << 32]));
        let call = Call::new(libc::SYS_fcntl).with(arguments![number, F_SETOWN_EX, block]);
        self.call(at, call);
        if owner.signal != 0 {
            let call = Call::new(libc::SYS_fcntl).with(arguments![
                number,
                F_SETSIG,
                u32::from(owner.signal)
            ]);
            self.call(at, call);
        }
    }
}

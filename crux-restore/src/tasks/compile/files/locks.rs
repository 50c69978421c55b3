//! Locks on files: nobody waits for one, as nobody else is to have it.
//!
//! Kind: pure. Those of a description are taken by who opens it, those of a process by itself, when it has closed the last
//! descriptor that is not its own: it would lose with it what it has on the same file.

use crate::tasks::compile::Compiler;
use crux_image::tasks::{FileLock, LockOwner, Process, ProcessIndex};
use crux_script::{Block, Call, arguments};

/// `OFFSET_MAX`: for ever, too.
const LAST: u64 = i64::MAX as u64;

impl Compiler<'_> {
    /// Those of the descriptions that this process opens.
    pub(super) fn lock_descriptions(&mut self, at: ProcessIndex) {
        for lock in &self.tasks.locks {
            if self.openers.opener(lock.file) != Some(at) {
                continue;
            }
            let number = self.numbers.file(lock.file);
            match lock.owner {
                LockOwner::Table(_) => {}
                LockOwner::Description => self.lock_range(at, number, libc::F_OFD_SETLK, lock),
                LockOwner::Whole => {
                    let operation = match lock.exclusive {
                        true => libc::LOCK_EX | libc::LOCK_NB,
                        false => libc::LOCK_SH | libc::LOCK_NB,
                    };
                    let call = Call::new(libc::SYS_flock).with(arguments![number, operation]);
                    self.call(at, call);
                }
            }
        }
    }

    /// Those of this process, which has nothing open but its own descriptors.
    pub(super) fn lock_own(&mut self, at: ProcessIndex, process: &Process) {
        let Some(index) = process.descriptors else {
            return;
        };
        let tasks = self.tasks;
        let table = &tasks.descriptor_tables[index.at()];
        for lock in &tasks.locks {
            if lock.owner != LockOwner::Table(index) {
                continue;
            }
            let descriptor = table.descriptors.iter().find(|it| it.file == lock.file);
            if let Some(descriptor) = descriptor {
                self.lock_range(at, descriptor.number, libc::F_SETLK, lock);
            }
        }
    }

    fn lock_range(&mut self, at: ProcessIndex, number: u32, command: i32, lock: &FileLock) {
        let kind = match lock.exclusive {
            true => libc::F_WRLCK,
            false => libc::F_RDLCK,
        };
        let last = lock.last.filter(|last| *last < LAST);
        let length = last.map_or(0, |last| last - lock.start + 1);
        // struct flock: type and whence, start, length, pid.
        let head = u64::from(kind as u16) | u64::from(libc::SEEK_SET as u16) << 16;
        let block = Block::words(&[head, lock.start, length, 0]);
        let block = self.arena.block(block);
        let call = Call::new(libc::SYS_fcntl).with(arguments![number, command, block]);
        self.call(at, call);
    }
}

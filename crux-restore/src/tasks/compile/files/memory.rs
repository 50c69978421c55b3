//! Memory with a descriptor (memfd_create(2)).
//!
//! Kind: pure.

use super::{access, flags};
use crate::tasks::compile::Compiler;
use crux_image::tasks::{
    FileAccess, FileIndex, OpenFile, ProcessIndex, SharedMemoryIndex, SharedMemoryKind,
};
use crux_script::{Call, arguments};

impl Compiler<'_> {
    pub(super) fn open_memory(
        &mut self,
        at: ProcessIndex,
        index: FileIndex,
        file: &OpenFile,
        memory: SharedMemoryIndex,
    ) {
        let source = self.numbers.memory(memory);
        let mut same = self.tasks.files.iter().enumerate();
        // The description that memfd_create(2) makes is one of those for reading and writing.
        let made =
            same.find(|(_, it)| it.target == file.target && it.access == FileAccess::ReadWrite);
        if made.map(|(at, _)| at) != Some(index.at()) {
            let flags = access(file.access) | flags(&file.flags) | libc::O_CLOEXEC;
            let fd = self.reopen(at, source, flags & !libc::O_NOFOLLOW);
            if file.position > 0 && file.access != FileAccess::Path {
                self.seek(at, fd, file.position);
            }
            self.keep(at, fd, self.numbers.file(index));
            return;
        }
        let number = self.numbers.file(index);
        let dup = Call::new(libc::SYS_dup3).with(arguments![source, number, libc::O_CLOEXEC]);
        let fd = self.call(at, dup);
        self.seek(at, fd, file.position);
        let set = flags(&file.flags) & (libc::O_NONBLOCK | libc::O_APPEND | libc::O_NOATIME);
        if set != 0 {
            let call = Call::new(libc::SYS_fcntl).with(arguments![fd, libc::F_SETFL, set]);
            self.call(at, call);
        }
    }

    /// By the first process, when nobody has it mapped for filling any more.
    pub(in crate::tasks::compile) fn seal(&mut self, at: ProcessIndex) {
        let tasks = self.tasks;
        if at.at() != 0 {
            return;
        }
        for (index, memory) in tasks.shared_memory.iter().enumerate() {
            let SharedMemoryKind::Memfd { seals, mode, .. } = memory.kind else {
                continue;
            };
            let number = self.numbers.memory(index.into());
            if mode & 0o7777 != 0o777 {
                let call = Call::new(libc::SYS_fchmod).with(arguments![number, mode & 0o7777]);
                self.call(at, call);
            }
            if has_seals(seals) {
                let call =
                    Call::new(libc::SYS_fcntl).with(arguments![number, libc::F_ADD_SEALS, seals]);
                self.call(at, call);
            }
        }
    }
}

/// One that was made without `MFD_ALLOW_SEALING` has this seal alone.
pub(super) fn has_seals(seals: u32) -> bool {
    seals != 0 && seals != libc::F_SEAL_SEAL as u32
}

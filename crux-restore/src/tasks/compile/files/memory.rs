//! Memory with a descriptor (memfd_create(2)).
//!
//! Kind: pure.

use crate::tasks::compile::Compiler;
use crux_image::tasks::{
    FileAccess, FileIndex, OpenFile, Process, ProcessIndex, SharedMemoryIndex, SharedMemoryKind,
};
use crux_script::{Call, arguments};

impl Compiler<'_> {
    pub(super) fn open_memory(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        index: FileIndex,
        file: &OpenFile,
        memory: SharedMemoryIndex,
    ) {
        let plain = file.access == FileAccess::ReadWrite;
        let tables = self.tasks.files.iter();
        let same = tables.filter(|it| it.target == file.target).count();
        if !plain || same > 1 {
            self.refuse(
                process,
                "a memfd that was opened again cannot be restored yet",
            );
            return;
        }
        let source = self.numbers.memory(memory);
        let dup = Call::new(libc::SYS_dup3).with(arguments![
            source,
            self.numbers.file(index),
            libc::O_CLOEXEC
        ]);
        let fd = self.call(at, dup);
        let call = Call::new(libc::SYS_lseek).with(arguments![fd, file.position, libc::SEEK_SET]);
        self.call(at, call);
        let seals = match &self.tasks.shared_memory[memory.at()].kind {
            SharedMemoryKind::Memfd { seals, .. } => *seals,
            _ => 0,
        };
        if seals != 0 && seals != libc::F_SEAL_SEAL as u32 {
            let call = Call::new(libc::SYS_fcntl).with(arguments![fd, libc::F_ADD_SEALS, seals]);
            self.call(at, call);
        }
    }
}

//! Pipes without a name.
//!
//! Kind: pure.

use super::flags;
use crate::tasks::compile::Compiler;
use crux_image::tasks::{FileIndex, OpenTarget, PipeEnd, PipeIndex, Process, ProcessIndex};
use crux_script::{Block, Call, arguments};

impl Compiler<'_> {
    /// Both ends, what is in it, and the flags of each end.
    pub(super) fn open_pipe(&mut self, at: ProcessIndex, process: &Process, index: PipeIndex) {
        let tasks = self.tasks;
        let pipe = &tasks.pipes[index.at()];
        let ends = |end: PipeEnd| {
            let files = tasks.files.iter().enumerate();
            let wanted = OpenTarget::Pipe(index, end);
            files
                .filter(move |(_, file)| file.target == wanted)
                .map(|(at, file)| (FileIndex::from(at), file))
                .collect::<Vec<_>>()
        };
        let (reading, writing) = (ends(PipeEnd::Read), ends(PipeEnd::Write));
        if reading.len() > 1 || writing.len() > 1 {
            self.refuse(
                process,
                "a pipe that was opened again cannot be restored yet",
            );
            return;
        }
        let fds = self.arena.block(Block::room(8));
        let packets = if pipe.packets { libc::O_DIRECT } else { 0 };
        let made = Call::new(libc::SYS_pipe2).with(arguments![fds, libc::O_CLOEXEC | packets]);
        self.call(at, made);
        // The lowest numbers are free.
        let (read, write) = (0_u32, 1_u32);
        let size =
            Call::new(libc::SYS_fcntl).with(arguments![write, libc::F_SETPIPE_SZ, pipe.capacity]);
        self.call(at, size);
        for data in &pipe.data {
            let bytes = self.bytes(data.clone());
            let call = Call::new(libc::SYS_write).with(arguments![write, bytes, data.len()]);
            self.call(at, call.exactly(data.len() as u64));
        }
        for (fd, end) in [(read, reading), (write, writing)] {
            for (index, file) in end {
                let set = flags(&file.flags) & (libc::O_NONBLOCK | libc::O_DIRECT | libc::O_APPEND);
                let call = Call::new(libc::SYS_fcntl).with(arguments![fd, libc::F_SETFL, set]);
                self.call(at, call);
                let number = self.numbers.file(index);
                let call = Call::new(libc::SYS_dup3).with(arguments![fd, number, libc::O_CLOEXEC]);
                self.call(at, call);
            }
            self.call(at, Call::new(libc::SYS_close).with(arguments![fd]));
        }
    }
}

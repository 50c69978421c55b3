//! Pipes without a name.
//!
//! Kind: pure.

use super::{access, flags};
use crate::tasks::compile::Compiler;
use crux_image::tasks::{FileAccess, FileIndex, OpenTarget, PipeEnd, PipeIndex, ProcessIndex};
use crux_script::{Block, Call, arguments};

impl Compiler<'_> {
    /// Both ends, what is in it, and the flags of each end.
    pub(super) fn open_pipe(&mut self, at: ProcessIndex, index: PipeIndex) {
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
        for (fd, end) in [(read, PipeEnd::Read), (write, PipeEnd::Write)] {
            let mut made = false;
            for (index, file) in ends(end) {
                let number = self.numbers.file(index);
                let set = flags(&file.flags) & (libc::O_NONBLOCK | libc::O_DIRECT | libc::O_APPEND);
                // The description that pipe2(2) made is one that is as it makes them.
                let plain = matches!(file.access, FileAccess::Read | FileAccess::Write);
                if made || !plain {
                    let flags = access(file.access) | set | libc::O_CLOEXEC;
                    let again = self.reopen(at, fd, flags);
                    self.keep(at, again, number);
                    continue;
                }
                made = true;
                let call = Call::new(libc::SYS_fcntl).with(arguments![fd, libc::F_SETFL, set]);
                self.call(at, call);
                let call = Call::new(libc::SYS_dup3).with(arguments![fd, number, libc::O_CLOEXEC]);
                self.call(at, call);
            }
        }
        for fd in [read, write] {
            self.call(at, Call::new(libc::SYS_close).with(arguments![fd]));
        }
    }
}

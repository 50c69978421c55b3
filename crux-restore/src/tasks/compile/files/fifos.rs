//! Fifos with a name (fifo(7)), without anything in them.
//!
//! Kind: pure. open(2) of one end waits for the other: it does not where both are opened at once, or
//! where the end that reads does not block. An end that writes is opened while there is one that reads.

use super::{access, flags};
use crate::tasks::compile::Compiler;
use crux_image::tasks::{FileAccess, FileIndex, Location, OpenFile, Process, ProcessIndex};
use crux_script::{Call, arguments};

impl Compiler<'_> {
    pub(super) fn open_fifo(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        index: FileIndex,
        file: &OpenFile,
        location: &Location,
    ) {
        let set = flags(&file.flags);
        let common = set | libc::O_CLOEXEC | libc::O_NONBLOCK;
        let reader = match file.access {
            FileAccess::Write => self.open(at, process, location, common | libc::O_RDWR),
            _ => None,
        };
        let opened = self.open(at, process, location, common | access(file.access));
        if let Some(reader) = reader {
            self.call(at, Call::new(libc::SYS_close).with(arguments![reader]));
        }
        let Some(fd) = opened else { return };
        let call = Call::new(libc::SYS_fcntl).with(arguments![fd, libc::F_SETFL, set]);
        self.call(at, call);
        self.keep(at, fd, self.numbers.file(index));
    }
}

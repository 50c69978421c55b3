//! Files and directories without a name.
//!
//! Kind: pure. The first process makes each anew in the file system that it is in, and fills it; everybody
//! inherits that. Descriptions and mappings are opened from there, through /proc: a file without a name has
//! no other way.

use super::{access, flags};
use crate::tasks::compile::Compiler;
use crux_image::tasks::{
    FileAccess, FileIndex, OpenFile, PAGE_SIZE, PageSource, Process, ProcessIndex, UnlinkedFile,
    UnlinkedIndex, UnlinkedKind,
};
use crux_script::{Block, Call, LineId, arguments};

/// sendfile(2) copies at most this much at a time (`MAX_RW_COUNT`), in whole pages.
const CHUNK: u64 = 1 << 30;

impl Compiler<'_> {
    /// All of them, by the first process.
    pub(in crate::tasks::compile) fn make_unlinked(&mut self, at: ProcessIndex, process: &Process) {
        let tasks = self.tasks;
        for (index, file) in tasks.unlinked.iter().enumerate() {
            let index = UnlinkedIndex::from(index);
            let made = match (&file.linked, file.kind) {
                (Some(other), _) => {
                    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
                    self.open(at, process, other, flags)
                }
                (None, UnlinkedKind::Regular) => self.make_file(at, process, file),
                (None, UnlinkedKind::Directory) => self.make_directory(at, process, index, file),
            };
            let Some(made) = made else { continue };
            let number = self.numbers.unlinked(index);
            self.keep(at, made, number);
            // Nobody has it open for writing from here on: it may be a program.
            if file.linked.is_none() && file.kind == UnlinkedKind::Regular {
                let reading = self.reopen(at, number, libc::O_RDONLY | libc::O_CLOEXEC);
                self.keep(at, reading, number);
            }
        }
    }

    fn make_file(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        file: &UnlinkedFile,
    ) -> Option<LineId> {
        let flags = libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC;
        let fd = self.open_mode(at, process, &file.directory, flags, 0o600)?;
        for run in &file.pages {
            let PageSource::Data(data) = run.source else {
                continue;
            };
            let seek = arguments![fd, run.start, libc::SEEK_SET];
            self.call(at, Call::new(libc::SYS_lseek).with(seek));
            let length = run.count * PAGE_SIZE;
            for done in (0..length).step_by(CHUNK as usize) {
                let part = CHUNK.min(length - done);
                let offset = self.arena.block(Block::words(&[data + done]));
                let pages = self.numbers.pages;
                let call = Call::new(libc::SYS_sendfile).with(arguments![fd, pages, offset, part]);
                self.call(at, call.exactly(part));
            }
        }
        let size = arguments![fd, file.size];
        self.call(at, Call::new(libc::SYS_ftruncate).with(size));
        self.as_it_was(at, fd, file);
        Some(fd)
    }

    /// One that is removed has to be made under some name first: the old one may be another's by now.
    fn make_directory(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        index: UnlinkedIndex,
        file: &UnlinkedFile,
    ) -> Option<LineId> {
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let above = self.open(at, process, &file.directory, flags)?;
        let name = format!(".removed.{}.{}", process.first_pid(), index.at());
        let name = self.string(name.as_bytes());
        let make = arguments![above, name, 0o700_u32];
        self.call(at, Call::new(libc::SYS_mkdirat).with(make));
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        let open = Call::new(libc::SYS_openat).with(arguments![above, name, flags]);
        let fd = self.call(at, open);
        self.as_it_was(at, fd, file);
        let remove = arguments![above, name, libc::AT_REMOVEDIR];
        self.call(at, Call::new(libc::SYS_unlinkat).with(remove));
        // The descriptor is to have the lowest number that is free when it is kept.
        self.call(at, Call::new(libc::SYS_close).with(arguments![above]));
        Some(fd)
    }

    fn as_it_was(&mut self, at: ProcessIndex, fd: LineId, file: &UnlinkedFile) {
        let owner = arguments![fd, file.uid, file.gid];
        self.call(at, Call::new(libc::SYS_fchown).with(owner));
        let mode = arguments![fd, file.mode & 0o7777];
        self.call(at, Call::new(libc::SYS_fchmod).with(mode));
        for (name, value) in &file.attributes {
            let (name, length) = (self.string(name), value.len());
            let value = self.bytes(value.clone());
            let call = Call::new(libc::SYS_fsetxattr).with(arguments![fd, name, value, length]);
            self.call(at, call);
        }
        let words = file
            .times
            .map(|it| [it.seconds as u64, it.nanoseconds.into()]);
        let times = self.arena.block(Block::words(&words.concat()));
        let call = Call::new(libc::SYS_utimensat).with(arguments![fd, 0_u32, times]);
        self.call(at, call);
    }

    pub(super) fn open_unlinked(
        &mut self,
        at: ProcessIndex,
        index: FileIndex,
        file: &OpenFile,
        unlinked: UnlinkedIndex,
    ) {
        let flags = access(file.access) | flags(&file.flags) | libc::O_CLOEXEC;
        // Where it is opened a symlink has to be followed. What O_TMPFILE made has O_DIRECTORY.
        let flags = flags & !(libc::O_NOFOLLOW | libc::O_DIRECTORY);
        let fd = self.reopen(at, self.numbers.unlinked(unlinked), flags);
        if file.position > 0 && file.access != FileAccess::Path {
            self.seek(at, fd, file.position);
        }
        self.keep(at, fd, self.numbers.file(index));
    }
}

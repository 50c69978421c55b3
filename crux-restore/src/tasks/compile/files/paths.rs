//! Files, directories and devices with a path.
//!
//! Kind: pure.

use super::{access, flags};
use crate::tasks::compile::Compiler;
use crux_image::mounts::FileKind;
use crux_image::tasks::{FileAccess, FileIndex, Location, OpenFile, Process, ProcessIndex};
use crux_script::{Block, Call, LineId, arguments};

/// openat2(2): `RESOLVE_NO_MAGICLINKS|RESOLVE_NO_SYMLINKS|RESOLVE_IN_ROOT`. /proc shows no path with a symlink.
const RESOLVE: u64 = 0x02 | 0x04 | 0x10;

impl Compiler<'_> {
    /// Opens a place beneath the root of its namespace. None where that is an obstacle.
    pub(in crate::tasks::compile) fn open(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        location: &Location,
        flags: i32,
    ) -> Option<LineId> {
        self.open_mode(at, process, location, flags, 0)
    }

    /// The same, with the mode of a file that is made.
    pub(super) fn open_mode(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        location: &Location,
        flags: i32,
        mode: u64,
    ) -> Option<LineId> {
        let Some(path) = self.places.path(location) else {
            let what = format!("\"{}\" is hidden by other mounts", location.path);
            self.refuse(process, what);
            return None;
        };
        let (_, root) = self.numbers.namespace(location.namespace);
        let path = match path.is_root() {
            true => self.string(b"."),
            false => self.string(path.as_bytes()),
        };
        let how = self
            .arena
            .block(Block::words(&[flags as u32 as u64, mode, RESOLVE]));
        let call = Call::new(libc::SYS_openat2).with(arguments![root, path, how, 24_u64]);
        Some(self.call(at, call))
    }

    /// Opens what a descriptor of this process leads to once more: a description of its own.
    pub(in crate::tasks::compile) fn reopen(
        &mut self,
        at: ProcessIndex,
        number: u32,
        flags: i32,
    ) -> LineId {
        let proc = self.numbers.proc.unwrap_or(0);
        let path = self.string(format!("thread-self/fd/{number}").as_bytes());
        let call = Call::new(libc::SYS_openat).with(arguments![proc, path, flags]);
        self.call(at, call)
    }

    pub(super) fn seek(&mut self, at: ProcessIndex, fd: LineId, position: u64) {
        let call = Call::new(libc::SYS_lseek).with(arguments![fd, position, libc::SEEK_SET]);
        self.call(at, call.exactly(position));
    }

    pub(super) fn open_path(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        index: FileIndex,
        file: &OpenFile,
        location: &Location,
        kind: FileKind,
    ) {
        if kind == FileKind::Fifo && file.access != FileAccess::Path {
            self.open_fifo(at, process, index, file, location);
            return;
        }
        let flags = access(file.access) | flags(&file.flags) | libc::O_CLOEXEC | libc::O_NOCTTY;
        let Some(fd) = self.open(at, process, location, flags) else {
            return;
        };
        let seekable = matches!(kind, FileKind::Regular | FileKind::Directory);
        if file.position > 0 && seekable && file.access != FileAccess::Path {
            self.seek(at, fd, file.position);
        }
        self.keep(at, fd, self.numbers.file(index));
    }
}

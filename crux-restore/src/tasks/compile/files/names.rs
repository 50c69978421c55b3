//! The files that unix sockets are bound to.
//!
//! Kind: pure. bind(2) makes the file, and there must be none: the one that is there is the former socket's.

use super::unix::address;
use crate::tasks::compile::Compiler;
use crux_image::tasks::{Location, Process, ProcessIndex, UnixFile, UnixName};
use crux_script::{Block, BlockId, Call, Errno, Expect, LineId, arguments};

/// A file that a socket is bound to.
pub(super) struct Named {
    directory: LineId,
    name: BlockId,
    removed: bool,
    /// The root to go back to, where the name is one of another directory.
    back: Option<u32>,
}

impl Compiler<'_> {
    /// Binds a socket; what it is bound to, if that is a file. Until it is left, its name leads there.
    pub(super) fn bind(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        number: u32,
        name: &UnixName,
    ) -> Option<Named> {
        let bytes = address(&name.address);
        let length = bytes.len();
        let block = self.bytes(bytes);
        let bind = Call::new(libc::SYS_bind).with(arguments![number, block, length]);
        let Some(file) = &name.file else {
            self.call(at, bind);
            return None;
        };
        let mut named = self.make_way(at, process, file)?;
        let elsewhere = self.places.path(&file.base).is_none_or(|it| !it.is_root());
        if elsewhere {
            let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
            let base = self.open(at, process, &file.base, flags)?;
            match name.address.starts_with(b"/") {
                true => self.enter(at, base.into()),
                false => {
                    self.call(at, Call::new(libc::SYS_fchdir).with(arguments![base]));
                }
            }
            self.call(at, Call::new(libc::SYS_close).with(arguments![base]));
        }
        self.call(at, bind);
        if elsewhere {
            let (_, root) = self.numbers.namespace(file.base.namespace);
            named.back = Some(root);
        }
        self.attributes(at, &named, file);
        Some(named)
    }

    /// Nothing is there, or a socket, which goes.
    fn make_way(&mut self, at: ProcessIndex, process: &Process, file: &UnixFile) -> Option<Named> {
        let (parent, last) = file.place.path.split_last()?;
        let last = last.to_vec();
        let parent = Location {
            path: parent,
            ..file.place.clone()
        };
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let directory = self.open(at, process, &parent, flags)?;
        let name = self.string(&last);
        let missing = Errno(libc::ENOENT as u16);
        // KERNEL: only a socket cannot be opened with this error.
        let socket = Errno(libc::ENXIO as u16).result();
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let open = Call::new(libc::SYS_openat).with(arguments![directory, name, flags]);
        self.call(at, open.expect(Expect::OneOf(socket, missing)));
        let unlink = Call::new(libc::SYS_unlinkat).with(arguments![directory, name]);
        self.call(at, unlink.expect(Expect::SuccessOr(missing)));
        let removed = file.removed;
        Some(Named {
            directory,
            name,
            removed,
            back: None,
        })
    }

    fn attributes(&mut self, at: ProcessIndex, named: &Named, file: &UnixFile) {
        let (directory, name) = (named.directory, named.name);
        let alone = libc::AT_SYMLINK_NOFOLLOW;
        let owner = Call::new(libc::SYS_fchownat)
            .with(arguments![directory, name, file.uid, file.gid, alone]);
        self.call(at, owner);
        let mode = Call::new(libc::SYS_fchmodat).with(arguments![directory, name, file.mode]);
        self.call(at, mode);
        let times = file
            .times
            .map(|(seconds, part)| [seconds as u64, part.into()]);
        let times = self.arena.block(Block::words(times.as_flattened()));
        let times = Call::new(libc::SYS_utimensat).with(arguments![directory, name, times, alone]);
        self.call(at, times);
    }

    /// When all have come who need the name to come.
    pub(super) fn leave(&mut self, at: ProcessIndex, named: Named) {
        if let Some(root) = named.back {
            self.enter(at, root.into());
        }
        if named.removed {
            let unlink =
                Call::new(libc::SYS_unlinkat).with(arguments![named.directory, named.name]);
            self.call(at, unlink);
        }
        self.call(
            at,
            Call::new(libc::SYS_close).with(arguments![named.directory]),
        );
    }
}

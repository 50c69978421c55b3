//! Root and working directory.
//!
//! Kind: pure.

use crate::tasks::compile::Compiler;
use crux_image::path::RelPath;
use crux_image::tasks::{Process, ProcessIndex};
use crux_script::{Argument, Call, arguments};

impl Compiler<'_> {
    /// Root and working directory, while there still are descriptors to get there.
    pub(in crate::tasks::compile) fn directories(&mut self, at: ProcessIndex, process: &Process) {
        let Some(index) = process.fs else { return };
        let tasks = self.tasks;
        let context = &tasks.fs[index.at()];
        if context.first != at {
            return;
        }
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let namespace = process
            .mount_namespace
            .map(|ns| &self.mounts.namespaces[ns.at()]);
        let plain = namespace.is_some_and(|ns| {
            context.root.mount == ns.root && context.root.path == RelPath::root()
        });
        let mut removed = tasks.removed_working.iter();
        let removed = removed.find(|it| it.fs == index);
        let working = match removed {
            Some(removed) => {
                let number = self.numbers.unlinked(removed.directory);
                Some(self.reopen(at, number, flags))
            }
            None => self.open(at, process, &context.working, flags),
        };
        if !plain && let Some(root) = self.open(at, process, &context.root, flags) {
            self.enter(at, root.into());
            self.call(at, Call::new(libc::SYS_close).with(arguments![root]));
        }
        if let Some(working) = working {
            self.call(at, Call::new(libc::SYS_fchdir).with(arguments![working]));
            self.call(at, Call::new(libc::SYS_close).with(arguments![working]));
        }
        let umask = Call::new(libc::SYS_umask).with(arguments![context.umask & 0o777]);
        self.call(at, umask);
    }

    /// Makes a directory the root.
    pub(in crate::tasks::compile) fn enter(&mut self, at: ProcessIndex, directory: Argument) {
        let here = self.string(b".");
        self.call(at, Call::new(libc::SYS_fchdir).argument(0, directory));
        self.call(at, Call::new(libc::SYS_chroot).with(arguments![here]));
    }
}

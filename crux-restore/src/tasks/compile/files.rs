//! Open files: each description is opened once, by the nearest common ancestor of those who have it, at
//! a number that nobody uses; its descendants inherit it.
//!
//! Kind: pure.

use super::Compiler;
use crux_image::mounts::FileKind;
use crux_image::path::RelPath;
use crux_image::tasks::{
    FileAccess, FileFlags, FileIndex, FileOwner, Location, OpenFile, OpenTarget, OwnerKind,
    PipeEnd, PipeIndex, Process, ProcessIndex,
};
use crux_script::{Block, Call, LineId, arguments};

/// openat2(2): `RESOLVE_NO_MAGICLINKS|RESOLVE_NO_SYMLINKS|RESOLVE_IN_ROOT`. /proc shows no path with a symlink.
const RESOLVE: u64 = 0x02 | 0x04 | 0x10;

impl Compiler<'_> {
    pub(super) fn files(&mut self, at: ProcessIndex, process: &Process) {
        let tasks = self.tasks;
        if at.at() == 0 {
            // Numbers are given from the lowest: pipe2(2) tells its own in memory only.
            let close = Call::new(libc::SYS_close_range).with(arguments![
                0_u32,
                self.numbers.first - 1,
                0_u32
            ]);
            self.call(at, close);
        }
        let mut pipes: Vec<PipeIndex> = Vec::new();
        for (index, file) in tasks.files.iter().enumerate() {
            let index = FileIndex::from(index);
            if self.opener(index) != Some(at) {
                continue;
            }
            match &file.target {
                OpenTarget::Path { location, kind, .. } => {
                    self.open_path(at, process, index, file, location, *kind);
                }
                OpenTarget::Pipe(pipe, _) if pipes.contains(pipe) => {}
                OpenTarget::Pipe(pipe, _) => {
                    pipes.push(*pipe);
                    self.open_pipe(at, process, *pipe);
                }
                OpenTarget::Memory(memory) => self.open_memory(at, process, index, file, *memory),
                OpenTarget::External { .. } => {}
                OpenTarget::Unlinked(_) => {
                    self.refuse(
                        process,
                        "an open file that was removed cannot be restored yet",
                    );
                }
            }
        }
    }

    /// The process that opens a description: the last that all who have it descend from.
    /// A pipe is opened with both its ends.
    fn opener(&self, index: FileIndex) -> Option<ProcessIndex> {
        let tasks = self.tasks;
        let pipe = match tasks.files[index.at()].target {
            OpenTarget::Pipe(pipe, _) => Some(pipe),
            _ => None,
        };
        let is_it = |file: FileIndex| match (&tasks.files[file.at()].target, pipe) {
            (OpenTarget::Pipe(other, _), Some(pipe)) => *other == pipe,
            _ => file == index,
        };
        let mut found: Option<ProcessIndex> = None;
        for (at, process) in tasks.processes.iter().enumerate() {
            let Some(table) = process.descriptors else {
                continue;
            };
            let table = &tasks.descriptor_tables[table.at()];
            if table.descriptors.iter().any(|it| is_it(it.file)) {
                let at = ProcessIndex::from(at);
                found = Some(found.map_or(at, |before| self.lineage.ancestor(before, at)));
            }
        }
        found
    }

    /// Opens a place beneath the root of its namespace. None where that is an obstacle.
    pub(super) fn open(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        location: &Location,
        flags: i32,
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
            .block(Block::words(&[flags as u32 as u64, 0, RESOLVE]));
        let call = Call::new(libc::SYS_openat2).with(arguments![root, path, how, 24_u64]);
        Some(self.call(at, call))
    }

    /// Gives a descriptor the number at which it is found later.
    pub(super) fn keep(&mut self, at: ProcessIndex, fd: LineId, number: u32) {
        let call = Call::new(libc::SYS_dup3).with(arguments![fd, number, libc::O_CLOEXEC]);
        self.call(at, call);
        self.call(at, Call::new(libc::SYS_close).with(arguments![fd]));
    }

    fn open_path(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        index: FileIndex,
        file: &OpenFile,
        location: &Location,
        kind: FileKind,
    ) {
        if kind == FileKind::Fifo && file.access != FileAccess::Path {
            self.refuse(
                process,
                format!("the fifo \"{}\" cannot be opened yet", location.path),
            );
            return;
        }
        let flags = access(file.access) | flags(&file.flags) | libc::O_CLOEXEC | libc::O_NOCTTY;
        let Some(fd) = self.open(at, process, location, flags) else {
            return;
        };
        let seekable = matches!(kind, FileKind::Regular | FileKind::Directory);
        if file.position > 0 && seekable && file.access != FileAccess::Path {
            let call = Call::new(libc::SYS_lseek)
                .with(arguments![fd, file.position, libc::SEEK_SET])
                .exactly(file.position);
            self.call(at, call);
        }
        self.keep(at, fd, self.numbers.file(index));
    }

    fn open_memory(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        index: FileIndex,
        file: &OpenFile,
        memory: crux_image::tasks::SharedMemoryIndex,
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
            crux_image::tasks::SharedMemoryKind::Memfd { seals, .. } => *seals,
            _ => 0,
        };
        if seals != 0 && seals != libc::F_SEAL_SEAL as u32 {
            let call = Call::new(libc::SYS_fcntl).with(arguments![fd, libc::F_ADD_SEALS, seals]);
            self.call(at, call);
        }
    }

    /// Both ends, what is in it, and the flags of each end.
    fn open_pipe(&mut self, at: ProcessIndex, process: &Process, index: PipeIndex) {
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

    /// Root and working directory, while there still are descriptors to get there.
    pub(super) fn directories(&mut self, at: ProcessIndex, process: &Process) {
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
        let working = self.open(at, process, &context.working, flags);
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
    pub(super) fn enter(&mut self, at: ProcessIndex, directory: crux_script::Argument) {
        let here = self.string(b".");
        self.call(at, Call::new(libc::SYS_fchdir).argument(0, directory));
        self.call(at, Call::new(libc::SYS_chroot).with(arguments![here]));
    }

    /// Its own descriptors at their numbers; all others go.
    pub(super) fn descriptors(&mut self, at: ProcessIndex, process: &Process) {
        let Some(index) = process.descriptors else {
            return;
        };
        let tasks = self.tasks;
        self.owners(at, process);
        for descriptor in &tasks.descriptor_tables[index.at()].descriptors {
            let flags = match descriptor.close_on_exec {
                true => libc::O_CLOEXEC,
                false => 0,
            };
            let from = self.numbers.file(descriptor.file);
            let call = Call::new(libc::SYS_dup3).with(arguments![from, descriptor.number, flags]);
            self.call(at, call.exactly(descriptor.number.into()));
        }
        let rest = arguments![self.numbers.first, u32::MAX, 0_u32];
        self.call(at, Call::new(libc::SYS_close_range).with(rest));
    }
}

impl Compiler<'_> {
    /// Who hears of what happens to a file: set by who opened it, when all are there.
    fn owners(&mut self, at: ProcessIndex, process: &Process) {
        let tasks = self.tasks;
        for (index, file) in tasks.files.iter().enumerate() {
            let index = FileIndex::from(index);
            if file.owner.is_none() && !file.flags.async_io || self.opener(index) != Some(at) {
                continue;
            }
            if matches!(file.target, OpenTarget::External { .. }) {
                self.refuse(
                    process,
                    "a file of outside that tells of its changes cannot be restored yet",
                );
                continue;
            }
            let number = self.numbers.file(index);
            if let Some(owner) = &file.owner {
                self.owner(at, process, number, owner);
            }
            if file.flags.async_io {
                let flags = flags(&file.flags) | libc::O_ASYNC;
                let call =
                    Call::new(libc::SYS_fcntl).with(arguments![number, libc::F_SETFL, flags]);
                self.call(at, call);
            }
        }
    }

    fn owner(&mut self, at: ProcessIndex, process: &Process, number: u32, owner: &FileOwner) {
        const F_SETSIG: u32 = 10;
        const F_SETOWN_EX: u32 = 15;
        let leads = self
            .tasks
            .processes
            .iter()
            .any(|it| it.first_pid() == owner.id);
        let thread = owner.kind == OwnerKind::Thread;
        if process.pid_namespace.at() != 0 || thread && !leads {
            self.refuse(
                process,
                "a file that tells a thread of its changes cannot be restored yet",
            );
            return;
        }
        let kind: u32 = match owner.kind {
            OwnerKind::Thread => 0,
            OwnerKind::Process => 1,
            OwnerKind::Group => 2,
        };
        let block = self
            .arena
            .block(Block::words(&[u64::from(kind) | u64::from(owner.id) << 32]));
        let call = Call::new(libc::SYS_fcntl).with(arguments![number, F_SETOWN_EX, block]);
        self.call(at, call);
        if owner.signal != 0 {
            let call = Call::new(libc::SYS_fcntl).with(arguments![
                number,
                F_SETSIG,
                u32::from(owner.signal)
            ]);
            self.call(at, call);
        }
    }
}

fn access(access: FileAccess) -> i32 {
    match access {
        FileAccess::Read => libc::O_RDONLY,
        FileAccess::Write => libc::O_WRONLY,
        FileAccess::ReadWrite => libc::O_RDWR,
        FileAccess::Path => libc::O_PATH,
    }
}

fn flags(flags: &FileFlags) -> i32 {
    let bit = |set: bool, bit: i32| if set { bit } else { 0 };
    bit(flags.append, libc::O_APPEND)
        | bit(flags.nonblock, libc::O_NONBLOCK)
        | bit(flags.direct, libc::O_DIRECT)
        | bit(flags.dsync, libc::O_DSYNC)
        | bit(flags.sync, libc::O_SYNC)
        | bit(flags.noatime, libc::O_NOATIME)
        | bit(flags.directory, libc::O_DIRECTORY)
        | bit(flags.nofollow, libc::O_NOFOLLOW)
}

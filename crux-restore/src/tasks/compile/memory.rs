//! Memory: what stays of the parent's, what comes anew, and what is done to it last.
//!
//! Kind: pure.

use super::Compiler;
use super::ranges::Ranges;
use crux_image::tasks::{
    AddressSpace, Area, Backing, Location, PAGE_SIZE, PageRun, Process, ProcessIndex, Protection,
    SharedMemoryIndex, SharedMemoryKind, Sharing,
};
use crux_script::{Block, Call, LineId, arguments};
use std::collections::HashMap;
use std::ops::Range;

/// The end of a task's memory with four levels of page tables.
const TASK_END: u64 = (1 << 47) - PAGE_SIZE;

/// Descriptors of files that are mapped, opened once each.
type Opened = HashMap<(Location, bool), LineId>;

impl Compiler<'_> {
    pub(super) fn memory(&mut self, at: ProcessIndex, process: &Process) {
        let Some(index) = process.space else { return };
        let tasks = self.tasks;
        let space = &tasks.spaces[index.at()];
        let maker = self.lineage.maker(at);
        let above = maker.and_then(|it| tasks.processes[it.at()].space);
        let above = above.map(|it| &tasks.spaces[it.at()]);
        let inherited = above.map_or_else(Vec::new, |above| inherited(above, space));
        let kept = Ranges::new(inherited.iter().map(|it| it.range.clone()));
        self.unmap(at, &kept, above.is_some());
        self.map_vdso(at, process, space);
        if at.at() == 0 {
            self.shared_memory(at, process);
            self.make_unlinked(at, process);
            self.ipc_limits(at);
        }
        let mut opened = Opened::new();
        for area in &space.areas {
            let range = Ranges::one(area.start..area.end);
            for part in range.without(&kept).iter() {
                self.map(at, process, area, part, &mut opened);
            }
        }
        for Inherited {
            range,
            found,
            wanted,
        } in inherited
        {
            if found != wanted {
                self.protect(at, range, wanted);
            }
        }
        if let Some(above) = above {
            self.drop_pages(at, above, space, &kept);
        }
        let kept = match maker == process.parent {
            true => kept,
            false => Ranges::default(),
        };
        let runs = super::origins::runs(tasks, at, &kept);
        self.read_pages(at, runs.iter());
        for (_, fd) in opened {
            self.call(at, Call::new(libc::SYS_close).with(arguments![fd]));
        }
    }

    /// Everything goes that is not kept: the arena, and shared memory on its way.
    fn unmap(&mut self, at: ProcessIndex, kept: &Ranges, has_parking: bool) {
        let end = match has_parking {
            true => self.parked_end(),
            false => self.numbers.arena_end(),
        };
        let ours = self.numbers.base..end;
        let stays = Ranges::new(kept.iter().chain([ours]));
        for gap in stays.gaps(0..TASK_END) {
            let length = gap.end - gap.start;
            let call = Call::new(libc::SYS_munmap).with(arguments![gap.start, length]);
            self.call(at, call);
        }
    }

    fn parked_end(&self) -> u64 {
        let objects = self.tasks.shared_memory.iter().enumerate();
        let ends = objects.map(|(at, memory)| {
            self.numbers.parking(at.into()) + memory.size.next_multiple_of(PAGE_SIZE)
        });
        ends.max().unwrap_or(0).max(self.numbers.arena_end())
    }

    /// The vDSO at its old address: it was linked into pointers all over the program.
    fn map_vdso(&mut self, at: ProcessIndex, process: &Process, space: &AddressSpace) {
        let Some(vdso) = &space.vdso else { return };
        if vdso.bytes != self.machine.vdso {
            let what =
                "it was linked against the vDSO of another kernel, which cannot be given to it yet";
            self.refuse(process, what);
            return;
        }
        let kernels = |area: &&Area| is_kernels(area);
        let first = space.areas.iter().find(kernels).map(|area| area.start);
        let address = first.unwrap_or(vdso.address);
        const ARCH_MAP_VDSO_64: u64 = 0x2003;
        let call = Call::new(libc::SYS_arch_prctl).with(arguments![ARCH_MAP_VDSO_64, address]);
        self.call(at, call);
    }

    fn map(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        area: &Area,
        part: Range<u64>,
        opened: &mut Opened,
    ) {
        let length = part.end - part.start;
        let offset = area.offset + (part.start - area.start);
        let protection = bits(filled(area));
        let flags = flags(area);
        let mmap = |fd: crux_script::Argument, extra: i32| {
            Call::new(libc::SYS_mmap)
                .with(arguments![part.start, length, protection, flags | extra])
                .argument(4, fd)
                .argument(5, offset)
                .exactly(part.start)
        };
        match &area.backing {
            Backing::Anonymous => {
                let call = mmap((-1_i32).into(), libc::MAP_ANONYMOUS).argument(5, 0_u64);
                self.call(at, call);
            }
            Backing::File {
                location,
                unlinked: None,
                writable,
            } => {
                if let Some(fd) = self.open_mapped(at, process, location, *writable, opened) {
                    self.call(at, mmap(fd.into(), 0));
                }
            }
            Backing::SharedMemory(index)
                if area.sharing == Sharing::Shared && self.is_read_only(*index) =>
            {
                let number = self.numbers.memory(*index);
                let fd = self.reopen(at, number, libc::O_RDONLY | libc::O_CLOEXEC);
                self.call(at, mmap(fd.into(), 0));
                self.call(at, Call::new(libc::SYS_close).with(arguments![fd]));
            }
            Backing::SharedMemory(index) if area.sharing == Sharing::Shared => {
                self.map_shared(at, *index, area, part);
            }
            Backing::SharedMemory(index) => match self.tasks.shared_memory[index.at()].kind {
                SharedMemoryKind::Memfd { .. } => {
                    let fd = self.numbers.memory(*index);
                    self.call(at, mmap(fd.into(), 0));
                }
                _ => self.refuse(process, "it has a private mapping of shared memory"),
            },
            Backing::Vdso | Backing::Vvar | Backing::VvarClock => {}
            Backing::File {
                unlinked: Some(index),
                writable,
                ..
            } => {
                let number = self.numbers.unlinked(*index);
                if !*writable {
                    self.call(at, mmap(number.into(), 0));
                    return;
                }
                let fd = self.reopen(at, number, libc::O_RDWR | libc::O_CLOEXEC);
                self.call(at, mmap(fd.into(), 0));
                self.call(at, Call::new(libc::SYS_close).with(arguments![fd]));
            }
            Backing::Device(_) => self.refuse(
                process,
                format!(
                    "the mapping at {:#x} is of a device, which cannot be restored yet",
                    area.start
                ),
            ),
        }
    }

    /// Whether nobody may write to it any more: it cannot be sealed where somebody has it mapped so that he could.
    fn is_read_only(&self, index: SharedMemoryIndex) -> bool {
        matches!(
            self.tasks.shared_memory[index.at()].kind,
            SharedMemoryKind::Memfd { seals, .. } if seals & libc::F_SEAL_WRITE as u32 != 0
        )
    }

    fn open_mapped(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        location: &Location,
        writable: bool,
        opened: &mut Opened,
    ) -> Option<LineId> {
        let key = (location.clone(), writable);
        if let Some(fd) = opened.get(&key) {
            return Some(*fd);
        }
        let flags = match writable {
            true => libc::O_RDWR,
            false => libc::O_RDONLY,
        };
        let fd = self.open(at, process, location, flags | libc::O_CLOEXEC)?;
        opened.insert(key, fd);
        Some(fd)
    }

    /// mremap(2) of length 0 maps once more what is mapped shared.
    fn map_shared(
        &mut self,
        at: ProcessIndex,
        index: SharedMemoryIndex,
        area: &Area,
        part: Range<u64>,
    ) {
        let from = self.numbers.parking(index) + area.offset + (part.start - area.start);
        let length = part.end - part.start;
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        let call = Call::new(libc::SYS_mremap)
            .with(arguments![from, 0_u64, length, flags, part.start])
            .exactly(part.start);
        self.call(at, call);
        if area.protection != READ_WRITE {
            self.protect(at, part, area.protection);
        }
    }

    /// The first process makes all shared memory and fills it; others have it from there.
    fn shared_memory(&mut self, at: ProcessIndex, process: &Process) {
        let tasks = self.tasks;
        for (index, memory) in tasks.shared_memory.iter().enumerate() {
            let index = SharedMemoryIndex::from(index);
            let address = self.numbers.parking(index);
            let length = memory.size.next_multiple_of(PAGE_SIZE);
            let protection = bits(READ_WRITE);
            let (fd, extra): (crux_script::Argument, i32) = match &memory.kind {
                SharedMemoryKind::Anonymous => ((-1_i32).into(), libc::MAP_ANONYMOUS),
                SharedMemoryKind::Memfd {
                    name,
                    seals,
                    huge_page_size: 0,
                    ..
                } => (self.memfd(at, index, name, *seals, memory.size).into(), 0),
                SharedMemoryKind::Memfd { .. } => {
                    self.refuse(
                        process,
                        "shared memory of huge pages cannot be restored yet",
                    );
                    continue;
                }
                SharedMemoryKind::SystemV { .. } => {
                    self.segment(at, process, index);
                    continue;
                }
            };
            if length == 0 {
                continue;
            }
            let flags = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE | extra;
            let call = Call::new(libc::SYS_mmap)
                .with(arguments![address, length, protection, flags])
                .argument(4, fd)
                .exactly(address);
            self.call(at, call);
            self.fill(at, index);
        }
    }

    /// Reads the pages of shared memory that is mapped where it is filled.
    pub(super) fn fill(&mut self, at: ProcessIndex, index: SharedMemoryIndex) {
        let tasks = self.tasks;
        let memory = &tasks.shared_memory[index.at()];
        let address = self.numbers.parking(index);
        let moved: Vec<PageRun> = memory
            .pages
            .iter()
            .map(|run| PageRun {
                start: address + run.start,
                ..*run
            })
            .collect();
        self.read_pages(at, moved.iter());
    }

    fn memfd(
        &mut self,
        at: ProcessIndex,
        index: SharedMemoryIndex,
        name: &[u8],
        seals: u32,
        size: u64,
    ) -> u32 {
        let number = self.numbers.memory(index);
        let name = self.string(name);
        // One that was made without MFD_ALLOW_SEALING has this seal alone.
        let flags = match seals == libc::F_SEAL_SEAL as u32 {
            true => libc::MFD_CLOEXEC,
            false => libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING,
        };
        let made = self.call(
            at,
            Call::new(libc::SYS_memfd_create).with(arguments![name, flags]),
        );
        let size = Call::new(libc::SYS_ftruncate).with(arguments![made, size]);
        self.call(at, size);
        self.keep(at, made, number);
        number
    }

    /// What the parent has there and the process has not.
    fn drop_pages(
        &mut self,
        at: ProcessIndex,
        above: &AddressSpace,
        space: &AddressSpace,
        kept: &Ranges,
    ) {
        let populated = |space: &AddressSpace| {
            let runs = space.areas.iter().flat_map(|area| &area.pages);
            Ranges::new(runs.map(|run| run.start..run.start + run.count * PAGE_SIZE))
        };
        let surplus = populated(above).without(&populated(space)).common(kept);
        for range in surplus.iter() {
            let length = range.end - range.start;
            let call = Call::new(libc::SYS_madvise).with(arguments![
                range.start,
                length,
                libc::MADV_DONTNEED
            ]);
            self.call(at, call);
        }
    }

    /// What would be in the way of filling memory, or of children.
    pub(super) fn last_of_memory(&mut self, at: ProcessIndex, process: &Process) {
        let Some(index) = process.space else { return };
        let tasks = self.tasks;
        let space = &tasks.spaces[index.at()];
        for area in space.areas.iter().filter(|area| !is_kernels(area)) {
            let range = area.start..area.end;
            if has_data(area) && writable(area.protection) != area.protection {
                self.protect(at, range.clone(), area.protection);
            }
            self.advise(at, area);
            if let Some(name) = &area.name {
                self.name(at, range, name);
            }
        }
        self.layout(at, process, space);
        let parked = self.parked_end();
        let from = self.numbers.arena_end();
        if parked > from {
            let call = Call::new(libc::SYS_munmap).with(arguments![from, parked - from]);
            self.call(at, call);
        }
    }

    fn advise(&mut self, at: ProcessIndex, area: &Area) {
        let flags = &area.flags;
        let length = area.end - area.start;
        for (wanted, advice) in [
            (flags.huge_page, libc::MADV_HUGEPAGE),
            (flags.no_huge_page, libc::MADV_NOHUGEPAGE),
            (flags.dont_fork, libc::MADV_DONTFORK),
            (flags.dont_dump, libc::MADV_DONTDUMP),
            (flags.wipe_on_fork, libc::MADV_WIPEONFORK),
            (flags.mergeable, libc::MADV_MERGEABLE),
            (flags.sequential, libc::MADV_SEQUENTIAL),
            (flags.random, libc::MADV_RANDOM),
        ] {
            if wanted {
                let call =
                    Call::new(libc::SYS_madvise).with(arguments![area.start, length, advice]);
                self.call(at, call);
            }
        }
        if flags.locked {
            let on_fault = u64::from(flags.lock_on_fault);
            let call = Call::new(libc::SYS_mlock2).with(arguments![area.start, length, on_fault]);
            self.call(at, call);
        }
    }

    fn name(&mut self, at: ProcessIndex, range: Range<u64>, name: &[u8]) {
        const PR_SET_VMA: u64 = 0x5356_4d41;
        let length = range.end - range.start;
        let name = self.string(name);
        let call = Call::new(libc::SYS_prctl)
            .with(arguments![PR_SET_VMA, 0_u64, range.start, length, name])
            // A kernel without CONFIG_ANON_VMA_NAME has no names.
            .expect(crux_script::Expect::SuccessOr(crux_script::Errno(22)));
        self.call(at, call);
    }

    /// `struct prctl_mm_map`. The program's file comes by its descriptor.
    fn layout(&mut self, at: ProcessIndex, process: &Process, space: &AddressSpace) {
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        let exe = match space.exe_unlinked {
            Some(index) => Some(self.reopen(at, self.numbers.unlinked(index), flags)),
            None => self.open(at, process, &space.exe, flags),
        };
        let Some(exe) = exe else { return };
        let layout = &space.layout;
        let auxv = self.bytes(space.auxv.clone());
        let words = [
            layout.start_code,
            layout.end_code,
            layout.start_data,
            layout.end_data,
            layout.start_brk,
            layout.brk,
            layout.start_stack,
            layout.arg_start,
            layout.arg_end,
            layout.env_start,
            layout.env_end,
        ];
        let map = Block::words(&words).then_pointer(auxv.at(0));
        let map = map.then(&[space.auxv.len() as u64]);
        let map = self.arena.block(map);
        // The descriptor is known when the script runs: it is copied into its member.
        let copy = Call::new(libc::SYS_fcntl).with(arguments![
            exe,
            libc::F_DUPFD_CLOEXEC,
            self.numbers.first
        ]);
        let copy = self.call(at, copy.copy_to(map.at(100)));
        let (option, member) = (libc::PR_SET_MM, libc::PR_SET_MM_MAP);
        let call = Call::new(libc::SYS_prctl).with(arguments![option, member, map, 104_u64]);
        self.call(at, call);
        for fd in [exe, copy] {
            self.call(at, Call::new(libc::SYS_close).with(arguments![fd]));
        }
    }

    fn protect(&mut self, at: ProcessIndex, range: Range<u64>, protection: Protection) {
        let length = range.end - range.start;
        let call =
            Call::new(libc::SYS_mprotect).with(arguments![range.start, length, bits(protection)]);
        self.call(at, call);
    }
}

const READ_WRITE: Protection = Protection {
    read: true,
    write: true,
    execute: false,
};

fn is_kernels(area: &Area) -> bool {
    matches!(
        area.backing,
        Backing::Vdso | Backing::Vvar | Backing::VvarClock
    )
}

/// Whether pages may have to be read into it.
fn has_data(area: &Area) -> bool {
    !area.pages.is_empty()
}

/// What stays of the parent's memory.
struct Inherited {
    range: Range<u64>,
    /// As the parent has it while its children are made.
    found: Protection,
    /// As the process is to have it while its pages are read.
    wanted: Protection,
}

/// What the parent has mapped just as the process has: there it stays.
fn inherited(above: &AddressSpace, space: &AddressSpace) -> Vec<Inherited> {
    let mut kept = Vec::new();
    for area in space.areas.iter().filter(|area| !is_kernels(area)) {
        let first = above.areas.partition_point(|it| it.end <= area.start);
        let others = above.areas[first..].iter();
        for other in others.take_while(|it| it.start < area.end) {
            if is_same(other, area) {
                kept.push(Inherited {
                    range: area.start.max(other.start)..area.end.min(other.end),
                    found: filled(other),
                    wanted: filled(area),
                });
            }
        }
    }
    kept
}

/// The protection with which pages can be read into an area.
fn filled(area: &Area) -> Protection {
    match has_data(area) {
        true => writable(area.protection),
        false => area.protection,
    }
}

fn is_same(one: &Area, two: &Area) -> bool {
    let by_offset = match one.backing {
        Backing::Anonymous => true,
        _ => one.offset.wrapping_sub(one.start) == two.offset.wrapping_sub(two.start),
    };
    by_offset
        && !one.flags.dont_fork
        && !one.flags.wipe_on_fork
        && one.backing == two.backing
        && one.sharing == two.sharing
        && one.flags.grows_down == two.flags.grows_down
        && one.flags.huge_page_size == two.flags.huge_page_size
        && one.flags.no_reserve == two.flags.no_reserve
}

fn writable(protection: Protection) -> Protection {
    Protection {
        read: true,
        write: true,
        ..protection
    }
}

fn bits(protection: Protection) -> i32 {
    let bit = |set: bool, bit: i32| if set { bit } else { 0 };
    bit(protection.read, libc::PROT_READ)
        | bit(protection.write, libc::PROT_WRITE)
        | bit(protection.execute, libc::PROT_EXEC)
}

fn flags(area: &Area) -> i32 {
    let mut flags = libc::MAP_FIXED_NOREPLACE;
    flags |= match area.sharing {
        Sharing::Private => libc::MAP_PRIVATE,
        Sharing::Shared => libc::MAP_SHARED,
    };
    if area.flags.grows_down {
        // Not MAP_STACK: newer kernels give such memory no huge pages.
        flags |= libc::MAP_GROWSDOWN;
    }
    if area.flags.no_reserve {
        flags |= libc::MAP_NORESERVE;
    }
    if area.flags.huge_page_size > 0 {
        // The size as a power of two, from bit 26 (mmap(2), MAP_HUGE_SHIFT).
        let power = area.flags.huge_page_size.trailing_zeros() as i32;
        flags |= libc::MAP_HUGETLB | power << libc::MAP_HUGE_SHIFT;
    }
    flags
}

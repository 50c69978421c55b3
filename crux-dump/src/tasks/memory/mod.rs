//! Memory: address spaces, their areas, and the pages that only they have.
//!
//! Kind: effect. The pages go straight to `pages.raw`; what is kept here is bounded by the number
//! of mappings and runs, not by the memory of the tasks.
//!
//! `smaps` (pure) is what the kernel says of mappings, `areas` what they show, `scan` which pages are
//! their own, `pages` copies them, `layout` is the rest of an address space.

mod areas;
mod error;
mod layout;
mod pages;
mod scan;
mod smaps;
mod sys;

pub use error::MemoryError;
pub use pages::PagesWriter;

pub(super) use areas::{complete, memfd};
pub(super) use pages::{CHUNK, Zeros, pieces};

use super::objects::Objects;
use super::removed::{DELETED, home, other_name};
use super::{Part, Places, Target, TaskCause, TaskObstacle};
use areas::Looker;
use crux_image::mounts::NamespaceIndex;
use crux_image::tasks::{
    AddressSpace, Area, Backing, Location, PAGE_SIZE, PageRun, PageSource, Sharing, UnlinkedIndex,
    VdsoImage,
};
use crux_mount::sys::SysError;
use pages::{Memory, join};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use scan::Pagemap;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::os::fd::AsFd as _;

/// An address space that was captured, and what the children of its processes are compared with.
#[derive(Debug)]
pub struct Space {
    /// The record.
    pub record: AddressSpace,
    memory: Memory,
    own: Vec<Range<u64>>,
}

/// What is known of a process before its memory is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The mount namespace that it is in.
    pub namespace: Option<NamespaceIndex>,
    /// What brk(2) said.
    pub brk: u64,
    /// The address space of its parent, if it has another one and that was captured.
    pub parent: Option<&'a Space>,
}

/// Captures the address space of one process. None where there is an obstacle.
pub fn capture(
    target: &Target,
    known: Known<'_>,
    places: &Places,
    objects: &mut Objects,
    obstacles: &mut Vec<TaskObstacle>,
) -> Result<Option<Space>, MemoryError> {
    let pid = target.pid;
    let failed = |error| MemoryError::Process { pid, error };
    let text = read(target, "smaps").map_err(failed)?;
    let mappings = smaps::parse(&text).map_err(|line| MemoryError::Mappings { pid, line })?;
    let before = obstacles.len();
    let exe = exe(target, places, objects, obstacles)?;
    let mut looker = Looker::new(target, known.namespace, places, objects, obstacles);
    let mut found = Vec::with_capacity(mappings.len());
    for mapping in &mappings {
        found.extend(looker.area(mapping)?);
    }
    let Some((exe, exe_unlinked)) = exe.filter(|_| obstacles.len() == before) else {
        return Ok(None);
    };
    let mut memory = Memory::new(pid, open(target, "mem").map_err(failed)?);
    let whole = found.first().zip(found.last());
    let whole = whole.map_or(0..0, |(first, last)| first.start..last.end);
    let mut pagemap = Pagemap::new(open(target, "pagemap").map_err(failed)?, whole);
    let (mut own, mut buffer) = (Vec::new(), Vec::new());
    let mut wanted = Vec::new();
    for area in &found {
        match area.backing {
            Backing::Vdso => wanted.push(area.start..area.end),
            _ if has_pages(area) => {
                let ranges = pagemap.own(area.start..area.end).map_err(failed)?;
                wanted.extend(ranges);
            }
            _ => {}
        }
    }
    memory.gather(&wanted);
    for area in found.iter_mut().filter(|area| has_pages(area)) {
        let ranges = scan::within(&wanted, &(area.start..area.end));
        copy(&memory, area, &ranges, known.parent, objects, &mut buffer)?;
        own.extend(ranges);
    }
    let record = AddressSpace {
        layout: layout::layout(target, known.brk).map_err(failed)?,
        auxv: read(target, "auxv").map_err(failed)?,
        exe,
        exe_unlinked,
        vdso: vdso(&memory, &found)?,
        areas: found,
    };
    Ok(Some(Space {
        record,
        memory,
        own,
    }))
}

/// What is mapped shared is recorded with the object, and the vDSO by itself.
fn has_pages(area: &Area) -> bool {
    let kernels = matches!(
        area.backing,
        Backing::Vdso | Backing::Vvar | Backing::VvarClock
    );
    area.sharing == Sharing::Private && !kernels
}

fn copy(
    memory: &Memory,
    area: &mut Area,
    ranges: &[Range<u64>],
    parent: Option<&Space>,
    objects: &mut Objects,
    buffer: &mut Vec<u8>,
) -> Result<(), MemoryError> {
    let zeros = match area.backing {
        Backing::Anonymous => Zeros::LeaveOut,
        _ => Zeros::Keep,
    };
    for piece in ranges.iter().cloned().flat_map(pieces) {
        let length = (piece.end - piece.start) as usize;
        // It grows to what is needed: most processes have little.
        buffer.resize(buffer.len().max(length), 0);
        let bytes = &mut buffer[..length];
        memory.read(piece.start, bytes)?;
        let shared = parent.map_or(Ok(Vec::new()), |parent| parent.same(&piece, bytes, zeros))?;
        let mut at = piece.start;
        for run in shared {
            let before = &bytes[(at - piece.start) as usize..(run.start - piece.start) as usize];
            objects.pages.append(at, before, zeros, &mut area.pages)?;
            join(
                &mut area.pages,
                PageRun {
                    start: run.start,
                    count: (run.end - run.start) / PAGE_SIZE,
                    source: PageSource::Parent,
                },
            );
            at = run.end;
        }
        let rest = &bytes[(at - piece.start) as usize..];
        objects.pages.append(at, rest, zeros, &mut area.pages)?;
    }
    Ok(())
}

impl Space {
    /// Bytes of the process's memory that are kept for comparing.
    pub(super) fn kept(&self) -> usize {
        self.memory.kept()
    }

    /// Keeps none any more: they are read again where somebody asks.
    pub(super) fn forget(&mut self) {
        self.memory.forget();
    }

    /// The parts of `piece` that a child has from this space: the same bytes at the same addresses, in
    /// pages of its own. Whether the pages are the same in memory does not matter to anybody who
    /// reads or writes them, only that they may be.
    fn same(
        &self,
        piece: &Range<u64>,
        bytes: &[u8],
        zeros: Zeros,
    ) -> Result<Vec<Range<u64>>, MemoryError> {
        let mut found: Vec<Range<u64>> = Vec::new();
        let mut theirs = vec![0; bytes.len()];
        let first = self.own.partition_point(|range| range.end <= piece.start);
        for range in self.own[first..]
            .iter()
            .take_while(|range| range.start < piece.end)
        {
            let common = range.start.max(piece.start)..range.end.min(piece.end);
            if !self.is_private(&common) {
                continue;
            }
            let part = (common.start - piece.start) as usize..(common.end - piece.start) as usize;
            self.memory.read(common.start, &mut theirs[part.clone()])?;
            for at in part.step_by(PAGE_SIZE as usize) {
                let page = at..at + PAGE_SIZE as usize;
                let zero = zeros == Zeros::LeaveOut && bytes[page.clone()].iter().all(|b| *b == 0);
                if zero || bytes[page.clone()] != theirs[page.clone()] {
                    continue;
                }
                let start = piece.start + page.start as u64;
                match found.last_mut() {
                    Some(last) if last.end == start => last.end += PAGE_SIZE,
                    _ => found.push(start..start + PAGE_SIZE),
                }
            }
        }
        Ok(found)
    }

    /// Whether one private area that is inherited covers the range.
    fn is_private(&self, range: &Range<u64>) -> bool {
        let areas = &self.record.areas;
        let after = areas.partition_point(|area| area.start <= range.start);
        let area = after.checked_sub(1).map(|at| &areas[at]);
        area.is_some_and(|area| {
            let kept = !area.flags.dont_fork && !area.flags.wipe_on_fork;
            kept && area.sharing == Sharing::Private && range.end <= area.end
        })
    }
}

/// The program, and what it is if it has no name any more. `exe` is a magic link: it leads to the file itself.
fn exe(
    target: &Target,
    places: &Places,
    objects: &mut Objects,
    obstacles: &mut Vec<TaskObstacle>,
) -> Result<Option<(Location, Option<UnlinkedIndex>)>, MemoryError> {
    let pid = target.pid;
    let failed = |call: &str| {
        let call = call.to_owned();
        move |errno| MemoryError::Process {
            pid,
            error: SysError::new(call, errno),
        }
    };
    let directory = target.directory.as_fd();
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let opened = openat(directory, "exe", flags, Mode::empty()).map_err(failed("openat(exe)"))?;
    let path = rustix::fs::readlinkat(directory, "exe", Vec::new());
    let path = path.map_err(failed("readlinkat(exe)"))?.into_bytes();
    let mount = crux_mount::sys::statx(&opened);
    let mount = mount
        .map_err(|error| MemoryError::Process { pid, error })?
        .mount;
    let stat = rustix::fs::fstat(&opened).map_err(failed("fstat(exe)"))?;
    let stripped = path.strip_suffix(DELETED);
    let cause = match stripped {
        _ if !places.has(mount) => TaskCause::Outside(path),
        Some(stripped) if stat.st_nlink == 0 => {
            let home = home(target, places, mount, stripped);
            if let (Some(home), Some(location)) = (home, places.locate(mount, stripped)) {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let file = openat(directory, "exe", flags, Mode::empty());
                let file = File::from(file.map_err(failed("openat(exe)"))?);
                return Ok(Some((location, Some(objects.unlinked(&file, home)?))));
            }
            TaskCause::Unplaced(path)
        }
        _ => {
            let found = match stripped {
                Some(stripped) => other_name(target, mount, stripped, stat.st_ino),
                None => Some(path.clone()),
            };
            match found.and_then(|path| places.locate(mount, &path)) {
                Some(location) => return Ok(Some((location, None))),
                None => TaskCause::Unplaced(path),
            }
        }
    };
    let part = Part::Program;
    obstacles.push(TaskObstacle { pid, part, cause });
    Ok(None)
}

fn vdso(memory: &Memory, areas: &[Area]) -> Result<Option<VdsoImage>, MemoryError> {
    let Some(area) = areas.iter().find(|area| area.backing == Backing::Vdso) else {
        return Ok(None);
    };
    let mut bytes = vec![0; (area.end - area.start) as usize];
    memory.read(area.start, &mut bytes)?;
    Ok(Some(VdsoImage {
        address: area.start,
        bytes,
    }))
}

fn open(target: &Target, name: &'static str) -> Result<File, SysError> {
    crux_mount::sys::open_process_file(target.directory.as_fd(), name)
}

fn read(target: &Target, name: &'static str) -> Result<Vec<u8>, SysError> {
    // The kernel's own limit of mappings, 2^16 by default, times what smaps says of one.
    const LIMIT: u64 = 1 << 30;
    let mut bytes = Vec::with_capacity(64 << 10);
    let read = open(target, name)?.take(LIMIT).read_to_end(&mut bytes);
    read.map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        SysError::new(format!("read({name:?})"), errno)
    })?;
    Ok(bytes)
}

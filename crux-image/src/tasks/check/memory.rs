//! Address spaces, areas and pages.
//!
//! Kind: pure.

use super::files::location;
use super::{TasksError, TasksPlace, TasksRule, at_most, in_range};
use crate::mounts::Mounts;
use crate::tasks::{
    AddressSpace, Area, Backing, PAGE_SIZE, PageRun, PageSource, SharedMemory, SharedMemoryKind,
    Sharing, Tasks,
};

/// `TASK_SIZE_MAX` with five levels of page tables.
const USER_END: u64 = (1 << 56) - PAGE_SIZE;
/// mmap_count: `vm.max_map_count` is a 32 bit number; nobody has as many.
const AREA_LIMIT: usize = 1 << 22;
const RUN_LIMIT: usize = 1 << 24;
const VDSO_LIMIT: usize = 64 << 10;
const AUXV_LIMIT: usize = 4 << 10;
const NAME_LIMIT: usize = 255;

pub(super) fn check(tasks: &Tasks, mounts: &Mounts) -> Result<(), TasksError> {
    for (at, space) in tasks.spaces.iter().enumerate() {
        let fail = |rule: TasksRule| rule.at(TasksPlace::Space(at));
        check_space(tasks, mounts, space).map_err(fail)?;
        let mut end = 0;
        for (number, area) in space.areas.iter().enumerate() {
            let fail = |rule: TasksRule| rule.at(TasksPlace::Area(at, number));
            if area.start < end {
                return Err(fail(TasksRule::AreaOrder));
            }
            end = area.end;
            check_area(tasks, mounts, area).map_err(fail)?;
        }
    }
    for (at, memory) in tasks.shared_memory.iter().enumerate() {
        check_shared(memory).map_err(|rule| rule.at(TasksPlace::SharedMemory(at)))?;
    }
    parents_have_pages(tasks)
}

fn check_space(tasks: &Tasks, mounts: &Mounts, space: &AddressSpace) -> Result<(), TasksRule> {
    at_most("areas", space.areas.len(), AREA_LIMIT)?;
    at_most("bytes of an auxiliary vector", space.auxv.len(), AUXV_LIMIT)?;
    location(mounts, &space.exe)?;
    unlinked(tasks, space.exe_unlinked.map(|it| it.at()))?;
    match &space.vdso {
        Some(vdso) => at_most("bytes of a vDSO", vdso.bytes.len(), VDSO_LIMIT),
        None => Ok(()),
    }
}

fn unlinked(tasks: &Tasks, index: Option<usize>) -> Result<(), TasksRule> {
    let count = tasks.unlinked.len();
    index.map_or(Ok(()), |index| in_range("unlinked file", index, count))
}

fn check_area(tasks: &Tasks, mounts: &Mounts, area: &Area) -> Result<(), TasksRule> {
    let whole = [area.start, area.end, area.offset]
        .iter()
        .all(|it| it.is_multiple_of(PAGE_SIZE));
    if area.start >= area.end || area.end > USER_END || !whole {
        return Err(TasksRule::AreaRange);
    }
    match &area.backing {
        Backing::File {
            location: place,
            unlinked: index,
            ..
        } => {
            location(mounts, place)?;
            unlinked(tasks, index.map(|it| it.at()))?;
        }
        Backing::SharedMemory(index) => {
            in_range("shared memory", index.at(), tasks.shared_memory.len())?;
        }
        Backing::Device(index) => in_range("open file", index.at(), tasks.files.len())?,
        Backing::Anonymous | Backing::Vdso | Backing::Vvar | Backing::VvarClock => {}
    }
    if let Some(name) = &area.name {
        is_text(name)?;
    }
    if area.sharing == Sharing::Shared && !area.pages.is_empty() {
        return Err(TasksRule::SharedPages);
    }
    runs(&area.pages, area.start, area.end)
}

fn is_text(name: &[u8]) -> Result<(), TasksRule> {
    at_most("bytes of a name", name.len(), NAME_LIMIT)?;
    match name.contains(&0) {
        true => Err(TasksRule::Name),
        false => Ok(()),
    }
}

fn check_shared(memory: &SharedMemory) -> Result<(), TasksRule> {
    if let SharedMemoryKind::Memfd { name, .. } = &memory.kind {
        is_text(name)?;
    }
    let data = |run: &PageRun| matches!(run.source, PageSource::Data(_));
    if !memory.pages.iter().all(data) {
        return Err(TasksRule::NoParentPages);
    }
    if memory.size > i64::MAX as u64 - PAGE_SIZE {
        return Err(TasksRule::AreaRange);
    }
    runs(&memory.pages, 0, memory.size.next_multiple_of(PAGE_SIZE))
}

pub(super) fn runs(pages: &[PageRun], start: u64, end: u64) -> Result<(), TasksRule> {
    at_most("runs of pages", pages.len(), RUN_LIMIT)?;
    let mut next = start;
    for run in pages {
        let behind = run
            .count
            .checked_mul(PAGE_SIZE)
            .and_then(|size| run.start.checked_add(size));
        let behind = behind.ok_or(TasksRule::Pages)?;
        let whole = run.start.is_multiple_of(PAGE_SIZE) && run.count > 0;
        if run.start < next || behind > end || !whole {
            return Err(TasksRule::Pages);
        }
        next = behind;
        if let PageSource::Data(offset) = run.source {
            let last = offset.checked_add(behind - run.start);
            let fits = last.is_some_and(|last| last <= i64::MAX as u64);
            if !fits || !offset.is_multiple_of(PAGE_SIZE) {
                return Err(TasksRule::PageOffset);
            }
        }
    }
    Ok(())
}

/// Pages of the parent process: it has memory of its own, with private pages at these addresses.
fn parents_have_pages(tasks: &Tasks) -> Result<(), TasksError> {
    for process in &tasks.processes {
        let Some(index) = process.space else { continue };
        let parent = process
            .parent
            .and_then(|parent| tasks.processes[parent.at()].space);
        let above = parent
            .filter(|parent| *parent != index)
            .map(|parent| &tasks.spaces[parent.at()]);
        for (number, area) in tasks.spaces[index.at()].areas.iter().enumerate() {
            let mut wanted = area
                .pages
                .iter()
                .filter(|run| run.source == PageSource::Parent);
            if !wanted.all(|run| above.is_some_and(|above| has(above, run))) {
                let place = TasksPlace::Area(index.at(), number);
                return Err(TasksRule::NoParentPages.at(place));
            }
        }
    }
    Ok(())
}

/// Whether one private area covers the run.
fn has(space: &AddressSpace, run: &PageRun) -> bool {
    let after = space.areas.partition_point(|area| area.start <= run.start);
    let area = after.checked_sub(1).map(|at| &space.areas[at]);
    area.is_some_and(|area| {
        area.sharing == Sharing::Private && run.start + run.count * PAGE_SIZE <= area.end
    })
}

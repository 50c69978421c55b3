//! Where the contents of a process's pages come from.
//!
//! Kind: pure. Pages that a process shares with its parent come with its birth, if its maker has them at that
//! place; otherwise they are read from where the parent's are.

use super::ranges::Ranges;
use crux_image::tasks::{PAGE_SIZE, PageRun, PageSource, ProcessIndex, Tasks};
use std::ops::Range;

/// All runs of a process that have to be read: its own, and those of its parent outside of `kept`,
/// which its maker leaves it.
pub(super) fn runs(tasks: &Tasks, at: ProcessIndex, kept: &Ranges) -> Vec<PageRun> {
    let mut found = Vec::new();
    let mut open: Vec<(ProcessIndex, Range<u64>)> = Vec::new();
    for run in populated(tasks, at) {
        match run.source {
            PageSource::Data(_) => found.push(*run),
            PageSource::Parent => {
                let missing = Ranges::one(addresses(run)).without(kept);
                let parent = tasks.processes[at.at()].parent;
                let missing = missing.iter().map(|range| (parent, range));
                open.extend(missing.filter_map(|(parent, range)| Some((parent?, range))));
            }
        }
    }
    // Each step goes to a parent, of which there are only so many.
    while let Some((above, range)) = open.pop() {
        for run in populated(tasks, above) {
            let whole = addresses(run);
            let part = range.start.max(whole.start)..range.end.min(whole.end);
            if part.is_empty() {
                continue;
            }
            match (run.source, tasks.processes[above.at()].parent) {
                (PageSource::Data(offset), _) => found.push(PageRun {
                    start: part.start,
                    count: (part.end - part.start) / PAGE_SIZE,
                    source: PageSource::Data(offset + (part.start - whole.start)),
                }),
                (PageSource::Parent, Some(parent)) => open.push((parent, part)),
                (PageSource::Parent, None) => {}
            }
        }
    }
    found
}

fn populated(tasks: &Tasks, at: ProcessIndex) -> impl Iterator<Item = &PageRun> {
    let space = tasks.processes[at.at()].space;
    let areas = space
        .into_iter()
        .flat_map(|space| &tasks.spaces[space.at()].areas);
    areas.flat_map(|area| &area.pages)
}

fn addresses(run: &PageRun) -> Range<u64> {
    run.start..run.start + run.count * PAGE_SIZE
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;

    #[test]
    fn pages_of_the_parent_are_read_where_its_memory_is_not_kept() {
        let tasks = record();
        let child = ProcessIndex(1);
        let stack = Ranges::one(0x7ff0_0000..0x7ff0_8000);
        let own = runs(&tasks, child, &stack);
        assert_eq!(own.len(), 1, "{own:?}");
        let all = runs(&tasks, child, &Ranges::default());
        let second = PageRun {
            start: 0x7ff0_1000,
            count: 1,
            source: PageSource::Data(0x1000),
        };
        assert_eq!(all, [own[0], second]);
    }
}

//! Which pages of a mapping are its own: neither what the file has, nor zero.
//!
//! Kind: effect. `PAGEMAP_SCAN` (Linux 6.7) tells it in one call for a whole mapping; before, pagemap
//! is read, eight bytes for each page.

use super::sys::{PageRegion, pagemap_scan};
use crux_image::tasks::PAGE_SIZE;
use crux_mount::sys::SysError;
use rustix::io::Errno;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// `PM_SWAP`, `PM_FILE`, `PM_PRESENT` (Documentation/admin-guide/mm/pagemap.rst).
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const FILE: u64 = 1 << 61;
/// Entries of pagemap that are read at once.
const ENTRIES: usize = 8192;
/// Regions that one call gives at most.
const REGIONS: usize = 1024;

/// The pagemap of a process.
#[derive(Debug)]
pub(super) struct Pagemap {
    file: File,
    whole: Range<u64>,
    scanned: Scanned,
}

#[derive(Debug)]
enum Scanned {
    NotYet,
    /// What all areas have, by address.
    All(Vec<Range<u64>>),
    /// The kernel does not.
    Never,
}

impl Pagemap {
    /// `whole` is all that will be asked for.
    pub(super) fn new(file: File, whole: Range<u64>) -> Self {
        Self {
            file,
            whole,
            scanned: Scanned::NotYet,
        }
    }

    /// The ranges of `area` with pages of its own, by address, joined where they touch.
    pub(super) fn own(&mut self, area: Range<u64>) -> Result<Vec<Range<u64>>, SysError> {
        if let Scanned::NotYet = self.scanned {
            self.scanned = match self.scan(self.whole.clone()) {
                Ok(found) => Scanned::All(found),
                Err(error) if matches!(error.errno(), Errno::NOTTY | Errno::NOSYS) => {
                    Scanned::Never
                }
                Err(error) => return Err(error),
            };
        }
        match &self.scanned {
            Scanned::All(found) => Ok(within(found, &area)),
            _ => self.read(area),
        }
    }

    fn scan(&self, area: Range<u64>) -> Result<Vec<Range<u64>>, SysError> {
        let mut found = Vec::new();
        let mut regions = [PageRegion::default(); REGIONS];
        let mut from = area.start;
        while from < area.end {
            let (count, reached) = pagemap_scan(&self.file, from..area.end, &mut regions)?;
            for region in &regions[..count] {
                push(&mut found, region.start..region.end);
            }
            if reached <= from {
                break;
            }
            from = reached;
        }
        Ok(found)
    }

    fn read(&self, area: Range<u64>) -> Result<Vec<Range<u64>>, SysError> {
        let mut found = Vec::new();
        let mut buffer = vec![0; ENTRIES * 8];
        let mut from = area.start;
        while from < area.end {
            let pages = ((area.end - from) / PAGE_SIZE).min(ENTRIES as u64);
            let bytes = &mut buffer[..pages as usize * 8];
            let read = self.file.read_exact_at(bytes, from / PAGE_SIZE * 8);
            read.map_err(|error| {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                SysError::new("pread(\"pagemap\")", errno)
            })?;
            for (at, entry) in bytes.as_chunks::<8>().0.iter().enumerate() {
                let entry = u64::from_ne_bytes(*entry);
                if entry & (PRESENT | SWAPPED) != 0 && entry & FILE == 0 {
                    let start = from + at as u64 * PAGE_SIZE;
                    push(&mut found, start..start + PAGE_SIZE);
                }
            }
            from += pages * PAGE_SIZE;
        }
        Ok(found)
    }
}

/// The parts of ranges, which are ordered, that are in an area.
pub(super) fn within(ranges: &[Range<u64>], area: &Range<u64>) -> Vec<Range<u64>> {
    let first = ranges.partition_point(|range| range.end <= area.start);
    let inside = ranges[first..].iter();
    let inside = inside.take_while(|range| range.start < area.end);
    let cut = |range: &Range<u64>| range.start.max(area.start)..range.end.min(area.end);
    inside.map(cut).collect()
}

fn push(found: &mut Vec<Range<u64>>, range: Range<u64>) {
    match found.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => found.push(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    /// A kernel that knows `PAGEMAP_SCAN` does not read entries; both have to tell the same.
    #[test]
    fn entries_tell_what_the_scan_tells() {
        let pages = 64 * PAGE_SIZE as usize;
        let mut memory = vec![0_u8; pages + PAGE_SIZE as usize];
        let start = (memory.as_ptr() as u64).next_multiple_of(PAGE_SIZE);
        let first = (start - memory.as_ptr() as u64) as usize;
        for page in [0, 1, 5, 40, 41, 63] {
            memory[first + page * PAGE_SIZE as usize] = 1;
        }
        let pagemap = Pagemap::new(File::open("/proc/self/pagemap").unwrap(), 0..0);
        let area = start..start + pages as u64;
        let entries = pagemap.read(area.clone()).unwrap();
        assert!(!entries.is_empty());
        if crux_mount::sys::scans_pagemap() {
            assert_eq!(pagemap.scan(area).unwrap(), entries);
        }
        assert_eq!(memory.iter().filter(|byte| **byte == 1).count(), 6);
    }
    #[test]
    fn an_area_has_its_part_of_what_was_found() {
        let found = [0x1000..0x3000, 0x5000..0x9000];
        let of = |area| within(&found, &area);
        assert_eq!(of(0x2000..0x6000), [0x2000..0x3000, 0x5000..0x6000]);
        assert_eq!(of(0x3000..0x5000), []);
        assert_eq!(of(0x6000..0x7000), [0x6000..0x7000; 1]);
    }
}

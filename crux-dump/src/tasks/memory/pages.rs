//! Copies pages into `pages.raw`.
//!
//! Kind: effect. What goes through is bounded by [`CHUNK`], however much memory there is.

use super::error::MemoryError;
use super::sys::{read_memory, read_ranges};
use crux_image::tasks::{PAGE_SIZE, PageRun, PageSource};
use crux_mount::sys::SysError;
use rustix::io::Errno;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// Bytes that are copied at once: they stay in the processor's cache between reading and writing.
pub(in crate::tasks) const CHUNK: usize = 256 << 10;
const PAGE: usize = PAGE_SIZE as usize;

/// The member that pages go to, and where the next one goes.
#[derive(Debug)]
pub struct PagesWriter {
    file: File,
    end: u64,
    hasher: crc32fast::Hasher,
}

/// Whether a page of zeros has to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tasks) enum Zeros {
    /// A new mapping has them anyway.
    LeaveOut,
    /// A new mapping has what the file has.
    Keep,
}

impl PagesWriter {
    /// Begins with an empty file.
    pub fn new(file: File) -> Self {
        Self {
            file,
            end: 0,
            hasher: crc32fast::Hasher::new(),
        }
    }

    /// How long the file is, and the CRC-32 of it.
    pub fn finish(self) -> (u64, u32) {
        (self.end, self.hasher.finalize())
    }

    /// Appends `bytes`, whole pages that belong at `start`, and adds them to the runs.
    pub(in crate::tasks) fn append(
        &mut self,
        start: u64,
        bytes: &[u8],
        zeros: Zeros,
        runs: &mut Vec<PageRun>,
    ) -> Result<(), MemoryError> {
        let is_kept = |page: &[u8]| zeros == Zeros::Keep || !is_zero(page);
        let mut at = 0;
        while at < bytes.len() {
            let pages = bytes[at..].chunks(PAGE);
            let length = pages.take_while(|page| is_kept(page)).count() * PAGE;
            let length = length.min(bytes.len() - at);
            if length > 0 {
                self.write(start + at as u64, &bytes[at..at + length], runs)?;
            }
            // The page behind, if there is one, is zero.
            at += length + PAGE;
        }
        Ok(())
    }

    fn write(
        &mut self,
        start: u64,
        bytes: &[u8],
        runs: &mut Vec<PageRun>,
    ) -> Result<(), MemoryError> {
        let written = self.file.write_all_at(bytes, self.end);
        written.map_err(MemoryError::Write)?;
        self.hasher.update(bytes);
        let count = bytes.len() as u64 / PAGE_SIZE;
        join(
            runs,
            PageRun {
                start,
                count,
                source: PageSource::Data(self.end),
            },
        );
        self.end += bytes.len() as u64;
        Ok(())
    }
}

/// Adds a run, to the last one where it goes on there.
pub(super) fn join(runs: &mut Vec<PageRun>, run: PageRun) {
    if let Some(last) = runs.last_mut() {
        let behind = last.start + last.count * PAGE_SIZE;
        let follows = match (last.source, run.source) {
            (PageSource::Data(a), PageSource::Data(b)) => a + last.count * PAGE_SIZE == b,
            (PageSource::Parent, PageSource::Parent) => true,
            _ => false,
        };
        if behind == run.start && follows {
            last.count += run.count;
            return;
        }
    }
    runs.push(run);
}

fn is_zero(page: &[u8]) -> bool {
    page.as_chunks::<32>()
        .0
        .iter()
        .all(|words| words.iter().fold(0, |all, byte| all | byte) == 0)
}

/// The memory of a process.
#[derive(Debug)]
pub(super) struct Memory {
    pid: u32,
    file: File,
    gathered: Gathered,
}

/// What was read at once.
#[derive(Debug, Default)]
struct Gathered {
    /// By address, and where in the bytes each begins.
    ranges: Vec<(Range<u64>, usize)>,
    bytes: Vec<u8>,
}

/// `IOV_MAX`.
const VECTORS: usize = 1024;

impl Memory {
    /// `mem` is `/proc/PID/mem`.
    pub(super) fn new(pid: u32, mem: File) -> Self {
        Self {
            pid,
            file: mem,
            gathered: Gathered::default(),
        }
    }

    /// Reads all of these, which are ordered and whole pages, in one call, if that is not more than [`CHUNK`]. Most
    /// processes have no more of their own.
    pub(super) fn gather(&mut self, ranges: &[Range<u64>]) {
        let lengths = ranges.iter().map(|range| range.end - range.start);
        let total = lengths.sum::<u64>() as usize;
        if total == 0 || total > CHUNK || ranges.len() > VECTORS {
            return;
        }
        let mut bytes = vec![0; total];
        // What cannot be read so is read piece by piece.
        if read_ranges(self.pid, ranges, &mut bytes).is_ok_and(|count| count == total) {
            let mut at = 0;
            let place = |range: &Range<u64>| {
                let start = at;
                at += (range.end - range.start) as usize;
                (range.clone(), start)
            };
            self.gathered.ranges = ranges.iter().map(place).collect();
            self.gathered.bytes = bytes;
        }
    }

    /// How much is kept of what was gathered.
    pub(super) fn kept(&self) -> usize {
        self.gathered.bytes.len()
    }

    /// Lets go of it.
    pub(super) fn forget(&mut self) {
        self.gathered = Gathered::default();
    }

    /// Fills `buffer` from `start`. What the process itself may not read (`PROT_NONE`) is read as well.
    pub(super) fn read(&self, start: u64, buffer: &mut [u8]) -> Result<(), MemoryError> {
        if let Some(bytes) = self.gathered.find(start, buffer.len()) {
            buffer.copy_from_slice(bytes);
            return Ok(());
        }
        let mut done = 0;
        while done < buffer.len() {
            let from = start + done as u64;
            let read = match read_memory(self.pid, from, &mut buffer[done..]) {
                Err(error) if error.errno() == Errno::FAULT => {
                    let rest = &mut buffer[done..];
                    let page = rest.len().min(PAGE);
                    self.file.read_at(&mut rest[..page], from).map_err(|error| {
                        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                        SysError::new(format!("pread(\"mem\", {from:#x})"), errno)
                    })
                }
                other => other,
            };
            let error = |error| MemoryError::Process {
                pid: self.pid,
                error,
            };
            match read.map_err(error)? {
                0 => {
                    let error = SysError::new("process_vm_readv", Errno::FAULT);
                    return Err(MemoryError::Process {
                        pid: self.pid,
                        error,
                    });
                }
                count => done += count,
            }
        }
        Ok(())
    }
}

impl Gathered {
    fn find(&self, start: u64, length: usize) -> Option<&[u8]> {
        let after = self
            .ranges
            .partition_point(|(range, _)| range.start <= start);
        let (range, at) = self.ranges.get(after.checked_sub(1)?)?;
        let end = start.checked_add(length as u64)?;
        let at = at + (start - range.start) as usize;
        (end <= range.end).then(|| &self.bytes[at..at + length])
    }
}

/// A range in pieces of [`CHUNK`].
pub(in crate::tasks) fn pieces(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let starts = range.clone().step_by(CHUNK);
    starts.map(move |start| start..range.end.min(start + CHUNK as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_gathered_is_found_by_address() {
        let gathered = Gathered {
            ranges: vec![(0x1000..0x2000, 0), (0x5000..0x6000, 0x1000)],
            bytes: (0..0x2000).map(|at: usize| (at >> 8) as u8).collect(),
        };
        assert_eq!(gathered.find(0x5100, 2), Some(&[0x11, 0x11][..]));
        assert_eq!(gathered.find(0x1000, 0x1000).map(<[u8]>::len), Some(0x1000));
        for (start, length) in [(0x1f00, 0x200), (0x2000, 1), (0xfff, 1), (0x6000, 1)] {
            assert_eq!(gathered.find(start, length), None, "{start:#x}");
        }
    }

    #[test]
    fn zeros_are_left_out_or_kept_and_runs_are_joined() {
        let file = tempfile::tempfile().unwrap();
        let mut writer = PagesWriter::new(file);
        let mut bytes = vec![0; 4 * PAGE];
        bytes[PAGE + 7] = 1;
        bytes[2 * PAGE] = 1;
        let mut runs = Vec::new();
        let (left, kept) = (Zeros::LeaveOut, Zeros::Keep);
        writer.append(0x10000, &bytes, left, &mut runs).unwrap();
        let run = |start, count, at| PageRun {
            start,
            count,
            source: PageSource::Data(at),
        };
        assert_eq!(runs, [run(0x11000, 2, 0)]);
        writer.append(0x20000, &bytes, kept, &mut runs).unwrap();
        assert_eq!(runs[1..], [run(0x20000, 4, 0x2000)]);
        assert_eq!(writer.finish().0, 6 * PAGE_SIZE);
    }
}

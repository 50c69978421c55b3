//! Pages, read straight to where they belong.
//!
//! Kind: pure. What is in a row in the file is one preadv(2), however many places in memory it goes to. Where much is in one
//! place, memory is made and read piece by piece: a page fault for each page costs a sixth more, and a
//! piece is still in the processor's cache when it is read into.

use super::Compiler;
use crux_image::tasks::{PAGE_SIZE, PageRun, PageSource, ProcessIndex};
use crux_script::{Block, Call, arguments};

/// `IOV_MAX`.
const VECTORS: usize = 1024;
/// What one call reads at most: less than `MAX_RW_COUNT` of the kernel, and still long.
const BYTES: u64 = 1 << 30;

/// A piece of much memory.
const PIECE: u64 = 2 << 20;
/// Pieces of one run; of more memory they are larger.
const PIECES: u64 = 1024;

/// A call to be made.
#[derive(Debug, Default)]
struct Batch {
    offset: u64,
    length: u64,
    vectors: Vec<(u64, u64)>,
}

impl Compiler<'_> {
    pub(super) fn read_pages<'r>(
        &mut self,
        at: ProcessIndex,
        runs: impl Iterator<Item = &'r PageRun>,
    ) {
        let data = |run: &PageRun| match run.source {
            PageSource::Data(offset) => Some((offset, run.start, run.count * PAGE_SIZE)),
            PageSource::Parent => None,
        };
        let mut runs: Vec<_> = runs.filter_map(data).flat_map(pieces).collect();
        runs.sort_unstable();
        let mut batch = Batch::default();
        for (offset, start, length) in runs {
            if length > PIECE {
                self.read_batch(at, std::mem::take(&mut batch));
                self.read_run(at, offset, start, length);
                continue;
            }
            let follows = offset == batch.offset + batch.length
                && batch.vectors.len() < VECTORS
                && batch.length + length <= BYTES;
            if !follows {
                self.read_batch(at, std::mem::take(&mut batch));
                batch.offset = offset;
            }
            batch.vectors.push((start, length));
            batch.length += length;
        }
        self.read_batch(at, batch);
    }

    /// One place, with memory that is made before it is read into.
    fn read_run(&mut self, at: ProcessIndex, offset: u64, start: u64, length: u64) {
        let piece = PIECE.max((length / PIECES).next_multiple_of(PAGE_SIZE));
        for done in (0..length).step_by(piece as usize) {
            let (start, length) = (start + done, piece.min(length - done));
            let populate = libc::MADV_POPULATE_WRITE;
            let call = Call::new(libc::SYS_madvise).with(arguments![start, length, populate]);
            self.call(at, call);
            let batch = Batch {
                offset: offset + done,
                length,
                vectors: vec![(start, length)],
            };
            self.read_batch(at, batch);
        }
    }

    fn read_batch(&mut self, at: ProcessIndex, batch: Batch) {
        if batch.vectors.is_empty() {
            return;
        }
        let words = batch
            .vectors
            .iter()
            .flat_map(|(start, length)| [*start, *length]);
        let words: Vec<u64> = words.collect();
        let vectors = self.arena.block(Block::words(&words));
        let call = Call::new(libc::SYS_preadv).with(arguments![
            self.numbers.pages,
            vectors,
            batch.vectors.len(),
            batch.offset
        ]);
        self.call(at, call.exactly(batch.length));
    }
}

fn pieces((offset, start, length): (u64, u64, u64)) -> impl Iterator<Item = (u64, u64, u64)> {
    let steps = (0..length).step_by(BYTES as usize);
    steps.map(move |at| (offset + at, start + at, BYTES.min(length - at)))
}

//! Writing trees of files into the contents members.
//!
//! Kind: input and output on the two members that the caller opened.

use super::frame::Batch;
use super::grammar::Grammar;
use super::header::{HEADER, Header};
use super::{BUFFER, DATA_ALIGNMENT, Entry, Extent, FormatError, Section};
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};

/// Writes sections, one after the other. What it wrote is an image only after
/// [`Self::finish`].
#[derive(Debug)]
pub struct ContentsWriter<W: Write = File> {
    /// Buffered: a frame is short where trees are small.
    index: BufWriter<W>,
    data: W,
    index_end: u64,
    data_end: u64,
    batch: Batch,
    open: Option<OpenSection>,
    buffer: Box<[u8]>,
}

#[derive(Debug)]
struct OpenSection {
    offset: u64,
    grammar: Grammar,
}

impl<W: Write + Seek> ContentsWriter<W> {
    /// Takes two empty members.
    pub fn new(index: W, data: W) -> Result<Self, FormatError> {
        let mut index = BufWriter::with_capacity(BUFFER, index);
        index
            .write_all(&[0; HEADER])
            .map_err(|e| io("write", "index", e))?;
        Ok(Self {
            index,
            data,
            index_end: HEADER as u64,
            data_end: 0,
            batch: Batch::new(),
            open: None,
            buffer: vec![0; BUFFER].into(),
        })
    }

    /// Begins a tree; its root is entered.
    pub fn begin_section(&mut self) -> Result<(), FormatError> {
        if self.open.is_some() {
            return Err(FormatError::Order("a section is open already"));
        }
        let grammar = Grammar::new(u64::MAX);
        self.open = Some(OpenSection {
            offset: self.index_end,
            grammar,
        });
        Ok(())
    }

    /// Adds an entry to the tree.
    pub fn push(&mut self, entry: &Entry) -> Result<(), FormatError> {
        let open = self.open.as_mut().ok_or(NO_SECTION)?;
        let at = open.grammar.seen();
        open.grammar
            .take(entry)
            .map_err(|rule| FormatError::Rule { entry: at, rule })?;
        self.batch.push(entry);
        if self.batch.is_full() {
            self.write_frame()?;
        }
        Ok(())
    }

    /// Copies `length` bytes of a file, from its offset `at`, into the data member.
    /// `read` fills the start of a buffer from an offset of the file and says how
    /// much it read, which is never nothing.
    pub fn extent<E: From<FormatError>>(
        &mut self,
        at: u64,
        length: u64,
        mut read: impl FnMut(&mut [u8], u64) -> Result<usize, E>,
    ) -> Result<Extent, E> {
        let place = self.align_data()?;
        let mut hasher = crc32fast::Hasher::new();
        let mut done = 0;
        while done < length {
            let wanted = (length - done).min(BUFFER as u64) as usize;
            let count = read(&mut self.buffer[..wanted], at + done)?;
            let bytes = &self.buffer[..count];
            hasher.update(bytes);
            self.data
                .write_all(bytes)
                .map_err(|e| io("write", "data", e))?;
            done += count as u64;
        }
        self.data_end = place + length;
        Ok(Extent {
            at,
            length,
            place,
            crc32: hasher.finalize(),
        })
    }

    /// Ends the tree.
    pub fn finish_section(&mut self) -> Result<Section, FormatError> {
        let open = self.open.take().ok_or(NO_SECTION)?;
        let at = open.grammar.seen();
        open.grammar
            .end()
            .map_err(|rule| FormatError::Rule { entry: at, rule })?;
        if !self.batch.is_empty() {
            self.write_frame()?;
        }
        Ok(Section {
            offset: open.offset,
            length: self.index_end - open.offset,
            entries: open.grammar.entries(),
        })
    }

    /// Completes both members and gives them back (index, data), to be synced.
    pub fn finish(mut self) -> Result<(W, W), FormatError> {
        if self.open.is_some() {
            return Err(FormatError::Order("a section is still open"));
        }
        let header = Header {
            index_length: self.index_end,
            data_length: self.data_end,
        };
        self.index.rewind().map_err(|e| io("seek", "index", e))?;
        self.index
            .write_all(&header.encode())
            .map_err(|e| io("write", "index", e))?;
        let index = self.index.into_inner();
        let index = index.map_err(|e| io("write", "index", e.into_error()))?;
        Ok((index, self.data))
    }

    fn write_frame(&mut self) -> Result<(), FormatError> {
        let frame = self.batch.take(self.index_end);
        self.index
            .write_all(&frame)
            .map_err(|e| io("write", "index", e))?;
        self.index_end += frame.len() as u64;
        Ok(())
    }

    fn align_data(&mut self) -> Result<u64, FormatError> {
        let place = self.data_end.next_multiple_of(DATA_ALIGNMENT);
        if place != self.data_end {
            self.data
                .seek(SeekFrom::Start(place))
                .map_err(|e| io("seek", "data", e))?;
        }
        Ok(place)
    }
}

const NO_SECTION: FormatError = FormatError::Order("no section is open");

fn io(call: &'static str, member: &'static str, source: std::io::Error) -> FormatError {
    FormatError::Io {
        call,
        member,
        source,
    }
}

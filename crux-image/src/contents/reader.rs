//! Reading trees of files out of the contents members.
//!
//! Kind: input on the two members that the caller opened. Both are hostile.

use super::frame::{PREFIX, Prefix};
use super::grammar::Grammar;
use super::header::{HEADER, Header};
use super::{BUFFER, Entry, Extent, FormatError, Rule, Section};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

/// Reads sections.
#[derive(Debug)]
pub struct ContentsReader<R = File> {
    index: Index<R>,
    data: R,
    header: Header,
    buffer: Box<[u8]>,
}

impl<R: Read + Seek> ContentsReader<R> {
    /// Checks the header of the index, and that neither member was cut or grew.
    pub fn new(mut index: R, mut data: R) -> Result<Self, FormatError> {
        let index_length = length(&mut index, "index")?;
        let data_length = length(&mut data, "data")?;
        if index_length < HEADER as u64 {
            let expected = HEADER as u64;
            return Err(FormatError::Length {
                member: "index",
                expected,
                found: index_length,
            });
        }
        let mut index = Index::new(index);
        let mut bytes = [0; HEADER];
        index.read_at(0, &mut bytes)?;
        let header = Header::decode(&bytes)?;
        same_length("index", header.index_length, index_length)?;
        same_length("data", header.data_length, data_length)?;
        Ok(Self {
            index,
            data,
            header,
            buffer: vec![0; BUFFER].into(),
        })
    }

    /// Starts to read a tree. Memory is bounded by the length of a frame and of a path.
    pub fn section(&mut self, section: Section) -> Result<SectionReader<'_, R>, FormatError> {
        let end = section
            .offset
            .checked_add(section.length)
            .ok_or(FormatError::SectionBounds)?;
        if section.offset < HEADER as u64 || end > self.header.index_length {
            return Err(FormatError::SectionBounds);
        }
        let grammar = Grammar::new(self.header.data_length);
        Ok(SectionReader {
            reader: self,
            offset: section.offset,
            end,
            entries: section.entries,
            grammar,
            frame: Vec::new().into_iter(),
            state: State::Reading,
        })
    }

    /// Reads a tree to its end, with the data of every file, and checks all of it.
    pub fn verify(&mut self, section: Section) -> Result<(), FormatError> {
        let mut tree = self.section(section)?;
        while let Some(entry) = tree.next_entry()? {
            if let Entry::Extents(extents) = entry {
                for extent in &extents {
                    tree.extent(extent, |_, _| Ok::<(), FormatError>(()))?;
                }
            }
        }
        Ok(())
    }
}

/// The index, whose trees mostly follow one another: many small ones are read in one call.
#[derive(Debug)]
struct Index<R> {
    file: BufReader<R>,
    /// Where it is; unknown after an error.
    at: Option<u64>,
}

impl<R: Read + Seek> Index<R> {
    fn new(file: R) -> Self {
        let file = BufReader::with_capacity(BUFFER, file);
        Self { file, at: None }
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), FormatError> {
        let distance = self.at.take().and_then(|at| distance(at, offset));
        let sought = match distance {
            Some(distance) => self.file.seek_relative(distance),
            None => self.file.seek(SeekFrom::Start(offset)).map(|_| ()),
        };
        sought.map_err(|source| FormatError::Io {
            call: "seek",
            member: "index",
            source,
        })?;
        fill(&mut self.file, "index", bytes)?;
        self.at = Some(offset + bytes.len() as u64);
        Ok(())
    }
}

fn distance(from: u64, to: u64) -> Option<i64> {
    i64::try_from(to)
        .ok()?
        .checked_sub(i64::try_from(from).ok()?)
}

/// The entries of one tree, in order.
#[derive(Debug)]
pub struct SectionReader<'a, R = File> {
    reader: &'a mut ContentsReader<R>,
    offset: u64,
    end: u64,
    entries: u64,
    grammar: Grammar,
    frame: std::vec::IntoIter<Entry>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Over,
}

impl<R: Read + Seek> SectionReader<'_, R> {
    /// The next entry; `None` after the last, once it is certain that the tree is whole.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, FormatError> {
        if self.state == State::Over {
            return Ok(None);
        }
        let next = self.advance();
        if !matches!(next, Ok(Some(_))) {
            self.state = State::Over;
        }
        next
    }

    /// Reads the data of an extent that an entry of this tree has, piece by piece:
    /// `write` gets each with its offset in the file. Only after the last is it
    /// known whether they are undamaged.
    pub fn extent<E: From<FormatError>>(
        &mut self,
        extent: &Extent,
        mut write: impl FnMut(&[u8], u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let reader = &mut *self.reader;
        seek(&mut reader.data, "data", extent.place)?;
        let mut hasher = crc32fast::Hasher::new();
        let mut done = 0;
        while done < extent.length {
            let wanted = (extent.length - done).min(BUFFER as u64) as usize;
            let bytes = &mut reader.buffer[..wanted];
            fill(&mut reader.data, "data", bytes)?;
            hasher.update(bytes);
            write(bytes, extent.at + done)?;
            done += wanted as u64;
        }
        if hasher.finalize() != extent.crc32 {
            let (place, length) = (extent.place, extent.length);
            return Err(FormatError::DataChecksum { place, length }.into());
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<Entry>, FormatError> {
        loop {
            if let Some(entry) = self.frame.next() {
                self.grammar.take(&entry).map_err(|rule| self.rule(rule))?;
                return Ok(Some(entry));
            }
            if self.offset == self.end {
                return self.finish().map(|()| None);
            }
            self.read_frame()?;
        }
    }

    fn finish(&self) -> Result<(), FormatError> {
        self.grammar.end().map_err(|rule| self.rule(rule))?;
        if self.grammar.entries() != self.entries {
            return Err(self.rule(Rule::Count));
        }
        Ok(())
    }

    fn read_frame(&mut self) -> Result<(), FormatError> {
        let mut prefix = [0; PREFIX];
        let after_prefix = self.within(PREFIX)?;
        self.reader.index.read_at(self.offset, &mut prefix)?;
        let prefix = Prefix::decode(prefix, self.offset)?;
        let end = self.within(PREFIX + prefix.length)?;
        // A frame is never longer than the buffer.
        let bytes = &mut self.reader.buffer[..prefix.length];
        self.reader.index.read_at(after_prefix, bytes)?;
        self.frame = prefix.entries(self.offset, bytes)?.into_iter();
        self.offset = end;
        Ok(())
    }

    fn within(&self, length: usize) -> Result<u64, FormatError> {
        match self.offset + length as u64 {
            end if end <= self.end => Ok(end),
            _ => Err(FormatError::SectionBounds),
        }
    }

    fn rule(&self, rule: Rule) -> FormatError {
        FormatError::Rule {
            entry: self.grammar.seen(),
            rule,
        }
    }
}

impl<R: Read + Seek> Iterator for SectionReader<'_, R> {
    type Item = Result<Entry, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().transpose()
    }
}

fn same_length(member: &'static str, expected: u64, found: u64) -> Result<(), FormatError> {
    if expected != found {
        return Err(FormatError::Length {
            member,
            expected,
            found,
        });
    }
    Ok(())
}

fn length(file: &mut impl Seek, member: &'static str) -> Result<u64, FormatError> {
    file.seek(SeekFrom::End(0))
        .map_err(|source| FormatError::Io {
            call: "seek",
            member,
            source,
        })
}

fn seek(file: &mut impl Seek, member: &'static str, to: u64) -> Result<(), FormatError> {
    let sought = file.seek(SeekFrom::Start(to));
    sought.map(|_| ()).map_err(|source| FormatError::Io {
        call: "seek",
        member,
        source,
    })
}

fn fill(file: &mut impl Read, member: &'static str, bytes: &mut [u8]) -> Result<(), FormatError> {
    file.read_exact(bytes).map_err(|source| FormatError::Io {
        call: "read",
        member,
        source,
    })
}

//! Writes one member with a header, as a stream.
//!
//! Kind: effect.

use crate::member::{HEADER_LENGTH, Header, MemberKind};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;

/// A member being written. The header is written by [`Self::finish`], with the
/// length and the checksum of what was written; without it the image cannot be completed.
#[derive(Debug)]
pub struct MemberSink {
    kind: MemberKind,
    file: BufWriter<File>,
    length: u64,
    checksum: crc32fast::Hasher,
}

impl MemberSink {
    pub(super) fn new(kind: MemberKind, mut file: File) -> io::Result<Self> {
        file.write_all(&[0; HEADER_LENGTH])?;
        let file = BufWriter::with_capacity(64 << 10, file);
        Ok(Self {
            kind,
            file,
            length: 0,
            checksum: crc32fast::Hasher::new(),
        })
    }

    /// How many bytes of payload there are: the offset of what is written next.
    pub fn position(&self) -> u64 {
        self.length
    }

    /// Writes the header.
    pub fn finish(self) -> io::Result<()> {
        let header = Header::new(self.kind, self.length, self.checksum.finalize());
        let file = self
            .file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.write_all_at(&header.to_bytes(), 0)
    }
}

impl Write for MemberSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.length += written as u64;
        self.checksum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

//! Frames: batches of entries in the index, of bounded length.
//!
//! Kind: pure. A frame is its length and its checksum, each 32 bits, then the
//! entries. The checksum covers the frame's offset too, so a frame that stands
//! somewhere else than where it was written is refused.

use super::{Entry, FormatError};
use crate::codec;

/// A frame is closed once it has this many bytes.
const TARGET: usize = 64 << 10;

/// No frame is longer: the target and the longest entry (an extended attribute of 64 KiB).
const LIMIT: u32 = 192 << 10;

/// Bytes before the entries of a frame.
pub(super) const PREFIX: usize = 8;

/// A frame that is being filled.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    entries: u64,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; PREFIX + 8],
            entries: 0,
        }
    }

    pub(super) fn push(&mut self, entry: &Entry) {
        self.bytes.extend_from_slice(&codec::encode(entry));
        self.entries += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= TARGET
    }

    /// The whole frame for `offset`, which empties the batch. It begins with
    /// its number of entries, so that it reads as one sequence.
    pub(super) fn take(&mut self, offset: u64) -> Vec<u8> {
        let Self {
            bytes: mut frame,
            entries,
        } = std::mem::replace(self, Self::new());
        let length = (frame.len() - PREFIX) as u32;
        frame[PREFIX..PREFIX + 8].copy_from_slice(&entries.to_le_bytes());
        let sum = checksum(offset, &frame[PREFIX..]);
        frame[..4].copy_from_slice(&length.to_le_bytes());
        frame[4..PREFIX].copy_from_slice(&sum.to_le_bytes());
        frame
    }
}

/// What stands before the entries of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prefix {
    /// Bytes of entries.
    pub(super) length: usize,
    crc32: u32,
}

impl Prefix {
    /// Checks that the frame at `offset` is one that may be read.
    pub(super) fn decode(bytes: [u8; PREFIX], offset: u64) -> Result<Self, FormatError> {
        let [a, b, c, d, e, f, g, h] = bytes;
        let length = u32::from_le_bytes([a, b, c, d]);
        if !(8..=LIMIT).contains(&length) {
            return Err(FormatError::FrameLength { offset, length });
        }
        Ok(Self {
            length: length as usize,
            crc32: u32::from_le_bytes([e, f, g, h]),
        })
    }

    /// Checks and decodes what follows.
    pub(super) fn entries(self, offset: u64, bytes: &[u8]) -> Result<Vec<Entry>, FormatError> {
        if checksum(offset, bytes) != self.crc32 {
            return Err(FormatError::FrameChecksum { offset });
        }
        Ok(codec::decode(bytes, u64::from(LIMIT))?)
    }
}

/// A frame for `offset` with any bytes in it.
#[cfg(test)]
pub(super) fn seal(offset: u64, bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u32).to_le_bytes();
    [&length, &checksum(offset, bytes).to_le_bytes(), bytes].concat()
}

fn checksum(offset: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&offset.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

//! The header of the index: written last, so that an unfinished index has none.
//!
//! Kind: pure.

use super::FormatError;

/// Its length in bytes; the first frame follows.
pub(super) const HEADER: usize = 32;

const MAGIC: [u8; 8] = *b"CRUXINDX";
const VERSION: u32 = 1;

/// What both members are long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of the index, header included.
    pub(super) index_length: u64,
    /// Bytes of the data member.
    pub(super) data_length: u64,
}

impl Header {
    pub(super) fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.index_length.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.data_length.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..28]);
        bytes[28..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; HEADER]) -> Result<Self, FormatError> {
        if bytes[..8] != MAGIC {
            return Err(FormatError::Magic);
        }
        let found = le32(&bytes[8..12]);
        if found > VERSION || found == 0 {
            return Err(FormatError::Version {
                found,
                known: VERSION,
            });
        }
        if crc32fast::hash(&bytes[..28]) != le32(&bytes[28..]) {
            return Err(FormatError::HeaderChecksum);
        }
        Ok(Self {
            index_length: le64(&bytes[12..20]),
            data_length: le64(&bytes[20..28]),
        })
    }
}

fn le32(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | u32::from(byte))
}

fn le64(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | u64::from(byte))
}

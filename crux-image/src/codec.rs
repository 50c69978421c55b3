//! The only code that names bincode: records to bytes and back.
//!
//! Kind: pure. Fixed-width little-endian integers, a limit on every read,
//! trailing bytes refused. It knows nothing of headers or checksums (`member`),
//! and does not ask whether a record means anything (`mounts::Mounts::check`).
//!
//! Two rules for every record type keep a hostile image from costing more than
//! its own length: no type contains itself (decoding would recurse), and no
//! element of a list has a size of zero (it would escape the limit).

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why bytes are no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// More bytes than the limit of this record.
    #[error("a record of {length} bytes, where {limit} are the limit")]
    TooLong {
        /// How many there are.
        length: u64,
        /// How many there may be.
        limit: u64,
    },
    /// The bytes end too early, go on too long, or do not fit the type.
    #[error("malformed record: {0}")]
    Malformed(String),
}

fn options(limit: u64) -> impl Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_little_endian()
        .with_limit(limit)
        .reject_trailing_bytes()
}

/// Encodes a record. Two equal records have equal bytes.
///
/// # Panics
/// If `Serialize` of the record fails, which no derived one does.
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    options(u64::MAX)
        .serialize(record)
        .expect("records serialize without failing")
}

/// Decodes a record from exactly `bytes`. Memory is bounded by a small multiple
/// of their number; more than `limit` of them are refused unread.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limit: u64) -> Result<T, CodecError> {
    let length = bytes.len() as u64;
    if length > limit {
        return Err(CodecError::TooLong { length, limit });
    }
    options(limit)
        .deserialize(bytes)
        .map_err(|e| CodecError::Malformed(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_fixed_width_and_little_endian() {
        assert_eq!(encode(&(1u32, 2u64)), [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(encode(&Some(vec![7u8])), [1, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = encode(&1u32);
        bytes.push(0);
        assert!(matches!(
            decode::<u32>(&bytes, 100),
            Err(CodecError::Malformed(_))
        ));
    }

    #[test]
    fn longer_than_the_limit_is_refused() {
        let bytes = encode(&[1u32, 2]);
        assert_eq!(
            decode::<[u32; 2]>(&bytes, 7),
            Err(CodecError::TooLong {
                length: 8,
                limit: 7
            })
        );
    }

    #[test]
    fn a_list_that_claims_to_be_endless_costs_nothing() {
        let bytes = encode(&u64::MAX);
        assert!(decode::<Vec<u64>>(&bytes, 1 << 30).is_err());
        assert!(decode::<String>(&bytes, 1 << 30).is_err());
    }
}

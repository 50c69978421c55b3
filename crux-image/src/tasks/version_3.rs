//! Records of format versions 2 and 3, which knew no locks: what version 4 has more is a list at its end.
//!
//! Kind: pure. Nothing writes them any more; they are read for ever.

/// The record as version 4 has it, with no locks.
pub(crate) fn as_version_4(mut payload: Vec<u8>) -> Vec<u8> {
    let none: u64 = 0;
    payload.extend(none.to_le_bytes());
    payload
}

//! Records of format versions 2 and 3, which knew no locks and no memberships: what version 4 has more are lists at its end.
//!
//! Kind: pure. Nothing writes them any more; they are read for ever.

/// The record as version 4 has it, with none of them.
pub(crate) fn as_version_4(mut payload: Vec<u8>) -> Vec<u8> {
    let none: u64 = 0;
    let (locks, memberships) = (none, none);
    payload.extend([locks, memberships].map(u64::to_le_bytes).concat());
    payload
}

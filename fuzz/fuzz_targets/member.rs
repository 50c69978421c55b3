//! The header of a member: parsing never panics, and what parses is what was written.
#![no_main]

use crux_image::member::{HEADER_LENGTH, Header, MemberKind};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(header) = bytes.first_chunk::<HEADER_LENGTH>() else { return };
    for kind in MemberKind::ALL {
        if let Ok(parsed) = Header::parse(header, kind) {
            assert_eq!(parsed.to_bytes(), *header);
        }
    }
});

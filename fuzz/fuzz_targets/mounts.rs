//! The record of mounts: a record that passes its check can be shown and compared.
#![no_main]

use crux_image::codec;
use crux_image::diff::diff;
use crux_image::mounts::Mounts;
use crux_image::render;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mounts) = codec::decode::<Mounts>(bytes, 1 << 20) else { return };
    assert_eq!(codec::encode(&mounts), bytes);
    if mounts.check().is_ok() {
        render::tree(&mounts);
        render::svg(&mounts);
        render::dot(&mounts);
        render::mounts_record(&mounts);
        assert!(diff(&mounts, &mounts).is_empty());
    }
});

//! The inventory of an image: decoding and checking never panic.
#![no_main]

use crux_image::codec;
use crux_image::inventory::Inventory;
use crux_image::member::MemberKind;
use crux_image::render;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let decoded = codec::decode::<Inventory>(bytes, MemberKind::Inventory.limit());
    let Ok(inventory) = decoded else { return };
    assert_eq!(codec::encode(&inventory), bytes);
    if inventory.check().is_ok() {
        render::inventory_record(&inventory);
    }
});

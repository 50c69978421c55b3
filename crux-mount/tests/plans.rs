//! Plans are stable: the same record gives the same steps, in the same words.
//!
//! The records are the golden images of crux-image, which never change.

use crux_image::directory::ImageReader;
use crux_image::mounts::Mounts;
use crux_mount::plan::{Plan, plan};
use crux_mount::simulate::simulate;
use std::path::Path;

fn golden(name: &str) -> Mounts {
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/../crux-image/tests/golden/v1");
    let image = ImageReader::open(&Path::new(images).join(name)).unwrap();
    image.mounts().unwrap()
}

fn planned(mounts: &Mounts) -> Plan {
    let plan = plan(mounts).unwrap();
    let simulated = simulate(mounts, plan.steps()).unwrap();
    let differences = crux_image::diff::diff(mounts, &simulated);
    assert!(differences.is_empty(), "{differences:#?}");
    plan
}

#[test]
fn the_vivid_container_is_planned_as_ever() {
    insta::assert_snapshot!(planned(&golden("vivid")));
}

#[test]
fn groups_are_planned_as_ever() {
    insta::assert_snapshot!(planned(&golden("groups")));
}

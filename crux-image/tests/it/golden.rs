//! Images of every format version ever written are read for ever. They are
//! made by `examples/golden.rs`, added, and never made again.

use super::{groups, task_record, vivid};
use crux_image::diff::diff;
use crux_image::directory::ImageReader;
use crux_image::mounts::Mounts;
use std::path::Path;

fn read(version: &str, name: &str) -> (ImageReader, Mounts) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(version)
        .join(name);
    let reader = ImageReader::open(&dir).unwrap();
    let mounts = reader.mounts().unwrap();
    (reader, mounts)
}

#[test]
fn version_1_of_the_vivid_table_is_read() {
    let (reader, mounts) = read("v1", "vivid");
    assert_eq!(reader.inventory().facts, vivid::facts());
    assert_eq!(mounts, vivid::mounts());
}

#[test]
fn version_1_of_groups_and_user_namespaces_is_read() {
    let (_, mounts) = read("v1", "groups");
    assert_eq!(diff(&groups::mounts(), &mounts), []);
    assert_eq!(mounts, groups::mounts());
}

#[test]
fn version_2_of_locks_former_names_and_queues_is_read() {
    let (_, mounts) = read("v2", "locked");
    assert_eq!(mounts, groups::locked());
    assert_ne!(diff(&groups::mounts(), &mounts), []);
    let (reader, mounts) = read("v2", "vivid");
    assert_eq!(reader.inventory().facts, vivid::facts());
    assert_eq!(mounts, vivid::mounts());
}

#[test]
fn version_1_of_tasks_is_read() {
    let (reader, mounts) = read("v2", "tasks");
    assert_eq!(reader.tasks(&mounts).unwrap(), Some(task_record::record()));
}

#[test]
fn version_2_of_tasks_is_read() {
    let (reader, mounts) = read("v2", "tasks-of-version-2");
    assert_eq!(reader.tasks(&mounts).unwrap(), Some(task_record::second()));
}

#[test]
fn version_3_of_tasks_with_connections_is_read() {
    let (reader, mounts) = read("v2", "tasks-of-version-3");
    assert_eq!(
        reader.tasks(&mounts).unwrap(),
        Some(task_record::connected())
    );
}

#[test]
fn version_4_of_tasks_with_locks_is_read() {
    let (reader, mounts) = read("v2", "tasks-of-version-4");
    assert_eq!(reader.tasks(&mounts).unwrap(), Some(task_record::locked()));
}

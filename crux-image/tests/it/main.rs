//! Images as a whole: what is written is read, and what is hostile is refused.

mod checks;
mod connections;
mod differences;
mod files;
mod golden;
mod groups;
mod hostile;
mod ipc;
mod locks;
mod memberships;
mod programs;
mod property;
mod scale;
mod seccomp;
mod task_record;
mod tasks;
mod viewer;
mod vivid;
mod writing;

use crux_image::directory::ImageWriter;
use crux_image::mounts::Mounts;
use std::path::{Path, PathBuf};

/// Writes an image named `name` beneath `dir`.
fn write(dir: &Path, name: &str, mounts: &Mounts) -> PathBuf {
    let path = dir.join(name);
    let mut writer = ImageWriter::create(&path).unwrap();
    writer.write_mounts(mounts).unwrap();
    writer.finish(vivid::facts()).unwrap();
    path
}

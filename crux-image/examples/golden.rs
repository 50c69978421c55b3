//! Makes a golden image: `cargo run -p crux-image --example golden -- DIR`.
//!
//! Golden images are added, never made again: one that exists is not
//! overwritten (`ImageWriter` refuses), and what reads it is a test for ever.

#[path = "../tests/it/groups.rs"]
mod groups;
#[path = "../tests/it/task_record.rs"]
mod task_record;
#[path = "../tests/it/vivid.rs"]
mod vivid;

use crux_image::directory::ImageWriter;
use std::path::Path;

fn main() -> anyhow::Result<()> {
    let dir = std::env::args_os().nth(1);
    let dir = dir.ok_or_else(|| anyhow::anyhow!("usage: golden DIR"))?;
    std::fs::create_dir(&dir)?;
    for (name, mounts) in [
        ("vivid", vivid::mounts()),
        ("groups", groups::mounts()),
        ("locked", groups::locked()),
    ] {
        let mut writer = ImageWriter::create(&Path::new(&dir).join(name))?;
        writer.write_mounts(&mounts)?;
        writer.finish(vivid::facts())?;
    }
    for (name, tasks) in [
        ("tasks", task_record::second()),
        ("connections", task_record::connected()),
        ("locks", task_record::locked()),
    ] {
        let mut writer = ImageWriter::create(&Path::new(&dir).join(name))?;
        writer.write_mounts(&vivid::mounts())?;
        writer.write_tasks(&tasks, &vivid::mounts())?;
        writer.finish(vivid::facts())?;
    }
    Ok(())
}

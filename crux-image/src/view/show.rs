//! `crux-image show`: an image in a few lines.
//!
//! Kind: shell.

use super::{Image, ViewError, output};
use clap::Args;
use crux_image::directory::ImageReader;
use crux_image::render;
use serde::Serialize;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    image: Image,
    /// Show everything about one process: its number, as the container counts
    #[arg(long, value_name = "PID")]
    task: Option<u32>,
}

#[derive(Serialize)]
struct Shown {
    inventory: render::InventoryRecord,
    mounts: render::MountsRecord,
    tasks: Option<render::TasksRecord>,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, ViewError> {
    let Options {
        image: Image { image, json },
        task,
    } = options;
    let reader = ImageReader::open(image)?;
    let mounts = reader.mounts()?;
    let tasks = reader.tasks(&mounts)?;
    if *json {
        output::json(&Shown {
            inventory: render::inventory_record(reader.inventory()),
            tasks: tasks.map(|tasks| render::tasks_record(&tasks, &mounts)),
            mounts: render::mounts_record(&mounts),
        })?;
    } else if let Some(pid) = task {
        let found = tasks.and_then(|tasks| render::one_task(&tasks, &mounts, *pid));
        let missing = || ViewError::Refused(format!("the image has no process {pid}"));
        output::text(&found.ok_or_else(missing)?)?;
    } else {
        output::text(&render::summary(reader.inventory(), &mounts))?;
        if let Some(tasks) = tasks {
            output::text(&render::tasks_tree(&tasks, &mounts))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

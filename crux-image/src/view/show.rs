//! `crux-image show`: an image in a few lines.
//!
//! Kind: shell.

use super::{Image, ViewError, output};
use crux_image::directory::ImageReader;
use crux_image::render;
use serde::Serialize;
use std::process::ExitCode;

#[derive(Serialize)]
struct Shown {
    inventory: render::InventoryRecord,
    mounts: render::MountsRecord,
}

pub(super) fn run(options: &Image) -> Result<ExitCode, ViewError> {
    let reader = ImageReader::open(&options.image)?;
    let mounts = reader.mounts()?;
    if options.json {
        output::json(&Shown {
            inventory: render::inventory_record(reader.inventory()),
            mounts: render::mounts_record(&mounts),
        })?;
    } else {
        output::text(&render::summary(reader.inventory(), &mounts))?;
    }
    Ok(ExitCode::SUCCESS)
}

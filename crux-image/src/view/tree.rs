//! `crux-image tree`: the mount tree of each namespace.
//!
//! Kind: shell.

use super::{Image, ViewError, output};
use crux_image::directory::ImageReader;
use crux_image::render;
use std::process::ExitCode;

pub(super) fn run(options: &Image) -> Result<ExitCode, ViewError> {
    let mounts = ImageReader::open(&options.image)?.mounts()?;
    if options.json {
        output::json(&render::mounts_record(&mounts))?;
    } else {
        output::text(&render::tree(&mounts))?;
    }
    Ok(ExitCode::SUCCESS)
}

//! `crux-image graph`: the propagation graph.
//!
//! Kind: shell.

use super::{Image, ViewError, output};
use clap::{Args, ValueEnum};
use crux_image::directory::ImageReader;
use crux_image::render;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    image: Image,
    /// For Graphviz, or an image that a browser shows
    #[arg(long, value_enum, default_value = "dot", conflicts_with = "json")]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Dot,
    Svg,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, ViewError> {
    let mounts = ImageReader::open(&options.image.image)?.mounts()?;
    match (options.image.json, options.format) {
        (true, _) => output::json(&render::Graph::new(&mounts))?,
        (false, Format::Dot) => output::text(&render::dot(&mounts))?,
        (false, Format::Svg) => output::text(&render::svg(&mounts))?,
    }
    Ok(ExitCode::SUCCESS)
}

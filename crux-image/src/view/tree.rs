//! `crux-image tree`: the mount tree of each namespace.
//!
//! Kind: shell.

use super::{ViewError, output};
use clap::Args;
use crux_image::directory::ImageReader;
use crux_image::render;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The directory of the image
    #[arg(value_name = "DIR")]
    image: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Leave out what is usual, and cut lines to N columns; 0 for everything
    /// [default: the width of the terminal; everything if that is none]
    #[arg(long, value_name = "N", conflicts_with = "json")]
    width: Option<usize>,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, ViewError> {
    let mounts = ImageReader::open(&options.image)?.mounts()?;
    if options.json {
        output::json(&render::mounts_record(&mounts))?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = match options.width.or_else(terminal_width) {
        None | Some(0) => render::tree(&mounts),
        Some(width) => render::narrow_tree(&mounts, width),
    };
    output::text(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    Some(size.ws_col.into())
}

//! `crux-image diff`: how the mount trees of two images differ.
//!
//! Kind: shell.

use super::{DIFFERENT, ViewError, output};
use clap::Args;
use crux_image::diff::{Difference, diff};
use crux_image::directory::ImageReader;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The directory of one image
    #[arg(value_name = "DIR")]
    was: PathBuf,
    /// The directory of another
    #[arg(value_name = "DIR2")]
    is: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Record<'a> {
    namespace: usize,
    subject: &'a str,
    is: &'a str,
    was: &'a str,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, ViewError> {
    let was = ImageReader::open(&options.was)?.mounts()?;
    let is = ImageReader::open(&options.is)?.mounts()?;
    let differences = diff(&was, &is);
    if options.json {
        let records: Vec<Record<'_>> = differences.iter().map(record).collect();
        output::json(&records)?;
    } else {
        let lines: Vec<String> = differences.iter().map(|d| format!("{d}\n")).collect();
        output::text(&lines.concat())?;
    }
    Ok(if differences.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DIFFERENT)
    })
}

fn record(d: &Difference) -> Record<'_> {
    Record {
        namespace: d.namespace,
        subject: &d.subject,
        is: &d.is,
        was: &d.was,
    }
}

//! The commands of the viewer, one file each.
//!
//! Kind: shell.

mod diff;
mod graph;
mod output;
mod show;
mod tree;
mod verify;

use clap::{Args, Parser, Subcommand};
use crux_image::error::ImageError;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// Looks at an image that crux-dump made, without any privilege.
#[derive(Debug, Parser)]
#[command(name = "crux-image", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What the image holds, and what a restore of it asks for
    Show(show::Options),
    /// The mount tree of each namespace, with its propagation
    Tree(tree::Options),
    /// Who receives mount events from whom, as a graph
    Graph(graph::Options),
    /// Read everything, and check that it is whole and makes sense
    Verify(Image),
    /// How the mount trees of two images differ; exit status 1 if they do
    Diff(diff::Options),
}

#[derive(Debug, Args)]
struct Image {
    /// The directory of the image
    #[arg(value_name = "DIR")]
    image: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
enum ViewError {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("write to standard output: {0}")]
    Output(#[from] io::Error),
    #[error("{0}")]
    Refused(String),
}

const DIFFERENT: u8 = 1;
const IMAGE_REFUSED: u8 = 5;
const FAILED: u8 = 6;

pub(crate) fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Show(options) => show::run(&options),
        Command::Tree(options) => tree::run(&options),
        Command::Graph(options) => graph::run(&options),
        Command::Verify(options) => verify::run(&options),
        Command::Diff(options) => diff::run(&options),
    };
    match result {
        Ok(code) => code,
        // Whoever reads has seen enough.
        Err(ViewError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            // Nothing is left to be done if standard error is gone too.
            let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("Error: {error}\n"));
            ExitCode::from(match error {
                ViewError::Output(_) => FAILED,
                ViewError::Image(_) | ViewError::Refused(_) => IMAGE_REFUSED,
            })
        }
    }
}

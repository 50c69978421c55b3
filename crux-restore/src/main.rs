//! crux-restore: brings a container back from an image directory.
//!
//! Kind: shell. It holds no logic: see the library.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = match crux_restore::cli::Options::try_parse() {
        Ok(options) => options,
        Err(error) => return crux_restore::cli::usage(&error),
    };
    match crux_restore::restore::run(&options) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("Error: failed to {failure}");
            ExitCode::from(failure.exit as u8)
        }
    }
}

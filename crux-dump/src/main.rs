//! crux-dump: writes a running container to an image directory.
//!
//! Kind: shell. It holds no logic: see the library.

use clap::Parser as _;
use crux_dump::{cli, report};
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = match cli::Options::try_parse() {
        Ok(options) => options,
        Err(error) => return cli::usage(&error),
    };
    match crux_dump::run(&options) {
        Ok(code) => code,
        Err(failure) => {
            report::failure(&options, &failure);
            ExitCode::from(failure.exit as u8)
        }
    }
}

//! crux-restore: brings a container back from an image directory.
//!
//! Kind: shell. It holds no logic: see the library.

use clap::Parser;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = match crux_restore::cli::Options::try_parse() {
        Ok(options) => options,
        Err(error) => return crux_restore::cli::usage(&error),
    };
    match crux_restore::restore::run(&options) {
        Ok(code) => code,
        Err(failure) => {
            say(format_args!("Error: failed to {failure}\n"));
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// Nothing is left to be done if standard error is gone too.
fn say(text: std::fmt::Arguments<'_>) {
    let _ = std::io::stderr().write_fmt(text);
}

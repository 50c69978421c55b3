//! crux-restore: brings a container back from an image directory.
//!
//! Kind: shell. It holds no logic: see the library.

use clap::Parser;
use crux_restore::failure::Exit;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = match crux_restore::cli::Options::try_parse() {
        Ok(options) => options,
        Err(error) => return usage(&error),
    };
    match crux_restore::restore::run(&options) {
        Ok(code) => code,
        Err(failure) => {
            say(format_args!("Error: failed to {failure}\n"));
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// clap begins its messages with "error:"; container runtimes look for "Error: ".
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    say(format_args!("Error: {text}"));
    ExitCode::from(Exit::Usage as u8)
}

/// Nothing is left to be done if standard error is gone too.
fn say(text: std::fmt::Arguments<'_>) {
    let _ = std::io::stderr().write_fmt(text);
}

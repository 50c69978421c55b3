//! crux-image: looks at an image without any privilege.
//!
//! Kind: shell. It decides nothing about an image; it prints what the library
//! says. Exit codes: 0 done, 1 the images differ (`diff`), 2 usage, 5 image
//! refused, 6 the output could not be written.

mod view;

use std::process::ExitCode;

fn main() -> ExitCode {
    view::run()
}

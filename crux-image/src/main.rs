//! crux-image: looks at an image without any privilege. Kind: shell.
fn main() {}

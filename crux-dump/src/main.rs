//! crux-dump.
fn main() {}

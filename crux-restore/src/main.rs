//! crux-restore.
fn main() {}

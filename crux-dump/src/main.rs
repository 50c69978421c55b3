//! crux-dump.

fn main() {}

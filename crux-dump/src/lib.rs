//! What `crux-dump` is made of, as a library, so that tests can drive its parts.

pub mod contents;

//! Images as directories: the only code that opens, makes or removes their files.
//!
//! Kind: effect. [`Partial`] makes `DIR.partial` and renames it when it is
//! complete, [`ImageWriter`] writes what is in it; [`ImageReader`] opens what may be hostile and hands out only what
//! was checked.

mod members;
mod open;
mod partial;
mod reader;
mod verify;
mod writer;

pub use members::Members;
pub use partial::Partial;
pub use reader::ImageReader;
pub use verify::{Finding, MemberReport};
pub use writer::ImageWriter;

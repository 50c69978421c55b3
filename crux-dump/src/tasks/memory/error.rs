//! Why memory could not be read.
//!
//! Kind: pure.

use crux_image::path::Escaped;
use crux_mount::sys::SysError;

/// Why memory could not be read or written out.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// A call on the process failed.
    #[error("read the memory of process {pid}: {error}")]
    Process {
        /// Whose.
        pid: u32,
        /// The call.
        error: SysError,
    },
    /// The kernel says something else than we know.
    #[error("read the mappings of process {pid}: nothing is known of \"{}\"", Escaped(.line))]
    Mappings {
        /// Whose.
        pid: u32,
        /// What it says.
        line: Vec<u8>,
    },
    /// A file without a name could not be read.
    #[error("read a file that has no name: {0}")]
    Object(std::io::Error),
    /// The pages could not be written.
    #[error("write the pages: {0}")]
    Write(std::io::Error),
}

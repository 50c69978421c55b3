//! All that depends on the architecture: the stub, lines as it reads them, registers.
//!
//! - `record`: a line in memory
//! - `stub`: the machine code, and where a task that runs it can be found stopped
//! - `detour`: how a living task is sent through the stub and back

mod detour;
mod record;
mod stub;

pub use detour::{Detour, Rseq};
pub(crate) use record::{Accepted, RECORD, RESULT, Record, RecordKind};
pub use stub::{DUMP_STUB_LEN, stub_page};

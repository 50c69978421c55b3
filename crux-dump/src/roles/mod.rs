//! The processes of a dump, each with one job. `docs/privileges.md` has them as a table.
//!
//! The supervisor (`crate::dump`) starts them and carries what they say. Whoever looks at the
//! target reads and records; whoever judges and writes the records has nothing but
//! what it is told. A further role gets its descriptors of raw members from the
//! encoder, by the supervisor, and sends it records by the same way.

pub(crate) mod collector;
pub(crate) mod encoder;
pub mod message;
pub mod spec;

//! The processes of a dump, each with one job. `docs/privileges.md` has them as a table.
//!
//! The supervisor (`crate::dump`) starts them and carries what they say. Whoever looks at the
//! target reads and records; whoever judges and writes the records has nothing but
//! what it is told. The tracer stops tasks, and gets the member that memory goes into
//! from the encoder, by the supervisor.

pub(crate) mod collector;
pub(crate) mod encoder;
pub mod message;
pub(crate) mod reader;
pub mod spec;
pub(crate) mod tracer;

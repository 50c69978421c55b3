//! Scripts on the real kernel: tasks that are made of them, and living ones that are sent through the stub.
//!
//! Kind: tests.

mod detour;
mod made;
mod sys;
mod tracer;
mod workload;

//! What the two sides say to each other: the plan that the machine finds in its root
//! directory, and a line of JSON for each thing that happens in it.
//!
//! Kind: pure. Both sides are the same program.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where the plan is.
pub(super) const PLAN: &str = "/plan.json";

/// What is to be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    /// The tests, by number.
    pub(super) tests: Vec<Test>,
    /// How many run at a time.
    pub(super) workers: usize,
    /// How long each may take, in seconds.
    pub(super) limit: u64,
    /// How many times longer things may take than the tests say: their `CRUX_PATIENCE`.
    pub(super) slowness: u64,
}

/// A test, in a program of tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Test {
    /// The package.
    pub(super) package: String,
    /// The program; of the same name as the package for the tests inside a library.
    pub(super) target: String,
    /// As the program lists it.
    pub(super) name: String,
    /// The program's path.
    pub(super) program: PathBuf,
    /// Where it runs.
    pub(super) directory: PathBuf,
}

impl std::fmt::Display for Test {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}::{} {}", self.package, self.target, self.name)
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Event {
    /// The machine is up.
    Ready {
        /// `uname -r`
        release: String,
    },
    /// A test has begun.
    Started(usize),
    /// A test has ended.
    Ended {
        /// Its number.
        test: usize,
        /// How.
        verdict: Verdict,
        /// How long it took.
        seconds: f64,
        /// What it printed, if it did not pass; the end of it.
        output: String,
    },
    /// All have ended.
    Done,
}

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Verdict {
    /// Well.
    Passed,
    /// Not well, and well when it was run again.
    Later,
    /// Not well.
    Failed,
    /// It was killed after its time.
    TimedOut,
}

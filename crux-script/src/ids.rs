//! Names of what is in an arena: scripts, lines, blocks of data.
//!
//! Kind: pure. They are indices; that they lead anywhere is for the checker to say.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A script of an arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ScriptId(pub u32);

/// A line of a script, and the result that it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LineId {
    /// Which script.
    pub script: ScriptId,
    /// Which of its lines, from 0. People are shown numbers from 1.
    pub index: u32,
}

/// A block of data of an arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockId(pub u32);

/// A byte of a block of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DataRef {
    /// Which block.
    pub block: BlockId,
    /// Which of its bytes, from 0.
    pub offset: u32,
}

/// What a stop means to the tracer that waits for it. The stub does not look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tag(pub u32);

impl BlockId {
    /// A byte of this block.
    #[must_use]
    pub fn at(self, offset: u32) -> DataRef {
        let block = self;
        DataRef { block, offset }
    }
}

impl LineId {
    /// The line's number as people are shown it.
    #[must_use]
    pub fn number(self) -> u64 {
        u64::from(self.index) + 1
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

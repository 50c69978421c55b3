//! The scripts of a restore, or of one task of a dump, and the data that they point to.
//!
//! Kind: pure. An arena says nothing of addresses: linking does.

use crate::ids::{BlockId, DataRef, LineId, ScriptId, Tag};
use crate::line::{Call, Line};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Scripts and data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arena {
    scripts: Vec<Script>,
    blocks: Vec<Block>,
    descriptors: BTreeMap<i32, String>,
}

/// What one task or thread does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// Whose it is, as people are to read it: `task 4`, `task 4 thread 7`.
    pub name: String,
    /// From the first to the last, which is a stop or a call that does not return.
    pub lines: Vec<Line>,
}

/// Bytes in memory that all tasks of the arena can read and write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// What is in it at first.
    pub bytes: Vec<u8>,
    /// Addresses in it.
    pub pointers: Vec<Pointer>,
}

/// Eight bytes of a block that hold the address of another (or of the same).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// Where.
    pub at: u32,
    /// Of what.
    pub to: DataRef,
}

/// A string for the kernel ends where its first NUL is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a string has a NUL in it")]
pub struct NulInString;

impl Arena {
    /// Without anything in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a script without lines. `name` is whose it is: `task 4`.
    pub fn script(&mut self, name: impl Into<String>) -> ScriptId {
        let (name, lines) = (name.into(), Vec::new());
        self.scripts.push(Script { name, lines });
        ScriptId(self.scripts.len() as u32 - 1)
    }

    /// Adds a block.
    pub fn block(&mut self, block: Block) -> BlockId {
        self.blocks.push(block);
        BlockId(self.blocks.len() as u32 - 1)
    }

    /// Adds a line at the end of a script. What it returns stands for the line's result.
    ///
    /// # Panics
    ///
    /// If there is no such script.
    pub fn line(&mut self, script: ScriptId, line: impl Into<Line>) -> LineId {
        let lines = &mut self.scripts[script.0 as usize].lines;
        lines.push(line.into());
        let index = lines.len() as u32 - 1;
        LineId { script, index }
    }

    /// Adds a call.
    ///
    /// # Panics
    ///
    /// If there is no such script.
    pub fn call(&mut self, script: ScriptId, call: Call) -> LineId {
        self.line(script, call)
    }

    /// Adds a stop.
    ///
    /// # Panics
    ///
    /// If there is no such script.
    pub fn stop(&mut self, script: ScriptId, tag: Tag) -> LineId {
        self.line(script, tag)
    }

    /// What people are to read for a descriptor that the first task is given: `pages.img`.
    pub fn name_descriptor(&mut self, fd: i32, name: impl Into<String>) {
        self.descriptors.insert(fd, name.into());
    }

    /// All scripts, in the order of their ids.
    #[must_use]
    pub fn scripts(&self) -> &[Script] {
        &self.scripts
    }

    /// All blocks, in the order of their ids.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// A script, if there is one.
    #[must_use]
    pub fn get(&self, script: ScriptId) -> Option<&Script> {
        self.scripts.get(script.0 as usize)
    }

    /// A line, if there is one.
    #[must_use]
    pub fn get_line(&self, line: LineId) -> Option<&Line> {
        self.get(line.script)?.lines.get(line.index as usize)
    }

    /// A block, if there is one.
    #[must_use]
    pub fn get_block(&self, block: BlockId) -> Option<&Block> {
        self.blocks.get(block.0 as usize)
    }

    /// The name that a descriptor was given.
    #[must_use]
    pub fn descriptor(&self, fd: i32) -> Option<&str> {
        self.descriptors.get(&fd).map(String::as_str)
    }

    /// Every line with its id, script after script.
    pub fn lines(&self) -> impl Iterator<Item = (LineId, &Line)> {
        let scripts = (0..).map(ScriptId).zip(&self.scripts);
        scripts.flat_map(|(script, it)| {
            let lines = (0..).zip(&it.lines);
            lines.map(move |(index, line)| (LineId { script, index }, line))
        })
    }
}

impl Block {
    /// These bytes.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        let (bytes, pointers) = (bytes.into(), Vec::new());
        Self { bytes, pointers }
    }

    /// Room for what a call gives back.
    #[must_use]
    pub fn room(len: usize) -> Self {
        Self::bytes(vec![0; len])
    }

    /// A path or name, to which the NUL is added.
    pub fn string(text: &[u8]) -> Result<Self, NulInString> {
        match text.contains(&0) {
            true => Err(NulInString),
            false => Ok(Self::bytes([text, b"\0"].concat())),
        }
    }

    /// Words, one after the other, as the kernel's structs of 64-bit members are.
    #[must_use]
    pub fn words(words: &[u64]) -> Self {
        Self::default().then(words)
    }

    /// The same with more words at its end.
    #[must_use]
    pub fn then(mut self, words: &[u64]) -> Self {
        self.bytes
            .extend(words.iter().flat_map(|it| it.to_le_bytes()));
        self
    }

    /// The same with an address at its end.
    #[must_use]
    pub fn then_pointer(mut self, to: DataRef) -> Self {
        let at = self.bytes.len() as u32;
        self.pointers.push(Pointer { at, to });
        self.then(&[0])
    }

    /// The same with an address in the place of eight of its bytes.
    #[must_use]
    pub fn pointer(mut self, at: u32, to: DataRef) -> Self {
        self.pointers.push(Pointer { at, to });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_found_by_its_id() {
        let mut arena = Arena::new();
        let (first, second) = (arena.script("task 1"), arena.script("task 2"));
        let path = arena.block(Block::string(b"/dev/null").unwrap());
        let stop = arena.stop(first, Tag(7));
        let call = Call::new(libc::SYS_openat).argument(1, path);
        let line = arena.call(second, call.clone());
        assert_eq!(arena.get_line(stop), Some(&Line::Stop(Tag(7))));
        assert_eq!(arena.get_line(line), Some(&Line::Call(call)));
        assert_eq!(arena.get_block(path).unwrap().bytes, b"/dev/null\0");
        assert_eq!(
            arena.lines().map(|(id, _)| id).collect::<Vec<_>>(),
            [stop, line]
        );
    }

    #[test]
    fn strings_have_no_nul() {
        assert_eq!(Block::string(b"a\0b"), Err(NulInString));
    }

    #[test]
    fn pointers_stand_where_they_were_put() {
        let to = BlockId(3).at(1);
        let block = Block::words(&[1]).then_pointer(to).then(&[2]);
        assert_eq!(block.bytes.len(), 24);
        assert_eq!(block.pointers, [Pointer { at: 8, to }]);
    }
}

//! Arguments in words, by the table of calls.
//!
//! Kind: pure. What is not as the table says (the arena may be unchecked) is shown as it is.

use crate::arena::Arena;
use crate::calls::{Form, Kind, Names, Size};
use crate::ids::{DataRef, ScriptId};
use crate::line::{Argument, Call};

/// A call of an arena.
pub(super) struct Words<'a> {
    pub(super) arena: &'a Arena,
    pub(super) script: ScriptId,
    pub(super) call: &'a Call,
}

/// Structs up to this many words are shown.
const SHORT: usize = 4;

impl Words<'_> {
    /// `name(argument=..., ...)`
    pub(super) fn strace(&self, form: &Form) -> String {
        let arguments = form.arguments.iter().enumerate();
        let shown = arguments.map(|(index, (name, kind))| match kind {
            Kind::Is(value, _) => (*value).to_owned(),
            _ => format!("{name}={}", self.argument(index, *kind)),
        });
        let shown: Vec<_> = shown.collect();
        format!("{}({})", form.name, shown.join(", "))
    }

    /// A call that no list has.
    pub(super) fn unlisted(&self) -> String {
        let shown: Vec<_> = (0..6)
            .map(|index| self.argument(index, Kind::Value))
            .collect();
        let name = crate::calls::name_of(self.call.number);
        let unnamed = format!("call {}", self.call.number);
        format!("{}({})", name.unwrap_or(&unnamed), shown.join(", "))
    }

    pub(super) fn argument(&self, index: usize, kind: Kind) -> String {
        match (self.call.arguments[index], kind) {
            (Argument::Result(line), _) if line.script == self.script => {
                format!("(result of line {})", line.number())
            }
            (Argument::Result(line), _) => {
                let name = self.arena.get(line.script).map_or("?", |it| &it.name);
                format!("(result of {} line {})", printable(name), line.number())
            }
            (Argument::Data(place), kind) => self.data(place, kind),
            (Argument::Literal(value), kind) => self.literal(value, kind),
        }
    }

    pub(super) fn literal(&self, value: u64, kind: Kind) -> String {
        match kind {
            Kind::Fd | Kind::DirFd | Kind::FdOrNone => self.descriptor(value as i32),
            Kind::Flags(names) => flags(value, names),
            Kind::OneOf(names) => one_of(value, names),
            Kind::Pid => value.to_string(),
            Kind::In(..) | Kind::Out(..) if value == 0 => "NULL".to_owned(),
            _ => number(value),
        }
    }

    fn descriptor(&self, fd: i32) -> String {
        match (fd, self.arena.descriptor(fd)) {
            (libc::AT_FDCWD, _) => "AT_FDCWD".to_owned(),
            (_, Some(name)) => printable(name),
            (fd, None) => fd.to_string(),
        }
    }

    fn data(&self, place: DataRef, kind: Kind) -> String {
        let (size, out) = match kind {
            Kind::In(size, _) => (size, false),
            Kind::Out(size, _) => (size, true),
            Kind::Memory(index) => (Size::Argument(index), true),
            _ => return format!("block {}+{:#x}", place.block.0, place.offset),
        };
        if let Size::String(most) = size {
            return quoted(self.bytes(place), most as usize);
        }
        let len = self.length(size);
        let offset = match place.offset {
            0 => String::new(),
            offset => format!("+{offset:#x}"),
        };
        if out {
            return format!("block {}{offset}", place.block.0);
        }
        match self.words(place, len) {
            Some(words) => format!("{{{}}}", words.join(", ")),
            None => format!("block {}{offset} ({len} bytes)", place.block.0),
        }
    }

    fn length(&self, size: Size) -> u64 {
        let counted = |index: usize| match self.call.arguments[index] {
            Argument::Literal(value) => value,
            _ => 0,
        };
        match size {
            Size::Fixed(len) => len,
            Size::Argument(index) => counted(index),
            Size::Each(index, each) => counted(index).saturating_mul(each),
            Size::String(_) => 0,
        }
    }

    /// A short struct as words, which is what nearly all of the kernel's are made of.
    fn words(&self, place: DataRef, len: u64) -> Option<Vec<String>> {
        let bytes = self.bytes(place).get(..usize::try_from(len).ok()?)?;
        if bytes.len() > SHORT * 8 {
            return None;
        }
        let words = bytes.chunks(8).map(|chunk| {
            let word = chunk
                .iter()
                .rev()
                .fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
            number(word)
        });
        Some(words.collect())
    }

    pub(super) fn bytes(&self, place: DataRef) -> &[u8] {
        let block = self.arena.get_block(place.block);
        let rest = block.and_then(|it| it.bytes.get(place.offset as usize..));
        rest.unwrap_or(&[])
    }

    /// A 64-bit member of a struct.
    pub(super) fn member(&self, place: DataRef, at: usize) -> Option<u64> {
        let bytes = self.bytes(place).get(at..)?.get(..8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }
}

pub(super) fn flags(value: u64, names: Names) -> String {
    let mut left = value;
    let mut shown = Vec::new();
    for (name, bits) in names {
        if *bits != 0 && left & bits == *bits {
            shown.push((*name).to_owned());
            left &= !bits;
        }
    }
    if left != 0 || shown.is_empty() {
        shown.push(if left == 0 {
            "0".into()
        } else {
            format!("{left:#x}")
        });
    }
    shown.join("|")
}

pub(super) fn one_of(value: u64, names: Names) -> String {
    let found = names.iter().find(|(_, it)| *it == value);
    found.map_or_else(|| format!("{value:#x}"), |(name, _)| (*name).to_owned())
}

pub(super) fn number(value: u64) -> String {
    match value {
        0..10 => value.to_string(),
        _ => format!("{value:#x}"),
    }
}

/// A string of the kernel's; tasks choose its bytes.
pub(super) fn quoted(bytes: &[u8], most: usize) -> String {
    let bytes = &bytes[..bytes.len().min(most)];
    let end = bytes.iter().position(|it| *it == 0).unwrap_or(bytes.len());
    format!("\"{}\"", bytes[..end].escape_ascii())
}

/// A name that may come from an image.
pub(super) fn printable(name: &str) -> String {
    name.chars()
        .flat_map(|it| match it.is_control() {
            true => it.escape_default().collect::<Vec<_>>(),
            false => vec![it],
        })
        .collect()
}

//! What an argument of a call may be.
//!
//! Kind: pure, and the words in which the table of calls is written.

use crate::calls::rules::Rule;

/// Who may make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Purpose {
    /// In a living task that is to notice nothing: calls that only read.
    Dump,
    /// In a task that is being made.
    Restore,
}

/// A call that a script may make, in one of its forms: a call whose other arguments depend on one of
/// them (prctl(2)) has a row for each.
#[derive(Debug)]
pub struct Form {
    /// Its number.
    pub number: u32,
    /// Its name, as in the manual.
    pub name: &'static str,
    /// Its arguments in order; those that are not listed are 0.
    pub arguments: &'static [(&'static str, Kind)],
    /// What its arguments have to be together.
    pub(crate) rule: Option<Rule>,
}

/// A list of names for values or bits.
pub type Names = &'static [(&'static str, u64)];

/// What one argument may be.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// This value alone. The form is for calls that have it.
    Is(&'static str, u64),
    /// 0.
    Zero,
    /// Any value, or a result.
    Value,
    /// A value up to this one.
    UpTo(u64),
    /// A descriptor.
    Fd,
    /// A descriptor or `AT_FDCWD`.
    DirFd,
    /// A descriptor or -1.
    FdOrNone,
    /// A positive process id, or a result.
    Pid,
    /// One of these.
    OneOf(Names),
    /// Any of these bits.
    Flags(Names),
    /// The first page of as many bytes of the task's memory as that argument says, away from the arena.
    Pages(usize),
    /// An address in the task's memory, or 0; away from the arena.
    Address,
    /// A number of bytes.
    Length,
    /// Bytes that the kernel reads.
    In(Size, Null),
    /// Bytes that the kernel writes.
    Out(Size, Null),
    /// Bytes of a block or of the task's memory, away from the arena; as many as that argument says.
    Memory(usize),
}

/// How many bytes of a block have to be there.
#[derive(Debug, Clone, Copy)]
pub enum Size {
    /// So many.
    Fixed(u64),
    /// As many as that argument says.
    Argument(usize),
    /// So many for each that the argument counts.
    Each(usize, u64),
    /// Up to the first NUL, which has to come within this many.
    String(u64),
}

/// Whether a null pointer will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Null {
    /// It will.
    Allowed,
    /// It will not.
    Refused,
}

/// A form without a rule of its own.
pub(super) const fn form(
    number: libc::c_long,
    name: &'static str,
    arguments: &'static [(&'static str, Kind)],
) -> Form {
    let (number, rule) = (number as u32, None);
    Form {
        number,
        name,
        arguments,
        rule,
    }
}

impl Form {
    /// The same with a rule.
    pub(super) const fn also(mut self, rule: Rule) -> Self {
        self.rule = Some(rule);
        self
    }
}

/// So many bytes to read.
pub(super) const fn input(bytes: u64) -> Kind {
    Kind::In(Size::Fixed(bytes), Null::Refused)
}

/// So many bytes to read, or none.
pub(super) const fn input_or_null(bytes: u64) -> Kind {
    Kind::In(Size::Fixed(bytes), Null::Allowed)
}

/// Room for so many bytes.
pub(super) const fn room(bytes: u64) -> Kind {
    Kind::Out(Size::Fixed(bytes), Null::Refused)
}

/// Room for so many bytes, or none.
pub(super) const fn room_or_null(bytes: u64) -> Kind {
    Kind::Out(Size::Fixed(bytes), Null::Allowed)
}

/// A path (`PATH_MAX`).
pub(super) const PATH: Kind = Kind::In(Size::String(4096), Null::Refused);
/// The size of the kernel's `sigset_t`.
pub(super) const SIGSET: Kind = Kind::Is("8", 8);
/// A signal.
pub(super) const SIGNAL: Kind = Kind::UpTo(64);

/// Names for constants of libc.
macro_rules! names {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), libc::$name as u64)),*] };
}
pub(super) use names;

//! The checker: what may be run, and why the rest may not.
//!
//! Kind: pure. It trusts nothing of an arena: it may come from a process that has read a hostile image.

use crate::arena::Arena;
use crate::calls::{Form, Kind, Null, Purpose, Size, Unlisted, View, form_of, name_of};
use crate::flow::told_by_files;
use crate::ids::{DataRef, LineId, ScriptId};
use crate::layout::{Layout, PAGE};
use crate::line::{Argument, Call, Expect, Line};
use std::fmt;

/// An arena whose every line is in the list for its purpose and within its rules, at the address for which
/// that is so. Only [`Arena::check`] makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub(crate) arena: Arena,
    pub(crate) purpose: Purpose,
    pub(crate) base: u64,
    pub(crate) layout: Layout,
}

/// Why a line, or a whole arena, is not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// Which line, if it is one.
    pub line: Option<LineId>,
    /// Its script's name, or what else it is about.
    pub place: String,
    /// The call.
    pub call: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)?;
        if let Some(line) = self.line {
            write!(f, " line {}", line.number())?;
        }
        match &self.call {
            Some(call) => write!(f, ": {call}: {}", self.reason),
            None => write!(f, ": {}", self.reason),
        }
    }
}

impl Arena {
    /// Checks every line for a purpose. `base` is the address at which the arena will be: for a restore that
    /// of the stub's page, for a dump that of the scratch memory. All refusals are given at once.
    pub fn check(self, purpose: Purpose, base: u64) -> Result<Checked, Vec<Refusal>> {
        let refuse = |reason: &str| vec![Refusal::whole(reason.into())];
        let layout = Layout::of(&self, purpose).ok_or_else(|| refuse("is too long"))?;
        let alignment = match purpose {
            Purpose::Dump => 16,
            Purpose::Restore => PAGE,
        };
        let end = base.checked_add(layout.len);
        if base == 0
            || !base.is_multiple_of(alignment)
            || end.is_none_or(|it| it > crate::calls::TASK_END)
        {
            return Err(refuse("is at no address of a task"));
        }
        let mut refusals = self.blocks_refused();
        refusals.extend(self.scripts_refused(purpose));
        for block in told_by_files(&self, purpose) {
            let reason = "is read into, and tells a call what to do";
            refusals.push(Refusal::block(block.0 as usize, reason));
        }
        for (id, line) in self.lines() {
            if let Line::Call(call) = line {
                let extent = base..base + layout.len;
                let arena = &self;
                let view = View {
                    arena,
                    call,
                    extent,
                };
                if let Err(reason) = check_call(&view, purpose, id) {
                    refusals.push(Refusal::line(arena, id, call, reason));
                }
            }
        }
        if !refusals.is_empty() {
            return Err(refusals);
        }
        Ok(Checked {
            arena: self,
            purpose,
            base,
            layout,
        })
    }

    /// How many bytes it needs in memory. None if that is more than any arena may have.
    #[must_use]
    pub fn size(&self, purpose: Purpose) -> Option<u64> {
        Layout::of(self, purpose).map(|layout| layout.len)
    }

    fn blocks_refused(&self) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        for (index, block) in self.blocks().iter().enumerate() {
            for pointer in &block.pointers {
                let here = (pointer.at as usize).checked_add(8);
                let to = self.get_block(pointer.to.block);
                if here.is_none_or(|end| end > block.bytes.len()) {
                    refusals.push(Refusal::block(index, "a pointer is outside of it"));
                } else if to.is_none_or(|it| pointer.to.offset as usize > it.bytes.len()) {
                    refusals.push(Refusal::block(index, "a pointer leads nowhere"));
                }
            }
        }
        refusals
    }

    fn scripts_refused(&self, purpose: Purpose) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        for script in self.scripts() {
            let stops = script.lines.iter().any(|it| matches!(it, Line::Stop(_)));
            if purpose == Purpose::Dump && stops {
                refusals.push(Refusal::script(
                    &script.name,
                    "a dump's script does not stop",
                ));
            }
            if purpose == Purpose::Restore && !script.lines.last().is_some_and(ends) {
                refusals.push(Refusal::script(
                    &script.name,
                    "ends with neither a stop nor an exit",
                ));
            }
        }
        refusals
    }
}

/// Whether a task does not go on after the line without its tracer's doing.
fn ends(line: &Line) -> bool {
    match line {
        Line::Stop(_) => true,
        Line::Call(call) => {
            let number = libc::c_long::from(call.number);
            number == libc::SYS_exit || number == libc::SYS_exit_group
        }
    }
}

impl Refusal {
    fn whole(reason: String) -> Self {
        Self::script("the arena", &reason)
    }

    fn block(index: usize, reason: &str) -> Self {
        Self::script(&format!("block {index}"), reason)
    }

    fn script(place: &str, reason: &str) -> Self {
        Self {
            line: None,
            place: place.into(),
            call: None,
            reason: reason.into(),
        }
    }

    fn line(arena: &Arena, id: LineId, call: &Call, reason: String) -> Self {
        let place = arena.get(id.script).map(|it| it.name.clone());
        let unnamed = || format!("call {}", call.number);
        Self {
            line: Some(id),
            place: place.unwrap_or_default(),
            call: Some(name_of(call.number).map_or_else(unnamed, Into::into)),
            reason,
        }
    }
}

fn check_call(view: &View<'_>, purpose: Purpose, id: LineId) -> Result<(), String> {
    let form = form_of(purpose, view.call).map_err(|unlisted| match unlisted {
        Unlisted::Number => "is not in the list of calls".to_owned(),
        Unlisted::Form(_) => "is in the list of calls, but not with these options".to_owned(),
    })?;
    references(view, id)?;
    for index in 0..view.call.arguments.len() {
        let (name, kind) = form.arguments.get(index).unwrap_or(&("beyond", Kind::Zero));
        check_argument(view, *kind, index).map_err(|reason| format!("{name}: {reason}"))?;
    }
    outcome(view, form, purpose)?;
    form.rule.map_or(Ok(()), |rule| rule(view))
}

/// Results that are used have to be there, and no errors.
fn references(view: &View<'_>, id: LineId) -> Result<(), String> {
    for argument in view.call.arguments {
        let Argument::Result(of) = argument else {
            continue;
        };
        if of.script == id.script && of.index >= id.index {
            return Err(format!(
                "uses the result of line {}, which comes later",
                of.number()
            ));
        }
        let Some(Line::Call(source)) = view.arena.get_line(of) else {
            return Err("uses the result of what is no call".into());
        };
        if matches!(
            source.expect,
            Expect::Any | Expect::SuccessOr(_) | Expect::OneOf(..)
        ) {
            return Err(format!(
                "uses the result of line {}, which may fail",
                of.number()
            ));
        }
    }
    Ok(())
}

fn outcome(view: &View<'_>, form: &Form, purpose: Purpose) -> Result<(), String> {
    let call = view.call;
    if let Some(ScriptId(script)) = call.child {
        if call.number != libc::SYS_clone3 as u32 {
            return Err("has a child's script and makes no child".into());
        }
        if view.arena.get(ScriptId(script)).is_none() {
            return Err(format!("there is no script {script}"));
        }
    }
    if let Some(place) = call.copy_to {
        if purpose == Purpose::Dump {
            return Err("a dump's script copies no results".into());
        }
        view.bytes(place, 4)
            .map_err(|reason| format!("copy: {reason}"))?;
    }
    if purpose == Purpose::Dump && call.expect != Expect::Any {
        return Err(format!(
            "{} may fail in a living task: its result is for the tracer",
            form.name
        ));
    }
    Ok(())
}

fn check_argument(view: &View<'_>, kind: Kind, index: usize) -> Result<(), String> {
    match (kind, view.call.arguments[index]) {
        (Kind::In(size, null) | Kind::Out(size, null), argument) => {
            let out = matches!(kind, Kind::Out(..));
            pointed_to(view, size, null, argument, out)
        }
        (Kind::Memory(length), Argument::Data(place)) => {
            let len = counted(view, length)?;
            view.bytes(place, len)?;
            // Also where it is read and not written: nobody means to write addresses to a file.
            match overlaps_pointer(view.arena, place, len) {
                true => Err("holds an address".into()),
                false => Ok(()),
            }
        }
        (_, Argument::Data(_)) => Err("is no pointer to data".into()),
        (
            Kind::Value | Kind::Fd | Kind::DirFd | Kind::FdOrNone | Kind::Pid,
            Argument::Result(_),
        ) => Ok(()),
        (_, Argument::Result(_)) => Err("has to be known beforehand".into()),
        (kind, Argument::Literal(value)) => check_literal(view, kind, value),
    }
}

fn check_literal(view: &View<'_>, kind: Kind, value: u64) -> Result<(), String> {
    let within = |fine: bool| match fine {
        true => Ok(()),
        false => Err(format!("{value:#x} is not allowed")),
    };
    match kind {
        Kind::Is(_, wanted) => within(value == wanted),
        Kind::Zero => within(value == 0),
        Kind::Value => Ok(()),
        Kind::UpTo(most) => within(value <= most),
        Kind::Fd => within(i32::try_from(value).is_ok()),
        Kind::DirFd => within(i32::try_from(value).is_ok() || value as i32 == libc::AT_FDCWD),
        Kind::FdOrNone => within(i32::try_from(value).is_ok() || value as i32 == -1),
        Kind::Pid => within(value > 0 && i32::try_from(value).is_ok()),
        Kind::OneOf(names) => within(names.iter().any(|(_, it)| *it == value)),
        Kind::Flags(names) => within(names.iter().fold(value, |left, (_, it)| left & !it) == 0),
        Kind::Pages(length) => {
            within(value.is_multiple_of(PAGE))?;
            view.away(value, counted(view, length)?.next_multiple_of(PAGE))
        }
        Kind::Memory(length) => view.away(value, counted(view, length)?),
        Kind::Address if value == 0 => Ok(()),
        Kind::Address => view.away(value, PAGE),
        Kind::Length => within(value <= i64::MAX as u64),
        Kind::In(..) | Kind::Out(..) => Err("points to no block".into()),
    }
}

/// The number that another argument is.
fn counted(view: &View<'_>, index: usize) -> Result<u64, String> {
    let value = view
        .literal(index)
        .filter(|it| *it <= crate::calls::TASK_END);
    value.ok_or_else(|| "is of no known length".into())
}

fn pointed_to(
    view: &View<'_>,
    size: Size,
    null: Null,
    argument: Argument,
    out: bool,
) -> Result<(), String> {
    let place = match argument {
        Argument::Literal(0) if null == Null::Allowed => return Ok(()),
        Argument::Data(place) => place,
        _ => return Err("points to no block".into()),
    };
    if let Size::String(most) = size {
        return string(view, place, most);
    }
    let len = match size {
        Size::Fixed(len) => len,
        Size::Argument(index) => counted(view, index)?,
        Size::Each(index, each) => counted(view, index)?.saturating_mul(each),
        Size::String(_) => 0,
    };
    view.bytes(place, len)?;
    match out && overlaps_pointer(view.arena, place, len) {
        true => Err("is written over an address".into()),
        false => Ok(()),
    }
}

fn string(view: &View<'_>, place: DataRef, most: u64) -> Result<(), String> {
    let rest = view
        .arena
        .get_block(place.block)
        .map(|it| it.bytes.as_slice());
    let rest = rest
        .and_then(|it| it.get(place.offset as usize..))
        .unwrap_or(&[]);
    match rest.iter().take(most as usize).any(|byte| *byte == 0) {
        true => Ok(()),
        false => Err(format!("has no NUL within {most} bytes")),
    }
}

/// What the kernel writes must not change what was checked to be an address.
fn overlaps_pointer(arena: &Arena, place: DataRef, len: u64) -> bool {
    let start = u64::from(place.offset);
    let block = arena.get_block(place.block);
    let mut pointers = block.into_iter().flat_map(|it| &it.pointers);
    pointers.any(|it| {
        let at = u64::from(it.at);
        at < start + len && at + 8 > start
    })
}

//! What the arguments of some calls have to be together, or in the structs that they point to.
//!
//! Kind: pure. A rule sees the arena with the addresses that it will have.

use crate::arena::{Arena, Block};
use crate::ids::DataRef;
use crate::line::{Argument, Call};
use std::ops::Range;

/// Says what is wrong.
pub(crate) type Rule = fn(&View<'_>) -> Result<(), String>;

/// A call in its arena.
pub(crate) struct View<'a> {
    pub(crate) arena: &'a Arena,
    pub(crate) call: &'a Call,
    /// Addresses of the arena.
    pub(crate) extent: Range<u64>,
}

/// Addresses from here on are not those of a task.
pub(crate) const TASK_END: u64 = (1 << 47) - 4096;

const SIGTRAP_BIT: u64 = 1 << (libc::SIGTRAP - 1);

impl View<'_> {
    /// The value of an argument that is no result and no address of a block.
    pub(crate) fn literal(&self, index: usize) -> Option<u64> {
        match self.call.arguments[index] {
            Argument::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// Refuses memory that is not a task's own.
    pub(crate) fn away(&self, start: u64, len: u64) -> Result<(), String> {
        let end = start.checked_add(len).filter(|end| *end <= TASK_END);
        let end =
            end.ok_or_else(|| format!("{start:#x} and {len} bytes is no memory of a task"))?;
        if start < self.extent.end && end > self.extent.start {
            return Err(format!("{start:#x}-{end:#x} is over the scripts"));
        }
        Ok(())
    }

    /// As many bytes of a block, from where the reference points.
    pub(crate) fn bytes(&self, place: DataRef, len: u64) -> Result<&[u8], String> {
        let block = self.arena.get_block(place.block);
        let block = block.ok_or_else(|| format!("there is no block {}", place.block.0))?;
        let rest = block.bytes.get(place.offset as usize..).unwrap_or(&[]);
        usize::try_from(len)
            .ok()
            .and_then(|len| rest.get(..len))
            .ok_or_else(|| format!("{} bytes are there, not {len}", rest.len()))
    }

    /// The struct that an argument points to.
    fn structure(&self, index: usize) -> Result<Structure<'_>, String> {
        match self.call.arguments[index] {
            Argument::Data(place) => self.structure_at(place),
            _ => Err("points to no block".into()),
        }
    }

    fn structure_at(&self, place: DataRef) -> Result<Structure<'_>, String> {
        let block = self.arena.get_block(place.block);
        let block = block.ok_or_else(|| format!("there is no block {}", place.block.0))?;
        let view = self;
        Ok(Structure { view, block, place })
    }
}

/// A struct in a block.
struct Structure<'a> {
    view: &'a View<'a>,
    block: &'a Block,
    place: DataRef,
}

impl Structure<'_> {
    fn word(&self, at: u32) -> Result<u64, String> {
        let from = self.place.block.at(self.place.offset.saturating_add(at));
        let bytes = self.view.bytes(from, 8)?;
        Ok(u64::from_le_bytes(bytes.try_into().unwrap_or_default()))
    }

    /// Where a member points to, if it is to a block.
    fn target(&self, at: u32) -> Option<DataRef> {
        let at = self.place.offset.checked_add(at)?;
        let mut pointers = self.block.pointers.iter();
        pointers.find(|it| it.at == at).map(|it| it.to)
    }

    /// A member that is an address: of as many bytes of a block, of the task's own memory, or 0.
    fn address(&self, name: &str, at: u32, len: u64) -> Result<Option<DataRef>, String> {
        let wrong = |reason: String| format!("{name}: {reason}");
        if let Some(to) = self.target(at) {
            return self.view.bytes(to, len).map(|_| Some(to)).map_err(wrong);
        }
        match self.word(at)? {
            0 => Ok(None),
            start => self.view.away(start, len).map(|()| None).map_err(wrong),
        }
    }
}

/// mmap(2): at an address that the caller chooses.
pub(super) fn mapping(view: &View<'_>) -> Result<(), String> {
    let flags = view.literal(3).unwrap_or(0);
    let fixed = (libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE) as u64;
    if flags & fixed == 0 {
        return Err("flags: neither MAP_FIXED nor MAP_FIXED_NOREPLACE".into());
    }
    if flags & 3 == 0 {
        return Err("flags: neither MAP_SHARED nor MAP_PRIVATE".into());
    }
    Ok(())
}

/// preadv(2): the memory that is written.
pub(super) fn iovecs(view: &View<'_>) -> Result<(), String> {
    let count = view.literal(2).unwrap_or(0);
    let vectors = view.structure(1)?;
    each_iovec(&vectors, count)
}

fn each_iovec(vectors: &Structure<'_>, count: u64) -> Result<(), String> {
    for index in 0..count.min(1024) as u32 {
        let len = vectors.word(index * 16 + 8)?;
        vectors.address(&format!("iovec {index}"), index * 16, len)?;
    }
    Ok(())
}

/// sendmsg(2) and recvmsg(2): `struct msghdr` and what it points to.
pub(super) fn message(view: &View<'_>) -> Result<(), String> {
    let head = view.structure(1)?;
    head.address("name", 0, head.word(8)? & 0xffff_ffff)?;
    let count = head.word(24)?;
    if count > 1024 {
        return Err(format!("{count} iovecs"));
    }
    if let Some(vectors) = head.address("iovecs", 16, count * 16)? {
        each_iovec(&view.structure_at(vectors)?, count)?;
    } else if count > 0 {
        return Err("the iovecs are in no block".into());
    }
    head.address("control", 32, head.word(40)?)?;
    Ok(())
}

/// setsockopt(2): a filter is read from a block (`struct sock_fprog`), and no other option has an address.
pub(super) fn socket_filter(view: &View<'_>) -> Result<(), String> {
    let wanted = (libc::SOL_SOCKET as u64, libc::SO_ATTACH_FILTER as u64);
    if (view.literal(1), view.literal(2)) != (Some(wanted.0), Some(wanted.1)) {
        return Ok(());
    }
    let program = view.structure(3)?;
    let length = (program.word(0)? & 0xffff) * 8;
    match program.address("filter", 8, length)? {
        Some(_) => Ok(()),
        None => Err("filter: points to no block".into()),
    }
}

/// unlinkat(2) and the like: a name in a directory, which leads nowhere else.
pub(super) fn one_name(view: &View<'_>) -> Result<(), String> {
    let Argument::Data(place) = view.call.arguments[1] else {
        return Err("name: points to no block".into());
    };
    let block = view.arena.get_block(place.block);
    let rest = block.and_then(|it| it.bytes.get(place.offset as usize..));
    let name = rest.unwrap_or(&[]).split(|byte| *byte == 0).next();
    match name.unwrap_or(&[]) {
        b"" | b"." | b".." => Err("name: is none of a file".into()),
        name if name.contains(&b'/') => Err("name: leads elsewhere".into()),
        _ => Ok(()),
    }
}

/// shmat(2): an address of the task's own. How long the segment is, only the kernel knows:
/// it refuses to map over what is there.
pub(super) fn attach_at(view: &View<'_>) -> Result<(), String> {
    match view.literal(1) {
        None | Some(0) => Err("address: has to be chosen".into()),
        Some(_) => Ok(()),
    }
}

/// msgsnd(2): the type is not part of the length.
pub(super) fn queued_message(view: &View<'_>) -> Result<(), String> {
    let Argument::Data(place) = view.call.arguments[1] else {
        return Err("message: points to no block".into());
    };
    let length = view.literal(2).and_then(|it| it.checked_add(8));
    let length = length.ok_or("length: has to be a number")?;
    view.bytes(place, length).map(drop)
}

/// getsockopt(2): as much as there is room for.
pub(super) fn four_bytes(view: &View<'_>) -> Result<(), String> {
    let Argument::Data(place) = view.call.arguments[4] else {
        return Err("length: points to no block".into());
    };
    match view.bytes(place, 4)? {
        [0..=4, 0, 0, 0] => Ok(()),
        _ => Err("length: more than 4".into()),
    }
}

/// rt_sigprocmask(2): stops are made of SIGTRAP.
pub(super) fn leaves_trap_unblocked(view: &View<'_>) -> Result<(), String> {
    let blocks = view.literal(0) != Some(libc::SIG_UNBLOCK as u64);
    let set = view.structure(1)?.word(0)?;
    match blocks && set & SIGTRAP_BIT != 0 {
        true => Err("set: blocks SIGTRAP, of which stops are made".into()),
        false => Ok(()),
    }
}

/// Flags of clone3(2) with which the parent goes on at once and the tracer follows the child.
const CLONE: u64 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_PIDFD
    | libc::CLONE_PARENT
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID
    | libc::CLONE_CHILD_SETTID
    | libc::CLONE_IO
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32 as u64
    | 0x80
    | 0x1_0000_0000
    | 0x2_0000_0000;

/// clone3(2): `struct clone_args`, and a script for the child.
pub(super) fn clone(view: &View<'_>) -> Result<(), String> {
    if view.call.child.is_none() {
        return Err("the child has no script".into());
    }
    let arguments = view.structure(0)?;
    let flags = arguments.word(0)?;
    if flags & !CLONE != 0 {
        return Err(format!("flags: {:#x} is not allowed", flags & !CLONE));
    }
    let addresses = [("pidfd", 8), ("child_tid", 16), ("parent_tid", 24)];
    for (name, at) in addresses {
        arguments.address(name, at, 4)?;
    }
    if arguments.word(40)? != 0 || arguments.word(48)? != 0 || arguments.target(40).is_some() {
        return Err("stack: a script has none".into());
    }
    let count = arguments.word(72)?;
    if count > 32 {
        return Err(format!("set_tid: {count} ids"));
    }
    let ids = arguments.address("set_tid", 64, count * 4)?;
    match count > 0 && ids.is_none() {
        true => Err("set_tid: points to no block".into()),
        false => Ok(()),
    }
}

/// prctl(2) `PR_SET_MM_MAP`: the auxiliary vector is read from a block.
pub(super) fn memory_map(view: &View<'_>) -> Result<(), String> {
    let map = view.structure(2)?;
    map.address("auxv", 88, map.word(96)? & 0xffff_ffff)
        .map(drop)
}

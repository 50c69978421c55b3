//! What is read from files and sockets must not become what calls are told: it was not there to be checked.
//!
//! Kind: pure.

use crate::arena::Arena;
use crate::calls::{Kind, Purpose, form_of};
use crate::ids::{BlockId, DataRef};
use crate::line::{Argument, Call, Line};
use std::collections::BTreeSet;

/// `msg_iov` and `msg_control` of struct msghdr, `set_tid` of struct clone_args.
const IOVECS: u32 = 16;
const CONTROL: u32 = 32;
const SET_TID: u32 = 64;

/// Blocks into which a call reads foreign bytes, and which tell another call what to do.
pub(crate) fn told_by_files(arena: &Arena, purpose: Purpose) -> BTreeSet<BlockId> {
    let (mut read, mut told) = (BTreeSet::new(), BTreeSet::new());
    for (_, line) in arena.lines() {
        if let Line::Call(call) = line {
            read.extend(read_into(arena, call));
            told.extend(told_to(arena, purpose, call));
        }
    }
    read.intersection(&told).copied().collect()
}

fn place(call: &Call, index: usize) -> Option<DataRef> {
    match call.arguments[index] {
        Argument::Data(place) => Some(place),
        _ => None,
    }
}

/// Where a member of a struct points to.
fn member(arena: &Arena, of: DataRef, at: u32) -> Option<DataRef> {
    let at = of.offset.checked_add(at)?;
    let mut pointers = arena.get_block(of.block)?.pointers.iter();
    pointers.find(|it| it.at == at).map(|it| it.to)
}

/// Where anything in a block of iovecs points to.
fn buffers(arena: &Arena, iovecs: DataRef) -> Vec<BlockId> {
    let block = arena.get_block(iovecs.block);
    let pointers = block.into_iter().flat_map(|it| &it.pointers);
    pointers.map(|it| it.to.block).collect()
}

fn read_into(arena: &Arena, call: &Call) -> Vec<BlockId> {
    let Some(to) = place(call, 1) else {
        return Vec::new();
    };
    match call.number.into() {
        libc::SYS_read | libc::SYS_pread64 => vec![to.block],
        libc::SYS_preadv => buffers(arena, to),
        libc::SYS_recvmsg => {
            let vectors = member(arena, to, IOVECS).map(|it| buffers(arena, it));
            let control = member(arena, to, CONTROL).map(|it| it.block);
            vectors.into_iter().flatten().chain(control).collect()
        }
        _ => Vec::new(),
    }
}

fn told_to(arena: &Arena, purpose: Purpose, call: &Call) -> Vec<BlockId> {
    let Ok(form) = form_of(purpose, call) else {
        return Vec::new();
    };
    let kinds = form.arguments.iter().enumerate();
    let inputs = kinds.filter(|(_, (_, kind))| matches!(kind, Kind::In(..)));
    let structs: Vec<_> = inputs.filter_map(|(index, _)| place(call, index)).collect();
    let inner = match call.number.into() {
        libc::SYS_sendmsg | libc::SYS_recvmsg => Some(IOVECS),
        libc::SYS_clone3 => Some(SET_TID),
        _ => None,
    };
    let inner = inner.and_then(|at| member(arena, *structs.first()?, at));
    structs
        .iter()
        .copied()
        .chain(inner)
        .map(|it| it.block)
        .collect()
}

//! The two places where a process touches an arena's memory: mapping it, and going into the stub.
//!
//! Kind: effect, and the only place of this crate with `unsafe` code.

#![allow(unsafe_code)]

use crate::calls::Purpose;
use crate::errno::Errno;
use crate::ids::ScriptId;
use crate::layout::PAGE;
use crate::link::Linked;
use std::arch::asm;
use std::os::fd::{AsRawFd, BorrowedFd};

/// An arena that is mapped in this process, at its own address. It stays mapped.
#[derive(Debug)]
pub struct Mapped {
    stub: u64,
    first_line: u64,
}

/// Why an arena is not mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// There is no such script, or it is one of a dump.
    #[error("map the arena: there is no script {} for a restore", .0.0)]
    NoScript(ScriptId),
    /// A system call.
    #[error("map the arena: mmap({address:#x}, {len:#x}, MAP_SHARED|MAP_FIXED_NOREPLACE): {errno}")]
    Call {
        /// Where.
        address: u64,
        /// How much.
        len: u64,
        /// The kernel's answer.
        errno: Errno,
    },
}

/// Maps an arena for a restore at its address: the stub executable, the rest writable. `memory` holds
/// [`Linked::bytes`] (memfd_create(2)). Fails if anything is at that address already. For a child
/// that is to [`enter`] a script.
pub fn map_arena(
    linked: &Linked,
    memory: BorrowedFd<'_>,
    script: ScriptId,
) -> Result<Mapped, MapError> {
    let first_line = linked
        .entry(script)
        .filter(|_| linked.purpose() == Purpose::Restore)
        .ok_or(MapError::NoScript(script))?;
    let (base, len) = (linked.base(), linked.bytes().len() as u64);
    map(memory, base, PAGE, 0, libc::PROT_READ | libc::PROT_EXEC)?;
    map(
        memory,
        base + PAGE,
        len - PAGE,
        PAGE,
        libc::PROT_READ | libc::PROT_WRITE,
    )?;
    let stub = base;
    Ok(Mapped { stub, first_line })
}

fn map(
    memory: BorrowedFd<'_>,
    address: u64,
    len: u64,
    offset: u64,
    protection: i32,
) -> Result<(), MapError> {
    let flags = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE;
    if len == 0 {
        return Ok(());
    }
    // SAFETY: MAP_FIXED_NOREPLACE maps only where nothing is, so no memory of this program changes; no
    // reference to the new memory is made here. The descriptor is borrowed for the call.
    let at = unsafe {
        libc::mmap(
            address as *mut libc::c_void,
            len as usize,
            protection,
            flags,
            memory.as_raw_fd(),
            offset as libc::off_t,
        )
    };
    if at as u64 == address {
        return Ok(());
    }
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    let errno = match at == libc::MAP_FAILED {
        true => Errno(errno as u16),
        false => Errno(libc::EEXIST as u16),
    };
    Err(MapError::Call {
        address,
        len,
        errno,
    })
}

/// Leaves this program for the stub: blocks all signals but SIGTRAP and jumps to the script's first line. For a
/// process of a single thread that was forked for this; nothing of it is dropped.
pub fn enter(arena: Mapped) -> ! {
    let blocked: u64 = !(1 << (libc::SIGTRAP - 1));
    let entry = arena.first_line;
    // The stub's entry is the first byte of the arena, which `map_arena` put there.
    let stub = arena.stub;
    // SAFETY: rt_sigprocmask reads the mask, which lives in this frame until after the call, and writes
    // nothing. The jump leaves Rust for good: the stub is mapped at `stub` and first_line in the
    // memory behind it, as `Mapped` says, for as long as the process lives; the stub uses no stack
    // and returns to no frame, so what it unmaps is missed by nobody.
    unsafe {
        asm!(
            "syscall",
            "mov r15, r12",
            "jmp r13",
            in("rax") libc::SYS_rt_sigprocmask,
            in("rdi") libc::SIG_SETMASK,
            in("rsi") &raw const blocked,
            in("rdx") 0,
            in("r10") 8,
            in("r12") entry,
            in("r13") stub,
            options(noreturn)
        )
    }
}

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
    /// Its restartable sequences stay registered: the kernel would write where nothing is mapped.
    #[error("map the arena: rseq({address:#x}, {len}, RSEQ_FLAG_UNREGISTER): {errno}")]
    Rseq {
        /// Where.
        address: u64,
        /// How long.
        len: u64,
        /// The kernel's answer.
        errno: Errno,
    },
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
/// [`Linked::bytes`] (memfd_create(2)). Unregisters the restartable sequences that the C library has registered for this
/// thread (rseq(2)), which only this process knows the place of, so that scripts can unmap it. Fails if anything is at that address already. For a child
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
    unregister_rseq()?;
    let stub = base;
    Ok(Mapped { stub, first_line })
}

/// `RSEQ_SIG` of x86-64, and the length of the first `struct rseq`.
const RSEQ_SIGNATURE: u64 = 0x5305_3053;
const RSEQ_LEN: u64 = 32;
const AT_RSEQ_FEATURE_SIZE: u64 = 27;

fn unregister_rseq() -> Result<(), MapError> {
    let Some(address) = rseq_of_libc() else {
        return Ok(());
    };
    // SAFETY: it reads the auxiliary vector that the kernel made.
    let newer = unsafe { libc::getauxval(AT_RSEQ_FEATURE_SIZE) };
    // glibc registers what the kernel can use, in whole 32 bytes, or 32 bytes (before 2.40).
    let lengths = [RSEQ_LEN, newer.max(RSEQ_LEN).next_multiple_of(RSEQ_LEN)];
    let mut errno = 0;
    for len in lengths {
        // SAFETY: the kernel resets the members of glibc's struct rseq, which lives as long as the thread,
        // and forgets it. What reads it finds that it is not registered.
        let result = unsafe { libc::syscall(libc::SYS_rseq, address, len, 1, RSEQ_SIGNATURE) };
        if result == 0 {
            return Ok(());
        }
        errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    }
    let (len, errno) = (RSEQ_LEN, Errno(errno as u16));
    Err(MapError::Rseq {
        address,
        len,
        errno,
    })
}

/// Where glibc has registered this thread's, if it has.
fn rseq_of_libc() -> Option<u64> {
    // SAFETY: both names are static C strings. glibc documents the symbols as an offset from the thread pointer and
    // an unsigned length that is 0 where nothing is registered; they live as long as the program.
    let (offset, size) = unsafe {
        let offset = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr());
        let size = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_size".as_ptr());
        if offset.is_null() || size.is_null() {
            return None;
        }
        (*offset.cast::<i64>(), *size.cast::<u32>())
    };
    let thread: u64;
    // SAFETY: the first word at the thread pointer is its own address (x86-64 ABI of thread-local storage).
    unsafe { asm!("mov {}, fs:0", out(reg) thread, options(nostack, readonly, preserves_flags)) };
    (size > 0).then(|| thread.wrapping_add_signed(offset))
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

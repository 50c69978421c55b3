//! The system calls of this crate that need unsafe code: ptrace(2), waitpid(2), process_vm_*(2).
//!
//! Kind: effect. One call a function, and no decision.
#![allow(unsafe_code)]

use crate::state::{Queue, Registers, RseqConfiguration, SigInfo};
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;
use std::ffi::c_void;
use std::mem::{MaybeUninit, size_of};
use std::ptr::null_mut;

/// `linux/elf.h`.
const NT_PRSTATUS: usize = 1;
const NT_X86_XSTATE: usize = 0x202;
/// `linux/ptrace.h`.
const PTRACE_GET_RSEQ_CONFIGURATION: u32 = 0x420f;
const PTRACE_SECCOMP_GET_FILTER: u32 = 0x420c;
const PTRACE_SECCOMP_GET_METADATA: u32 = 0x420d;
const PTRACE_PEEKSIGINFO_SHARED: u32 = 1;
/// A first guess at the size of an xsave area: with AMX it is 11 KiB.
const XSTATE_GUESS: usize = 12 << 10;

/// Whether a wait returns at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    Forever,
    None,
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn answer(result: libc::c_long) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| last_errno())
}

/// A request whose last two arguments are no addresses in our memory.
fn request(request: u32, tid: i32, address: usize, data: usize) -> Result<usize, Errno> {
    // SAFETY: callers give only requests that take both arguments as numbers, or as an address in the
    // traced task; no memory of ours is read or written.
    answer(unsafe { libc::ptrace(request, tid, address as *mut c_void, data as *mut c_void) })
}

pub(crate) fn seize(tid: i32, options: u32) -> Result<(), Errno> {
    request(libc::PTRACE_SEIZE, tid, 0, options as usize).map(drop)
}

pub(crate) fn interrupt(tid: i32) -> Result<(), Errno> {
    request(libc::PTRACE_INTERRUPT, tid, 0, 0).map(drop)
}

/// `which` is one of those that make a thread go on: all take a signal.
pub(crate) fn resume(tid: i32, which: u32, signal: i32) -> Result<(), Errno> {
    request(which, tid, 0, signal as usize).map(drop)
}

pub(crate) fn set_options(tid: i32, options: u32) -> Result<(), Errno> {
    request(libc::PTRACE_SETOPTIONS, tid, 0, options as usize).map(drop)
}

pub(crate) fn poke(tid: i32, address: u64, word: u64) -> Result<(), Errno> {
    let (address, word) = (address as usize, word as usize);
    request(libc::PTRACE_POKEDATA, tid, address, word).map(drop)
}

pub(crate) fn event_message(tid: i32) -> Result<u64, Errno> {
    let mut message: libc::c_ulong = 0;
    let data = (&raw mut message).cast::<c_void>();
    // SAFETY: `data` points to a local that lives through the call; the kernel writes one unsigned long.
    answer(unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, tid, null_mut::<c_void>(), data) })?;
    Ok(message)
}

/// Reads a register set into `area`; how many bytes it had.
fn get_regset(tid: i32, set: usize, area: &mut [MaybeUninit<u8>]) -> Result<usize, Errno> {
    let mut vector = libc::iovec {
        iov_base: area.as_mut_ptr().cast(),
        iov_len: area.len(),
    };
    let data = (&raw mut vector).cast::<c_void>();
    // SAFETY: `vector` is a local, and describes `area`, which is borrowed for the call. The kernel
    // writes at most `iov_len` bytes there and the number of them into `iov_len`.
    answer(unsafe { libc::ptrace(libc::PTRACE_GETREGSET, tid, set as *mut c_void, data) })?;
    Ok(vector.iov_len)
}

/// The kernel only reads from `area`.
fn set_regset(tid: i32, set: usize, area: &[u8]) -> Result<(), Errno> {
    let mut vector = libc::iovec {
        iov_base: area.as_ptr().cast_mut().cast(),
        iov_len: area.len(),
    };
    let data = (&raw mut vector).cast::<c_void>();
    // SAFETY: `vector` is a local, and describes `area`, which is borrowed for the call. The kernel
    // reads from it, and writes only `iov_len`.
    answer(unsafe { libc::ptrace(libc::PTRACE_SETREGSET, tid, set as *mut c_void, data) }).map(drop)
}

pub(crate) fn registers(tid: i32) -> Result<Registers, Errno> {
    let mut registers = MaybeUninit::<Registers>::zeroed();
    let count = get_regset(tid, NT_PRSTATUS, bytes_of(&mut registers))?;
    if count != size_of::<Registers>() {
        // A 32-bit task has another set.
        return Err(Errno::NOEXEC);
    }
    // SAFETY: a struct of integers, zeroed and then written: any bytes are a value.
    Ok(unsafe { registers.assume_init() })
}

/// Uninitialized memory as bytes.
fn bytes_of<T>(value: &mut MaybeUninit<T>) -> &mut [MaybeUninit<u8>] {
    // SAFETY: the bytes of `value`, borrowed as long as it is; uninitialized ones are allowed.
    unsafe { std::slice::from_raw_parts_mut(value.as_mut_ptr().cast(), size_of::<T>()) }
}

pub(crate) fn set_registers(tid: i32, registers: &Registers) -> Result<(), Errno> {
    let start = (&raw const *registers).cast::<u8>();
    // SAFETY: the bytes of a struct of 27 integers of 8 bytes, which has no padding, borrowed for the call.
    let bytes = unsafe { std::slice::from_raw_parts(start, size_of::<Registers>()) };
    set_regset(tid, NT_PRSTATUS, bytes)
}

pub(crate) fn xstate(tid: i32) -> Result<Vec<u8>, Errno> {
    let mut area: Vec<u8> = Vec::with_capacity(XSTATE_GUESS);
    loop {
        let room = area.capacity();
        let count = get_regset(tid, NT_X86_XSTATE, area.spare_capacity_mut())?;
        if count < room {
            // SAFETY: the kernel has written `count` bytes, which is within the capacity.
            unsafe { area.set_len(count) };
            return Ok(area);
        }
        area.reserve(room * 2);
    }
}

pub(crate) fn set_xstate(tid: i32, area: &[u8]) -> Result<(), Errno> {
    set_regset(tid, NT_X86_XSTATE, area)
}

pub(crate) fn signal_mask(tid: i32) -> Result<u64, Errno> {
    let mut mask = 0u64;
    let (size, data) = (
        size_of::<u64>() as *mut c_void,
        (&raw mut mask).cast::<c_void>(),
    );
    // SAFETY: `data` points to a local of the size that is given; the kernel writes that much.
    answer(unsafe { libc::ptrace(libc::PTRACE_GETSIGMASK, tid, size, data) })?;
    Ok(mask)
}

pub(crate) fn set_signal_mask(tid: i32, mut mask: u64) -> Result<(), Errno> {
    let (size, data) = (
        size_of::<u64>() as *mut c_void,
        (&raw mut mask).cast::<c_void>(),
    );
    // SAFETY: `data` points to a local of the size that is given; the kernel reads that much.
    answer(unsafe { libc::ptrace(libc::PTRACE_SETSIGMASK, tid, size, data) }).map(drop)
}

/// Copies signals from `from` on; how many there were.
pub(crate) fn peek_signals(
    tid: i32,
    queue: Queue,
    from: u64,
    into: &mut [SigInfo],
) -> Result<usize, Errno> {
    let mut arguments = libc::ptrace_peeksiginfo_args {
        off: from,
        flags: match queue {
            Queue::Thread => 0,
            Queue::Process => PTRACE_PEEKSIGINFO_SHARED,
        },
        nr: into.len() as i32,
    };
    let address = (&raw mut arguments).cast::<c_void>();
    let data = into.as_mut_ptr().cast::<c_void>();
    // SAFETY: `arguments` is a local that the kernel reads; `data` has room for the `nr` structs that it
    // may write, and is borrowed for the call.
    answer(unsafe { libc::ptrace(libc::PTRACE_PEEKSIGINFO, tid, address, data) })
}

/// Instructions of a filter of a thread (`BPF_MAXINSNS` at most), the oldest filter is 0.
pub(crate) fn seccomp_filter(tid: i32, index: u64) -> Result<Vec<[u8; 8]>, Errno> {
    let address = index as usize as *mut c_void;
    // SAFETY: without a place for them the kernel only counts the instructions.
    let count = answer(unsafe {
        libc::ptrace(
            PTRACE_SECCOMP_GET_FILTER,
            tid,
            address,
            null_mut::<c_void>(),
        )
    })?;
    let mut program = vec![[0_u8; 8]; count];
    let data = program.as_mut_ptr().cast::<c_void>();
    // SAFETY: `data` has room for `count` instructions of 8 bytes; the filter is that of a stopped thread, which
    // adds none.
    answer(unsafe { libc::ptrace(PTRACE_SECCOMP_GET_FILTER, tid, address, data) })?;
    Ok(program)
}

/// `SECCOMP_FILTER_FLAG_*` with which a filter was installed.
pub(crate) fn seccomp_flags(tid: i32, index: u64) -> Result<u64, Errno> {
    // struct seccomp_metadata: which filter; its flags.
    let mut metadata = [index, 0_u64];
    let size = size_of_val(&metadata) as *mut c_void;
    let data = metadata.as_mut_ptr().cast::<c_void>();
    // SAFETY: `data` points to a local of the size that is given, which the kernel reads and writes.
    answer(unsafe { libc::ptrace(PTRACE_SECCOMP_GET_METADATA, tid, size, data) })?;
    Ok(metadata[1])
}

pub(crate) fn signal_info(tid: i32) -> Result<SigInfo, Errno> {
    let mut info = SigInfo([0; _]);
    let data = (&raw mut info).cast::<c_void>();
    // SAFETY: `data` points to a local of the size and alignment of siginfo_t, which the kernel writes.
    answer(unsafe { libc::ptrace(libc::PTRACE_GETSIGINFO, tid, null_mut::<c_void>(), data) })?;
    Ok(info)
}

pub(crate) fn set_signal_info(tid: i32, info: &SigInfo) -> Result<(), Errno> {
    let data = (&raw const *info).cast_mut().cast::<c_void>();
    // SAFETY: `data` points to a borrowed struct of the size and alignment of siginfo_t; the kernel reads it.
    answer(unsafe { libc::ptrace(libc::PTRACE_SETSIGINFO, tid, null_mut::<c_void>(), data) })
        .map(drop)
}

pub(crate) fn rseq(tid: i32) -> Result<RseqConfiguration, Errno> {
    let mut found = MaybeUninit::<libc::ptrace_rseq_configuration>::zeroed();
    let size = size_of::<libc::ptrace_rseq_configuration>() as *mut c_void;
    let data = found.as_mut_ptr().cast::<c_void>();
    // SAFETY: `data` points to a local of the size that is given; the kernel writes at most that much.
    answer(unsafe { libc::ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid, size, data) })?;
    // SAFETY: a struct of integers, zeroed and then written: any bytes are a value.
    let found = unsafe { found.assume_init() };
    Ok(RseqConfiguration {
        address: found.rseq_abi_pointer,
        size: found.rseq_abi_size,
        signature: found.signature,
    })
}

/// Waits for one thread, or any child with -1; which, and the raw status. None if nothing has happened.
pub(crate) fn wait(tid: i32, patience: Patience) -> Result<Option<(i32, i32)>, Errno> {
    let mut status = 0;
    let flags = match patience {
        Patience::Forever => libc::__WALL,
        Patience::None => libc::__WALL | libc::WNOHANG,
    };
    loop {
        // SAFETY: `status` is a local that lives through the call; the kernel writes one int.
        match unsafe { libc::waitpid(tid, &raw mut status, flags) } {
            0 => return Ok(None),
            tid if tid > 0 => return Ok(Some((tid, status))),
            _ => match last_errno() {
                Errno::INTR => continue,
                errno => return Err(errno),
            },
        }
    }
}

pub(crate) fn vm_read(tid: i32, address: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
    let local = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let remote = libc::iovec {
        iov_base: address as *mut c_void,
        iov_len: bytes.len(),
    };
    // SAFETY: `local` describes `bytes`, borrowed for the call, which the kernel writes; `remote` is in
    // another task and is not memory of ours.
    answer(
        unsafe { libc::process_vm_readv(tid, &raw const local, 1, &raw const remote, 1, 0) } as _,
    )
}

pub(crate) fn vm_write(tid: i32, address: u64, bytes: &[u8]) -> Result<usize, Errno> {
    let local = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let remote = libc::iovec {
        iov_base: address as *mut c_void,
        iov_len: bytes.len(),
    };
    // SAFETY: `local` describes `bytes`, borrowed for the call, which the kernel only reads; `remote` is in
    // another task and is not memory of ours.
    answer(
        unsafe { libc::process_vm_writev(tid, &raw const local, 1, &raw const remote, 1, 0) } as _,
    )
}

pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    let fd = pidfd.as_raw_fd();
    // SAFETY: no siginfo is passed; the descriptor is borrowed for the call.
    answer(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd,
            signal,
            null_mut::<c_void>(),
            0,
        )
    })
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `arch/x86/include/asm/user_64.h`, `include/uapi/linux/ptrace.h`, `asm-generic/siginfo.h`.
    #[test]
    fn layouts_are_the_kernels() {
        assert_eq!(size_of::<Registers>(), 27 * 8);
        assert_eq!(size_of::<libc::ptrace_peeksiginfo_args>(), 16);
        assert_eq!(size_of::<libc::ptrace_rseq_configuration>(), 24);
        assert_eq!(size_of::<SigInfo>(), size_of::<libc::siginfo_t>());
        assert_eq!(align_of::<SigInfo>(), align_of::<libc::siginfo_t>());
    }
}

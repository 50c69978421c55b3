//! System calls that the freeze has interrupted.
//!
//! Kind: effect where it asks and changes registers; what a call means is pure.
//!
//! Most go on by the registers that the thread has (`-ERESTARTSYS` and the like). Two kinds need
//! more: calls that the kernel ends with `EINTR` whatever interrupts them (signal(7)), which
//! are begun anew here, and timed waits, which it continues from where they were
//! without telling how long that is (`-ERESTART_RESTARTBLOCK`, [`original`]).

use super::original;
use crux_image::tasks::Clocks;
use crux_trace::{Queue, Registers, Stopped, TraceError, read_memory};

const EINTR: i64 = -4;
const ERESTART_RESTARTBLOCK: i64 = -516;
/// `syscall` is two bytes.
const CALL_LENGTH: u64 = 2;

/// Calls that end with `EINTR` where a thread was only stopped; those from read(2) on, of a socket that has a limit
/// of time (`SO_RCVTIMEO`, `SO_SNDTIMEO`).
const BEGUN_ANEW: [libc::c_long; 22] = [
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_io_getevents,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
];

/// Has a thread begin its call anew if the freeze alone has ended it.
///
/// RACE: between the stop and this the death of the tracer leaves `EINTR`, as a
/// `SIGSTOP` and `SIGCONT` would.
pub(super) fn resume_quietly(thread: &Stopped) -> Result<(), TraceError> {
    let mut registers = thread.registers()?;
    let call = registers.orig_rax as i64;
    if registers.rax as i64 != EINTR || !BEGUN_ANEW.contains(&call) {
        return Ok(());
    }
    // A handler that is to run ends the call, as it would have.
    let mask = thread.signal_mask()?;
    for queue in [Queue::Thread, Queue::Process] {
        let waits = thread.pending(queue)?;
        let mut signals = waits.iter().map(|info| info.signal() - 1);
        if signals.any(|bit| (0..64).contains(&bit) && mask & (1 << bit) == 0) {
            return Ok(());
        }
    }
    registers.rax = registers.orig_rax;
    registers.rip = registers.rip.wrapping_sub(CALL_LENGTH);
    registers.orig_rax = u64::MAX;
    thread.set_registers(&registers)
}

/// A timed wait that the kernel continues by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimedWait {
    /// The number of the call that was made.
    pub(super) call: i64,
    /// Nanoseconds, never too few.
    pub(super) remaining: u64,
}

/// Nobody can tell which call a thread is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnknownCall;

/// The timed wait that a thread is in, if it is in one; `clocks` are those of the freeze.
pub(super) fn timed_wait(
    thread: &Stopped,
    registers: &Registers,
    clocks: &Clocks,
) -> Result<Option<TimedWait>, UnknownCall> {
    let waits = registers.orig_rax as i64 >= 0 && registers.rax as i64 == ERESTART_RESTARTBLOCK;
    if !waits {
        return Ok(None);
    }
    let read = |address: u64, bytes: &mut [u8]| read_memory(thread.tid(), address, bytes).is_ok();
    let call = original::call(registers, read).ok_or(UnknownCall)?;
    let time = |address: u64| original::timespec(address, read);
    let remaining = remaining(call, registers, clocks, time).ok_or(UnknownCall)?;
    Ok(Some(TimedWait { call, remaining }))
}

/// Nanoseconds until a wait ends, never too few. Of relative ones without a place for the remaining time
/// only the whole is known.
fn remaining(
    call: i64,
    registers: &Registers,
    clocks: &Clocks,
    read: impl Fn(u64) -> Option<u64>,
) -> Option<u64> {
    const FUTEX_COMMAND: u64 = 0x7f;
    const FUTEX_CLOCK_REALTIME: u64 = 0x100;
    // KERNEL: a sleep that is interrupted writes what remains, if it is told where.
    let rest = |asked: u64, rest: u64| match rest {
        0 => read(asked),
        rest => read(rest),
    };
    match call {
        libc::SYS_nanosleep => rest(registers.rdi, registers.rsi),
        libc::SYS_clock_nanosleep => rest(registers.rdx, registers.r10),
        libc::SYS_poll => Some(registers.rdx.wrapping_mul(1_000_000) & (u64::MAX >> 1)),
        libc::SYS_futex => {
            let until = read(registers.r10)?;
            match registers.rsi & FUTEX_COMMAND {
                // FUTEX_WAIT: relative.
                0 => Some(until),
                _ if registers.rsi & FUTEX_CLOCK_REALTIME != 0 => {
                    Some(until.saturating_sub(clocks.realtime))
                }
                _ => Some(until.saturating_sub(clocks.monotonic)),
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers() -> Registers {
        let zero = crux_image::tasks::Registers::default();
        super::super::threads::to_kernel(&zero)
    }

    #[test]
    fn what_remains_is_read_where_the_kernel_has_put_it() {
        let clocks = Clocks {
            realtime: 1000,
            monotonic: 100,
            boottime: 100,
        };
        let read = |address: u64| (address != 0).then_some(address);
        let mut given = registers();
        (given.rdi, given.rsi, given.rdx, given.r10) = (7, 0, 5, 1200);
        let of = |call, given: &Registers| remaining(call, given, &clocks, read);
        assert_eq!(of(libc::SYS_nanosleep, &given), Some(7));
        assert_eq!(of(libc::SYS_poll, &given), Some(5_000_000));
        assert_eq!(of(libc::SYS_futex, &given), Some(1200));
        given.rsi = 9;
        assert_eq!(of(libc::SYS_nanosleep, &given), Some(9));
        assert_eq!(of(libc::SYS_futex, &given), Some(1100));
        given.rsi = 0x109;
        assert_eq!(of(libc::SYS_futex, &given), Some(200));
        assert_eq!(of(libc::SYS_read, &given), None);
    }
}

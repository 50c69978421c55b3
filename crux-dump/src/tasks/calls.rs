//! System calls that the freeze has interrupted.
//!
//! Kind: effect where it asks and changes registers; what a call means is pure.
//!
//! Most go on by the registers that the thread has (`-ERESTARTSYS` and the like). Two kinds need
//! more: calls that the kernel ends with `EINTR` whatever interrupts them (signal(7)), which
//! are begun anew here, and timed waits, which it continues from where they were
//! without telling how long that is (`-ERESTART_RESTARTBLOCK`).

use crux_image::tasks::{Clocks, Interrupted};
use crux_trace::{Queue, Registers, Stopped, TraceError, read_memory};

const EINTR: i64 = -4;
const ERESTART_RESTARTBLOCK: i64 = -516;
/// `syscall` is two bytes.
const CALL_LENGTH: u64 = 2;
const NANOSECONDS: u64 = 1_000_000_000;

/// Calls that end with `EINTR` where a thread was only stopped.
const BEGUN_ANEW: [libc::c_long; 9] = [
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_io_getevents,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
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

/// What the record says of the call that a thread is in; `clocks` are those of the freeze.
pub(super) fn interrupted(thread: &Stopped, registers: &Registers, clocks: &Clocks) -> Interrupted {
    let waits = registers.orig_rax as i64 >= 0 && registers.rax as i64 == ERESTART_RESTARTBLOCK;
    if !waits {
        return Interrupted::No;
    }
    let read = |address: u64| {
        let mut bytes = [0; 16];
        read_memory(thread.tid(), address, &mut bytes).ok()?;
        timespec(&bytes)
    };
    let call = original(thread, registers);
    let remaining = remaining(call, registers, clocks, read);
    Interrupted::Timed {
        // TRUST: of a call that cannot be told nothing is known; it ends at once, as if in time.
        remaining: remaining.unwrap_or(0),
    }
}

/// The number of the call. If it has been continued once already, `orig_rax` says
/// restart_syscall(2), and the number is in the instruction before: `mov eax, N; syscall`.
fn original(thread: &Stopped, registers: &Registers) -> i64 {
    let mut code = [0; 7];
    let at = registers.rip.wrapping_sub(code.len() as u64);
    if registers.orig_rax as i64 == libc::SYS_restart_syscall
        && read_memory(thread.tid(), at, &mut code).is_ok()
        && let [0xb8, a, b, c, d, 0x0f, 0x05] = code
    {
        return i64::from(u32::from_le_bytes([a, b, c, d]));
    }
    registers.orig_rax as i64
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

fn timespec(bytes: &[u8; 16]) -> Option<u64> {
    let (seconds, nanoseconds) = bytes.split_at(8);
    let seconds = u64::from_le_bytes(seconds.try_into().ok()?);
    let nanoseconds = u64::from_le_bytes(nanoseconds.try_into().ok()?);
    seconds.checked_mul(NANOSECONDS)?.checked_add(nanoseconds)
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

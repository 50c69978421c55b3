//! Which call it is that a thread continues.
//!
//! Kind: pure. KERNEL: a timed wait that was interrupted is continued by restart_syscall(2), with the registers of
//! the call itself but for its number. Interrupted once more, nothing but those says which call it was: the
//! instruction that has loaded the number, where it stands right before, or the arguments, where only one of the
//! four calls that are continued so could have them.

use crux_trace::Registers;

const NANOSECONDS: u64 = 1_000_000_000;
/// Entries of poll(2) that are looked at.
const ENTRIES: usize = 64;
/// Clocks by number (`CLOCK_TAI`); those of tasks are negative.
const LAST_CLOCK: i32 = 11;

/// The calls that the kernel continues.
const CONTINUED: [i64; 4] = [
    libc::SYS_poll,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_futex,
];

/// The number of the call, if it can be told. `read` reads memory of the task.
pub(super) fn call(
    registers: &Registers,
    read: impl Fn(u64, &mut [u8]) -> bool + Copy,
) -> Option<i64> {
    let number = registers.orig_rax as i64;
    if number != libc::SYS_restart_syscall {
        return Some(number);
    }
    let loaded = loaded(registers.rip, read).filter(|number| CONTINUED.contains(number));
    if loaded.is_some() {
        return loaded;
    }
    let mut fitting = CONTINUED
        .into_iter()
        .filter(|number| fits(*number, registers, read));
    let found = fitting.next()?;
    fitting.next().is_none().then_some(found)
}

/// `mov eax, N; syscall` before this address.
fn loaded(rip: u64, read: impl Fn(u64, &mut [u8]) -> bool) -> Option<i64> {
    let mut code = [0; 7];
    let known = read(rip.wrapping_sub(code.len() as u64), &mut code);
    match code {
        [0xb8, a, b, c, d, 0x0f, 0x05] if known => {
            Some(i64::from(u32::from_le_bytes([a, b, c, d])))
        }
        _ => None,
    }
}

/// Whether a call that waits for a time can have these arguments.
fn fits(call: i64, of: &Registers, read: impl Fn(u64, &mut [u8]) -> bool + Copy) -> bool {
    const FUTEX_FLAGS: u64 = 0x180;
    const FUTEX_WAIT: u64 = 0;
    const FUTEX_WAIT_BITSET: u64 = 9;
    let time = |address| timespec(address, read).is_some();
    let place = |address| address == 0 || read(address, &mut [0; 16]);
    match call {
        libc::SYS_nanosleep => time(of.rdi) && place(of.rsi),
        // One that waits until a time is begun anew, not continued.
        libc::SYS_clock_nanosleep => {
            of.rdi as i32 <= LAST_CLOCK && of.rsi == 0 && time(of.rdx) && place(of.r10)
        }
        libc::SYS_futex => {
            let command = of.rsi & !FUTEX_FLAGS;
            of.rdi.is_multiple_of(4)
                && read(of.rdi, &mut [0; 4])
                && (command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET && of.r9 as u32 != 0)
                && time(of.r10)
        }
        libc::SYS_poll => is_int(of.rdx) && of.rdx != 0 && polls(of.rdi, of.rsi, read),
        _ => false,
    }
}

/// Not an address.
fn is_int(value: u64) -> bool {
    u32::try_from(value).is_ok() || i32::try_from(value as i64).is_ok()
}

/// Whether there can be entries of poll(2) that ask for something.
fn polls(address: u64, count: u64, read: impl Fn(u64, &mut [u8]) -> bool) -> bool {
    /// `POLLIN` to `POLLRDHUP`.
    const EVENTS: i16 = 0x27ff;
    const ENTRY: usize = 8;
    let Ok(count) = usize::try_from(count) else {
        return false;
    };
    if count == 0 {
        return address.is_multiple_of(4);
    }
    let mut bytes = [0; ENTRIES * ENTRY];
    let bytes = &mut bytes[..count.min(ENTRIES) * ENTRY];
    if !read(address, bytes) {
        return false;
    }
    // A descriptor, what is asked for, what is given.
    let entries = bytes.chunks_exact(ENTRY).map(|entry| {
        let short = |at: usize| i16::from_le_bytes([entry[at], entry[at + 1]]);
        (short(4), short(6))
    });
    let (mut asks, mut legal) = (false, true);
    for (wanted, given) in entries {
        asks |= wanted != 0;
        legal &= wanted & !EVENTS == 0 && given & !(EVENTS | 0x38) == 0;
    }
    asks && legal
}

/// A `struct timespec` of the task's, in nanoseconds.
pub(super) fn timespec(address: u64, read: impl Fn(u64, &mut [u8]) -> bool) -> Option<u64> {
    let mut bytes = [0; 16];
    if address == 0 || !read(address, &mut bytes) {
        return None;
    }
    let (seconds, rest) = bytes.split_at(8);
    let seconds = u64::from_le_bytes(seconds.try_into().ok()?);
    let rest = u64::from_le_bytes(rest.try_into().ok()?);
    let legal = rest < NANOSECONDS && seconds <= i64::MAX as u64;
    // The kernel cuts longer ones, too.
    legal.then(|| seconds.saturating_mul(NANOSECONDS).saturating_add(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory at 0x1000: a time of 3 s; at 0x2000: zeros; at 0x3000: two entries of poll(2).
    fn read(address: u64, bytes: &mut [u8]) -> bool {
        let mut page = [0_u8; 4096];
        match address & !0xfff {
            0x1000 => page[0] = 3,
            0x2000 => {}
            0x3000 => (page[4], page[12]) = (1, 4),
            _ => return false,
        }
        let from = (address & 0xfff) as usize;
        let found = page.get(from..from + bytes.len());
        if let Some(found) = found {
            bytes.copy_from_slice(found);
        }
        found.is_some()
    }

    fn registers(arguments: [u64; 6]) -> Registers {
        let zero = crux_image::tasks::Registers::default();
        let mut registers = super::super::threads::to_kernel(&zero);
        registers.orig_rax = libc::SYS_restart_syscall as u64;
        let [rdi, rsi, rdx, r10, r8, r9] = arguments;
        (registers.rdi, registers.rsi, registers.rdx) = (rdi, rsi, rdx);
        (registers.r10, registers.r8, registers.r9) = (r10, r8, r9);
        registers
    }

    #[test]
    fn calls_are_told_by_their_arguments() {
        let of = |arguments| call(&registers(arguments), read);
        assert_eq!(of([0x1000, 0, 0, 0, 0, 0]), Some(libc::SYS_nanosleep));
        assert_eq!(of([0x1000, 0x2000, 7, 0, 0, 0]), Some(libc::SYS_nanosleep));
        assert_eq!(of([1, 0, 0x1000, 0, 0, 0]), Some(libc::SYS_clock_nanosleep));
        assert_eq!(of([0, 0, 0x1000, 0, 0, 0]), None);
        assert_eq!(of([0x2000, 128, 5, 0x1000, 0, 0]), Some(libc::SYS_futex));
        assert_eq!(of([0x2000, 137, 5, 0x1000, 0, 7]), Some(libc::SYS_futex));
        assert_eq!(of([0, 0, 150, 0, 0, 0]), Some(libc::SYS_poll));
        assert_eq!(of([0x3000, 2, 150, 0, 0, 0]), Some(libc::SYS_poll));
        // No time, and a call that could be a sleep and a poll of nothing.
        assert_eq!(of([0x2000, 137, 5, 0x9000, 0, 7]), None);
        assert_eq!(of([0x1000, 0, 5, 0, 0, 0]), None);
    }

    #[test]
    fn calls_are_told_by_the_instruction_before() {
        let code = |number: u8| {
            move |address: u64, bytes: &mut [u8]| {
                let here = address == 0x4000 - 7 && bytes.len() == 7;
                if here {
                    bytes.copy_from_slice(&[0xb8, number, 0, 0, 0, 0x0f, 0x05]);
                }
                here
            }
        };
        let mut given = registers([0; 6]);
        given.rip = 0x4000;
        assert_eq!(call(&given, code(35)), Some(libc::SYS_nanosleep));
        // The kernel does not continue read(2).
        assert_eq!(call(&given, code(0)), None);
        given.orig_rax = 230;
        assert_eq!(call(&given, code(35)), Some(libc::SYS_clock_nanosleep));
    }
}

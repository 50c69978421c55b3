//! Registers with which a thread goes on, also in the middle of a system call.
//!
//! Kind: pure. The tracer sets them outside of any signal's delivery, so that the kernel does not begin
//! a call anew by itself: what it would have done (`arch_do_signal_or_restart()`) is done here.

use crate::tasks::plan::Finish;
use crux_image::tasks::{Interrupted, Registers, Thread};

const ERESTARTSYS: i64 = -512;
const ERESTARTNOINTR: i64 = -513;
const ERESTARTNOHAND: i64 = -514;
const ERESTART_RESTARTBLOCK: i64 = -516;
/// Bytes of the instruction `syscall`.
const SYSCALL: u64 = 2;
/// No system call.
const NONE: u64 = u64::MAX;

/// What the tracer does, and the nanoseconds of a sleep that has to be made anew.
pub(super) fn finish(thread: &Thread) -> (Finish, Option<u64>) {
    let mut registers = thread.registers;
    let result = registers.rax as i64;
    let (in_call, mut wait) = ((registers.orig_rax as i64) >= 0, None);
    match (result, thread.interrupted) {
        (ERESTARTSYS | ERESTARTNOINTR | ERESTARTNOHAND, _) if in_call => again(&mut registers),
        (ERESTART_RESTARTBLOCK, Interrupted::Timed { remaining }) if in_call => {
            wait = timed(&mut registers, remaining);
        }
        // Nobody knows for how long: the whole time again is never too short.
        (ERESTART_RESTARTBLOCK, Interrupted::No) if in_call => again(&mut registers),
        _ => registers.orig_rax = NONE,
    }
    let interrupted = wait.map_or(Interrupted::No, |remaining| Interrupted::Timed {
        remaining,
    });
    let finish = Finish {
        registers,
        xstate: thread.xstate.clone(),
        mask: thread.mask,
        seccomp: None,
        interrupted,
    };
    (finish, wait)
}

/// Whether it continues a wait of which the image does not say which call it was (images of version 1).
pub(super) fn is_unknown(thread: &Thread) -> bool {
    let registers = &thread.registers;
    registers.rax as i64 == ERESTART_RESTARTBLOCK
        && registers.orig_rax as i64 == libc::SYS_restart_syscall
}

/// The call is made once more.
fn again(registers: &mut Registers) {
    registers.rax = registers.orig_rax;
    registers.rip = registers.rip.wrapping_sub(SYSCALL);
    registers.orig_rax = NONE;
}

/// A sleep is made anew for what remained; poll(2) has its time in a register; any other call begins again.
fn timed(registers: &mut Registers, remaining: u64) -> Option<u64> {
    match registers.orig_rax as i64 {
        libc::SYS_nanosleep | libc::SYS_clock_nanosleep => Some(remaining),
        libc::SYS_poll => {
            registers.rdx = remaining.div_ceil(1_000_000).min(i32::MAX as u64);
            again(registers);
            None
        }
        _ => {
            again(registers);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers(rax: i64, orig_rax: i64) -> Registers {
        Registers {
            rax: rax as u64,
            orig_rax: orig_rax as u64,
            rip: 0x1000,
            ..Registers::default()
        }
    }

    #[test]
    fn calls_begin_again_or_go_on() {
        let mut read = registers(ERESTARTSYS, 0);
        again(&mut read);
        assert_eq!((read.rax, read.rip, read.orig_rax), (0, 0xffe, NONE));
        let mut poll = registers(ERESTART_RESTARTBLOCK, libc::SYS_poll);
        assert_eq!(timed(&mut poll, 1_500_001), None);
        assert_eq!((poll.rdx, poll.rip), (2, 0xffe));
        let mut sleep = registers(ERESTART_RESTARTBLOCK, libc::SYS_nanosleep);
        assert_eq!(timed(&mut sleep, 7), Some(7));
        assert_eq!((sleep.rip, sleep.orig_rax), (0x1000, 35));
    }
}

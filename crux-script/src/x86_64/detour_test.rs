//! What a detour says for every way of having been stopped. What it does is in `tests/kernel`.
//!
//! Kind: tests.

use super::*;
use crate::{Arena, Call, Expect, Purpose};

const CODE: u64 = 0x7fff_0000;
const RIP: u64 = 0x40_1000;

fn registers(rax: i64, orig_rax: i64) -> user_regs_struct {
    // What is not said is 7: a value that is nowhere made up.
    user_regs_struct {
        r15: 7,
        r14: 7,
        r13: 7,
        r12: 7,
        rbp: 7,
        rbx: 7,
        r11: 7,
        r10: 7,
        r9: 7,
        r8: 7,
        rax: rax as u64,
        rcx: 7,
        rdx: 7,
        rsi: 7,
        rdi: 7,
        orig_rax: orig_rax as u64,
        rip: RIP,
        cs: 0x33,
        eflags: 0xf46,
        rsp: 0x10_0000,
        ss: 0x2b,
        fs_base: 7,
        gs_base: 7,
        ds: 0,
        es: 0,
        fs: 0,
        gs: 0,
    }
}

fn detour_from(saved: user_regs_struct, rseq: Option<Rseq>, scratch: u64) -> Detour {
    let mut arena = Arena::new();
    let script = arena.script("task");
    arena.call(script, Call::new(libc::SYS_getpid).expect(Expect::Any));
    let linked = arena.check(Purpose::Dump, scratch).unwrap().link();
    Detour::new(saved, 5, rseq, CODE, &linked, script).unwrap()
}

fn detour(rax: i64, orig_rax: i64) -> Detour {
    detour_from(registers(rax, orig_rax), None, 0xf_0000)
}

#[test]
fn a_task_goes_on_with_its_call_or_where_it_was() {
    let read = libc::SYS_read;
    let cases = [
        // Computing; done with a call; done, with an error that is not for restarting.
        (5, -1, (5, RIP), CODE, u64::MAX),
        (5, read, (5, RIP), CODE, u64::MAX),
        (-4, read, (EINTR, RIP), CODE, u64::MAX),
        // Restarted: the kernel takes two from rip.
        (-512, read, (read as u64, RIP - 2), CODE + 2, read as u64),
        (-513, read, (read as u64, RIP - 2), CODE + 2, read as u64),
        (-514, read, (read as u64, RIP - 2), CODE + 2, read as u64),
        (-516, read, (219, RIP - 2), CODE + 2, read as u64),
        // rax of a computing task may look like it.
        (-512, -1, (-512_i64 as u64, RIP), CODE, u64::MAX),
    ];
    for (rax, orig_rax, again, rip, entered_with) in cases {
        let detour = detour(rax, orig_rax);
        assert_eq!(detour.again(), again, "{rax} {orig_rax}");
        let entry = detour.registers();
        assert_eq!(
            (entry.rip, entry.orig_rax),
            (rip, entered_with),
            "{rax} {orig_rax}"
        );
        assert_eq!(entry.rax, rax as u64);
        assert_eq!(entry.eflags, FLAGS, "neither trap nor direction");
    }
}

#[test]
fn what_was_is_put_back_unless_a_handler_has_ended_the_call() {
    let detour = detour(-514, libc::SYS_pause);
    let mut now = detour.registers();
    now.r12 = 0;
    assert_eq!(
        detour.registers_after(&now),
        registers(-514, libc::SYS_pause)
    );
    now.r12 = 1;
    assert_eq!(detour.registers_after(&now), registers(-4, -1));
}

#[test]
fn the_stack_is_below_the_scratch_memory_where_that_is_on_it() {
    let saved = registers(0, -1);
    let at = Detour::scratch_below(saved.rsp, 1000);
    assert!(at + 1000 + 128 <= saved.rsp && at.is_multiple_of(16));
    assert_eq!(detour_from(saved, None, at).registers().rsp, at);
    let elsewhere = detour_from(saved, None, 0x6_0000_0000).registers();
    assert_eq!(elsewhere.rsp, saved.rsp);
}

#[test]
fn a_restartable_sequence_goes_on_where_it_is_aborted() {
    let rseq = |start_ip: u64| Rseq {
        start_ip,
        post_commit_offset: 16,
        abort_ip: 0x50_0000,
    };
    for (start, rip) in [
        (RIP, 0x50_0000),
        (RIP - 15, 0x50_0000),
        (RIP - 16, RIP),
        (RIP + 1, RIP),
    ] {
        let detour = detour_from(registers(0, -1), Some(rseq(start)), 0xf_0000);
        assert_eq!(detour.again().1, rip, "{start:#x}");
        let mut now = registers(0, -1);
        now.r12 = 0;
        assert_eq!(detour.registers_after(&now).rip, rip);
    }
}

#[test]
fn the_exit_of_the_last_call_is_told_from_its_entry() {
    let detour = detour(0, -1);
    let mut now = registers(-i64::from(libc::ENOSYS), libc::SYS_rt_sigprocmask);
    now.rip = CODE + offsets::DUMP_LEFT;
    assert!(!detour.has_left(&now) && detour.is_inside(&now));
    now.rax = 0;
    assert!(detour.has_left(&now));
    now.rip = RIP;
    assert!(!detour.has_left(&now) && !detour.is_inside(&now));
}

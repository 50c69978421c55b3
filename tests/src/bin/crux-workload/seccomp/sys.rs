//! The calls of seccomp(2), and those that are forbidden by it.
//!
//! Kind: effect. Each fails the workload where it fails.
#![allow(unsafe_code)]

use nix::libc;
use std::io::Error;

const ALLOW: u32 = 0x7fff_0000;

#[track_caller]
fn checked(what: &str, result: i64) {
    assert!(result >= 0, "{what}: {}", Error::last_os_error());
}

/// `PR_SET_NO_NEW_PRIVS`.
pub(crate) fn no_new_privileges() {
    // SAFETY: only numbers are passed.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    checked("prctl(PR_SET_NO_NEW_PRIVS)", done.into());
}

fn program(calls: &[libc::c_long], action: u32) -> Vec<libc::sock_filter> {
    let one = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = vec![one(0x20, 0, 0, 0)];
    for (at, call) in calls.iter().enumerate() {
        let left = (calls.len() - at) as u8;
        program.push(one(0x15, left, 0, *call as u32));
    }
    program.push(one(0x06, 0, 0, ALLOW));
    program.push(one(0x06, 0, 0, action));
    program
}

/// Forbids these calls.
pub(crate) fn install(calls: &[libc::c_long], action: u32, log: bool) {
    let mut program = program(calls, action);
    let head = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    let flags = if log { 2 } else { 0 };
    // SAFETY: the kernel reads the program, which lives until the call returns.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, 1, flags, &raw const head) };
    checked("seccomp", done);
}

/// The same, in the older way.
pub(crate) fn install_by_prctl(calls: &[libc::c_long], action: u32) {
    let mut program = program(calls, action);
    let head = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the kernel reads the program, which lives until the call returns.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const head) };
    checked("prctl(PR_SET_SECCOMP)", done.into());
}

/// With which error a call with no arguments fails; 0 for none.
pub(crate) fn errno_of(call: libc::c_long) -> i32 {
    // SAFETY: the kernel reads and writes nothing at address 0, and unmaps nothing there.
    let done = unsafe { libc::syscall(call, 0, 0, 0) };
    match done {
        0.. => 0,
        _ => Error::last_os_error().raw_os_error().unwrap_or(0),
    }
}

/// All of them.
pub(crate) fn drop_capabilities() {
    let head = [0x2008_0522_u32, 0];
    let none = [0_u32; 6];
    // SAFETY: the kernel reads both arrays during the call.
    let done = unsafe { libc::syscall(libc::SYS_capset, head.as_ptr(), none.as_ptr()) };
    checked("capset", done);
}

/// The effective ones, in the lower half.
pub(crate) fn capabilities() -> u64 {
    let head = [0x2008_0522_u32, 0];
    let mut sets = [0_u32; 6];
    // SAFETY: the kernel reads the head and writes six words to `sets`.
    let done = unsafe { libc::syscall(libc::SYS_capget, head.as_ptr(), sets.as_mut_ptr()) };
    checked("capget", done);
    sets[0].into()
}

/// How a child ended.
pub(crate) fn wait(pid: i32) -> u32 {
    let mut status = 0;
    // SAFETY: the kernel writes one number to `status`.
    let done = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    checked("waitpid", done.into());
    status as u32
}

/// `SECCOMP_MODE_STRICT`.
pub(crate) fn be_strict() {
    // SAFETY: only numbers are passed.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, 1) };
    checked("prctl(PR_SET_SECCOMP)", done.into());
}

//! The unsafe calls of these tests.
//!
//! Kind: effect.
#![allow(unsafe_code)]

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use std::arch::asm;
use std::sync::atomic::{AtomicU64, Ordering};

/// Memory that a process shares with those that it forks.
#[derive(Clone, Copy)]
pub(crate) struct Shared(&'static [AtomicU64; 512]);

impl Shared {
    /// A page of zeroes. It stays.
    pub(crate) fn new() -> Self {
        // SAFETY: new memory of the kernel's choice, which is never unmapped and is used as atomics alone.
        unsafe {
            let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let at = libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0);
            assert_ne!(at, libc::MAP_FAILED);
            Self(&*at.cast())
        }
    }

    pub(crate) fn get(self, index: usize) -> u64 {
        self.0[index].load(Ordering::SeqCst)
    }

    pub(crate) fn set(self, index: usize, value: u64) {
        self.0[index].store(value, Ordering::SeqCst);
    }

    pub(crate) fn address(self, index: usize) -> u64 {
        (&raw const self.0[index]) as u64
    }
}

/// Runs in a forked child, which allocates nothing that another thread could have locked: glibc's
/// allocator is usable after a fork.
pub(crate) fn child(run: impl FnOnce() -> i32) -> Pid {
    // SAFETY: the child runs only `run` and ends without going back to this frame's callers.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
            // SAFETY: ends this process.
            unsafe { libc::_exit(result.unwrap_or(99)) }
        }
    }
}

/// Waits for a child of this thread alone.
pub(crate) fn wait(pid: Pid) -> WaitStatus {
    let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    waitpid(pid, Some(flags)).unwrap()
}

/// Any system call whose pointers are good; its result as the kernel gives it.
pub(crate) fn call(number: libc::c_long, arguments: [u64; 6]) -> i64 {
    let [a, b, c, d, e, f] = arguments;
    let result: i64;
    // SAFETY: the tests pass addresses of memory that lives until the call returns, or none.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _);
    }
    result
}

/// A handler that counts in a word of shared memory, without `SA_RESTART`.
pub(crate) fn count_signals(signal: i32, counter: Shared, index: usize) {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    extern "C" fn handler(_: i32) {
        let address = COUNTER.load(Ordering::SeqCst) as *const AtomicU64;
        // SAFETY: the address of shared memory that is never unmapped.
        unsafe { &*address }.fetch_add(1, Ordering::SeqCst);
    }
    COUNTER.store(counter.address(index), Ordering::SeqCst);
    // SAFETY: the struct is whole, and the handler does what is safe in handlers.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        assert_eq!(
            libc::sigaction(signal, &raw const action, std::ptr::null_mut()),
            0
        );
    }
}

/// Blocked signals of a stopped tracee (`PTRACE_GETSIGMASK`).
pub(crate) fn blocked(pid: Pid) -> u64 {
    let mut mask = 0_u64;
    // SAFETY: the kernel writes eight bytes, which are there.
    let result = unsafe { libc::ptrace(0x420a, pid.as_raw(), 8_usize, &raw mut mask) };
    assert_eq!(result, 0);
    mask
}

/// Sets them (`PTRACE_SETSIGMASK`).
pub(crate) fn block(pid: Pid, mask: u64) {
    // SAFETY: the kernel reads eight bytes, which are there.
    let result = unsafe { libc::ptrace(0x420b, pid.as_raw(), 8_usize, &raw const mask) };
    assert_eq!(result, 0);
}

/// Computes until the second word of the memory is no longer zero, and counts in the first. Gives 0
/// if all registers, flags and the red zone have always been what they were.
pub(crate) fn compute(shared: Shared) -> u64 {
    let wrong: u64;
    // SAFETY: the asm keeps rbx and rbp itself, uses the stack as functions may, writes only the
    // shared word, and leaves the direction flag clear.
    unsafe {
        asm!(
            "push rbx", "push rbp",
            "mov rbx, rdi",
            "mov rcx, 0x101", "mov rdx, 0x102", "mov rsi, 0x103", "mov rdi, 0x104", "mov rbp, 0x105",
            "mov r8, 0x106", "mov r9, 0x107", "mov r10, 0x108", "mov r11, 0x109", "mov r12, 0x10a",
            "mov r13, 0x10b", "mov r14, 0x10c", "mov r15, 0x10d",
            "movq xmm15, r15",
            "2:",
            "mov qword ptr [rsp - 64], 0x10e", "mov qword ptr [rsp - 8], 0x10f", "mov qword ptr [rsp - 128], 0x110",
            "mov eax, 0x7fffffff", "add eax, 1", // overflow, sign, adjust, parity
            "stc", "std",
            "mov rax, 0x111",
            "nop", "nop", "nop", "nop", "nop", "nop", "nop", "nop", "nop", "nop", "nop", "nop",
            "jnc 3f", "jno 3f", "jns 3f", "jz 3f", "jnp 3f",
            "cmp rax, 0x111", "jne 3f",
            "cmp qword ptr [rsp - 64], 0x10e", "jne 3f",
            "cmp qword ptr [rsp - 8], 0x10f", "jne 3f",
            "cmp qword ptr [rsp - 128], 0x110", "jne 3f",
            "pushfq", "pop rax", "test eax, 0x400", "jz 3f",
            "cmp rcx, 0x101", "jne 3f", "cmp rdx, 0x102", "jne 3f", "cmp rsi, 0x103", "jne 3f",
            "cmp rdi, 0x104", "jne 3f", "cmp rbp, 0x105", "jne 3f", "cmp r8, 0x106", "jne 3f",
            "cmp r9, 0x107", "jne 3f", "cmp r10, 0x108", "jne 3f", "cmp r11, 0x109", "jne 3f",
            "cmp r12, 0x10a", "jne 3f", "cmp r13, 0x10b", "jne 3f", "cmp r14, 0x10c", "jne 3f",
            "cmp r15, 0x10d", "jne 3f",
            "movq rax, xmm15", "cmp rax, 0x10d", "jne 3f",
            "inc qword ptr [rbx]",
            "cmp qword ptr [rbx + 8], 0", "je 2b",
            "xor eax, eax", "jmp 4f",
            "3: mov eax, 1",
            "4: cld",
            "pop rbp", "pop rbx",
            inout("rdi") shared.address(0) => _, out("rax") wrong, out("rcx") _, out("rdx") _, out("rsi") _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _, out("r12") _, out("r13") _,
            out("r14") _, out("r15") _, out("xmm15") _,
        );
    }
    wrong
}

//! The machine code that runs inside tasks: two small walkers of the same kind of lines.
//!
//! Kind: neither; `build.rs` assembles it and takes two sections out of the object. It is
//! position-independent, has no relocations, calls nothing, and uses no stack and no vector
//! registers. `src/x86_64/` explains what tracers rely on; offsets of lines are those of
//! `src/x86_64/record.rs`.
#![no_std]

use core::arch::global_asm;

// A line, at r15: +0 flags (bits 0 to 5: the argument is an address to load from; 6: end of
// the script; 7: stop), +8 number, +16 six arguments, +64 the lowest result that is expected,
// +72 how far above it one may be, +80 another one that is accepted, +88 where the result is put as
// well, +96 the line at which a child goes on, +104 result. 112 bytes.
global_asm!(
    ".macro ARGUMENT register, offset, bit",
    "    mov \\register, [r15 + \\offset]",
    "    test bl, \\bit",
    "    jz 9f",
    "    mov \\register, [\\register]",
    "9:",
    ".endm",
    // Makes the call of the line. Clobbers what the kernel clobbers: rax, rcx, r11.
    ".macro CALL",
    "    ARGUMENT rdi, 16, 1",
    "    ARGUMENT rsi, 24, 2",
    "    ARGUMENT rdx, 32, 4",
    "    ARGUMENT r10, 40, 8",
    "    ARGUMENT r8, 48, 16",
    "    ARGUMENT r9, 56, 32",
    "    mov rax, [r15 + 8]",
    "    syscall",
    ".endm",
    // tgkill(getpid(), gettid(), signal).
    ".macro RAISE signal",
    "    mov eax, 39",
    "    syscall",
    "    mov edi, eax",
    "    mov eax, 186",
    "    syscall",
    "    mov esi, eax",
    "    mov edx, \\signal",
    "    mov eax, 234",
    "    syscall",
    ".endm",
    // SIGTRAP. A trap instruction would not do: where that is ignored, the kernel sets its disposition to
    // the default to deliver it.
    ".macro TRAP",
    "    RAISE 5",
    ".endm",
);

// Of a restored task: r15 is its first line. It never returns.
global_asm!(
    ".section .crux.restore, \"ax\", @progbits",
    "restore_entry:",
    "    mov ebx, [r15]",
    "    test bl, 128",
    "    jnz 5f",
    "    CALL",
    // The child of a clone3 leaves its parent's line alone.
    "    test rax, rax",
    "    jnz 2f",
    "    mov rcx, [r15 + 96]",
    "    jrcxz 2f",
    "    mov r15, rcx",
    "    jmp restore_entry",
    "2:  mov [r15 + 104], rax",
    "    mov rcx, [r15 + 88]",
    "    jrcxz 3f",
    "    mov [rcx], eax",
    "3:  mov rcx, rax",
    "    sub rcx, [r15 + 64]",
    "    cmp rcx, [r15 + 72]",
    "    jbe 4f",
    "    cmp rax, [r15 + 80]",
    "    jne 6f",
    "4:  add r15, 112",
    "    jmp restore_entry",
    "5:  TRAP",
    "restore_stopped:",
    "    jmp 4b",
    // r14 is the result. Without a tracer the signal ends the task; a tracer must not let it go on.
    "6:  mov r14, rax",
    "    TRAP",
    "restore_failed:",
    "    mov edi, 127",
    "    mov eax, 231",
    "    syscall",
    "    ud2",
    "restore_end:",
);

// Of a living task: r15 is the first line. What it needs to leave is beside it and is only read.
global_asm!(
    ".section .crux.dump, \"ax\", @progbits",
    // Here the kernel goes when it restarts the call that the task was in (its rip - 2),
    // and here the tracer sends a task that was in none.
    "dump_entry:",
    "    jmp 1f",
    // Here a task comes whose call was interrupted by a handler for good (EINTR): it has run by now.
    // Or nobody has looked: it was sent here from a syscall stop.
    "dump_interrupted:",
    "    xor r12d, r12d",
    "    cmp rax, -4",
    "    sete r12b",
    "    jmp 2f",
    "1:  xor r12d, r12d",
    // rt_sigprocmask(SIG_SETMASK, all but the summons, NULL, 8)
    "2:  mov eax, 14",
    "    mov edi, 2",
    "    lea rsi, [rip + dump_blocked]",
    "    xor edx, edx",
    "    mov r10d, 8",
    "    syscall",
    "3:  mov ebx, [r15]",
    "    test bl, 64",
    "    jnz 4f",
    "    CALL",
    "    mov [r15 + 104], rax",
    "    add r15, 112",
    "    jmp 3b",
    // A tracer that lives hears of a signal that nobody else takes notice of.
    "4:  cmp dword ptr [rip + dump_summons], 0",
    "    je dump_answered",
    "    RAISE [rip + dump_summons]",
    "dump_answered:",
    // Has a handler to run that would have ended the call? ppoll(NULL, 0, {0, 0}, mask, 8) lets it.
    "    cmp dword ptr [rip + dump_ends_by_handler], 0",
    "    je 5f",
    "    mov eax, 271",
    "    xor edi, edi",
    "    xor esi, esi",
    "    lea rdx, [rip + dump_no_time]",
    "    lea r10, [rip + dump_mask]",
    "    mov r8d, 8",
    "    syscall",
    "    cmp rax, -4",
    "    jne 5f",
    "    mov r12d, 1",
    // From here on nothing changes the flags, and the kernel keeps them. Signals are still
    // blocked while rsp is no stack.
    "5:  lea rsp, [rip + dump_flags]",
    "    popfq",
    "    mov rsp, [rip + dump_rsp]",
    // rt_sigprocmask(SIG_SETMASK, mask, NULL, 8)
    "    mov eax, 14",
    "    mov edi, 2",
    "    lea rsi, [rip + dump_mask]",
    "    mov edx, 0",
    "    mov r10d, 8",
    "    syscall",
    "dump_left:",
    "    mov rcx, r12",
    "    mov r15, [rip + dump_r15]",
    "    mov r14, [rip + dump_r14]",
    "    mov r13, [rip + dump_r13]",
    "    mov r12, [rip + dump_r12]",
    "    mov rbp, [rip + dump_rbp]",
    "    mov rbx, [rip + dump_rbx]",
    "    mov r11, [rip + dump_r11]",
    "    mov r10, [rip + dump_r10]",
    "    mov r9, [rip + dump_r9]",
    "    mov r8, [rip + dump_r8]",
    "    mov rdx, [rip + dump_rdx]",
    "    mov rsi, [rip + dump_rsi]",
    "    mov rdi, [rip + dump_rdi]",
    "    jrcxz 6f",
    "    mov rcx, [rip + dump_rcx]",
    "    mov rax, -4",
    "    notrack jmp [rip + dump_rip]",
    "6:  mov rcx, [rip + dump_rcx]",
    "    mov rax, [rip + dump_rax]",
    "    notrack jmp [rip + dump_again]",
    "    .balign 8",
    "dump_frame:",
    "dump_r15: .quad 0",
    "dump_r14: .quad 0",
    "dump_r13: .quad 0",
    "dump_r12: .quad 0",
    "dump_rbp: .quad 0",
    "dump_rbx: .quad 0",
    "dump_r11: .quad 0",
    "dump_r10: .quad 0",
    "dump_r9: .quad 0",
    "dump_r8: .quad 0",
    "dump_rcx: .quad 0",
    "dump_rdx: .quad 0",
    "dump_rsi: .quad 0",
    "dump_rdi: .quad 0",
    "dump_rsp: .quad 0",
    "dump_flags: .quad 0",
    "dump_mask: .quad 0",
    // Where it goes on, and with which rax: at the call again, or where it was.
    "dump_rax: .quad 0",
    "dump_again: .quad 0",
    // Where it was.
    "dump_rip: .quad 0",
    "dump_ends_by_handler: .quad 0",
    "dump_no_time: .quad 0, 0",
    "dump_summons: .quad 0",
    "dump_blocked: .quad -1",
    "dump_end:",
);

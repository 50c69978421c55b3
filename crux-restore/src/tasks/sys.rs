//! The system calls of this crate that need unsafe code: making the first task, and tracing.
//!
//! Kind: effect. Each function is one call, or what a child does between its birth and its
//! script, where nothing may be allocated and nobody can be told but by an exit status.
#![allow(unsafe_code)]

use rustix::io::Errno;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// The stub's page; lines and data follow.
const CODE: u64 = 4096;

/// Maps an arena where it was linked for, if nothing is there yet: code, and data that all tasks
/// share.
pub(crate) fn map_arena(base: u64, length: u64, memory: BorrowedFd<'_>) -> Result<(), Errno> {
    map(memory, base, 0, CODE, libc::PROT_READ | libc::PROT_EXEC)?;
    let rest = length.saturating_sub(CODE);
    map(memory, base, CODE, rest, libc::PROT_READ | libc::PROT_WRITE)
}

fn map(
    memory: BorrowedFd<'_>,
    base: u64,
    offset: u64,
    length: u64,
    protection: i32,
) -> Result<(), Errno> {
    let address = base.wrapping_add(offset);
    // SAFETY: NOREPLACE: no mapping that anybody uses is touched, and nobody refers to the new one.
    let at = unsafe {
        libc::mmap(
            address as *mut libc::c_void,
            length as usize,
            protection,
            libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE,
            memory.as_raw_fd(),
            offset as i64,
        )
    };
    match at {
        libc::MAP_FAILED => Err(last()),
        _ if at as u64 == address => Ok(()),
        _ => Err(Errno::EXIST),
    }
}

/// How the first task is born.
#[derive(Debug)]
pub(crate) struct Birth<'a> {
    /// `CLONE_NEW*`.
    pub(crate) namespaces: u64,
    /// Its numbers, from its own pid namespace outwards; empty for any.
    pub(crate) pids: &'a [i32],
    /// A signal for its parent.
    pub(crate) exit_signal: u64,
    /// How many proc file systems it begins.
    pub(crate) procs: u32,
    /// Whether it waits for a byte first, as its user namespace has to have maps.
    pub(crate) told: bool,
    /// Its end of a pair of sockets (`SOCK_SEQPACKET`).
    pub(crate) socket: BorrowedFd<'a>,
}

/// What is told the first task: a descriptor comes along.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Packet {
    /// The number that the descriptor gets; negative for the arena's memory, which comes last.
    pub(crate) number: i64,
    /// Where the arena is mapped.
    pub(crate) base: u64,
    /// How long it is.
    pub(crate) length: u64,
    /// The address of the first line.
    pub(crate) line: u64,
}

impl Packet {
    /// As it goes over the socket.
    pub(crate) fn bytes(self) -> [u8; 32] {
        let words = [self.number as u64, self.base, self.length, self.line];
        let mut bytes = [0; 32];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}

/// Exit statuses of a child that did not get to its script: which step failed.
pub(crate) const STEPS: [(i32, &str); 7] = [
    (121, "rseq(RSEQ_FLAG_UNREGISTER)"),
    (122, "sigaltstack(SS_DISABLE)"),
    (123, "dup3"),
    (124, "close_range"),
    (125, "fsopen(\"proc\")"),
    (126, "recvmsg"),
    (127, "mmap(arena)"),
];

/// Makes the first task, whose memory is a copy of the caller's (clone3(2)). All its signals
/// but SIGTRAP are blocked, and none has a handler. It sends proc file systems of its pid
/// namespace, and waits for its descriptors. To be called by a process of one thread.
pub(crate) fn give_birth(birth: &Birth<'_>) -> Result<i32, Errno> {
    let rseq = Rseq::of_caller();
    // SAFETY: all fields are integers, for which zero is a value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = birth.namespaces;
    args.exit_signal = birth.exit_signal;
    // The kernel wants both or neither.
    if !birth.pids.is_empty() {
        args.set_tid = birth.pids.as_ptr() as u64;
        args.set_tid_size = birth.pids.len() as u64;
    }
    let before = block_all_but_trap()?;
    // SAFETY: the struct and the array that it points to live until the call is over; the
    // kernel only reads them. The child goes on with a copy of this stack, and makes no call
    // that allocates, locks or unwinds.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            size_of::<libc::clone_args>(),
        )
    };
    match pid {
        0 => begin(birth, rseq),
        -1 => {
            let errno = last();
            set_mask(before)?;
            Err(errno)
        }
        _ => set_mask(before).map(|()| pid as i32),
    }
}

/// unshare(2). To be called by a process of one thread.
pub(crate) fn unshare(namespaces: u64) -> Result<(), Errno> {
    // SAFETY: no memory is passed, and no flag that leaves descriptors or memory to others.
    checked(unsafe { libc::syscall(libc::SYS_unshare, namespaces) }).map(drop)
}

/// Ends a child that cannot go on.
fn end(step: usize) -> ! {
    // SAFETY: it ends the process.
    unsafe { libc::_exit(STEPS[step].0) }
}

/// In the child: from what it inherits to the first line of its script.
fn begin(birth: &Birth<'_>, rseq: Option<Rseq>) -> ! {
    if rseq.is_some_and(|it| it.unregister().is_err()) {
        end(0);
    }
    // SAFETY: a disabled stack has no memory; the kernel reads the struct, which lives on our stack.
    let disabled = unsafe {
        let mut none: libc::stack_t = std::mem::zeroed();
        none.ss_flags = libc::SS_DISABLE;
        libc::sigaltstack(&raw const none, std::ptr::null_mut())
    };
    if disabled != 0 {
        end(1);
    }
    default_actions();
    // SAFETY: no memory is passed. An executable with file capabilities is not dumpable, and could not be traced.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
    raise_descriptors();
    let mut socket = birth.socket.as_raw_fd();
    if !close_range(0, socket - 1) || !close_range(socket + 1, i32::MAX) {
        end(3);
    }
    if birth.told && !is_told(socket) {
        end(5);
    }
    for _ in 0..birth.procs {
        send_proc(socket);
    }
    loop {
        let (packet, fd) = receive(socket);
        if packet.number < 0 {
            // Whatever else is open was asked for.
            if !close_range(socket, socket) {
                end(3);
            }
            enter(&packet, fd);
        }
        let number = packet.number as i32;
        if number == socket {
            // SAFETY: no memory is passed.
            socket = unsafe { libc::fcntl(socket, libc::F_DUPFD_CLOEXEC, number + 1) };
        }
        // SAFETY: no memory is passed.
        if fd != number && (unsafe { libc::dup3(fd, number, 0) } < 0 || !close_range(fd, fd)) {
            end(2);
        }
    }
}

/// One byte. The end of the other side is the end of this one.
fn is_told(socket: i32) -> bool {
    let mut byte = 0_u8;
    // SAFETY: the byte lives on this stack until the call returns.
    unsafe { libc::read(socket, (&raw mut byte).cast(), 1) == 1 }
}

/// As many descriptors as there may be: the scripts use numbers above those of all tasks. Each task has its own limit
/// in the end.
fn raise_descriptors() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes one struct and reads it, which lives on our stack. What cannot be raised is found when it
    // is too low.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// A proc file system of the pid namespace that the caller is in (`proc_init_fs_context()` takes that one,
/// not that of its children), to be finished where it is mounted.
fn send_proc(socket: i32) {
    const FSOPEN_CLOEXEC: libc::c_long = 1;
    // SAFETY: the name is a static string.
    let fd = unsafe { libc::syscall(libc::SYS_fsopen, c"proc".as_ptr(), FSOPEN_CLOEXEC) };
    if fd < 0 {
        end(4);
    }
    let mut control = Control::with(fd as i32);
    let mut byte = [0_u8];
    let mut vector = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    let head = head(&mut vector, &mut control);
    // SAFETY: everything that the head points to lives on this stack until the call returns.
    if unsafe { libc::sendmsg(socket, &raw const head, libc::MSG_NOSIGNAL) } != 1
        || !close_range(fd as i32, fd as i32)
    {
        end(4);
    }
}

/// One packet and its descriptor. The end of the other side is the end of this one.
fn receive(socket: i32) -> (Packet, i32) {
    let mut packet = Packet::default();
    let mut vector = libc::iovec {
        iov_base: (&raw mut packet).cast(),
        iov_len: size_of::<Packet>(),
    };
    let mut control = Control::with(-1);
    let mut head = head(&mut vector, &mut control);
    // SAFETY: everything that the head points to lives on this stack until the call returns. A packet is
    // integers, for which every value is one.
    let size = unsafe { libc::recvmsg(socket, &raw mut head, 0) };
    if size != size_of::<Packet>() as isize || head.msg_flags & libc::MSG_CTRUNC != 0 {
        end(5);
    }
    match control.fd {
        fd @ 0.. => (packet, fd),
        _ => end(5),
    }
}

fn head(vector: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: integers and pointers, for which zero is a value.
    let mut head: libc::msghdr = unsafe { std::mem::zeroed() };
    head.msg_iov = vector;
    head.msg_iovlen = 1;
    head.msg_control = (&raw mut *control).cast();
    head.msg_controllen = size_of::<Control>();
    head
}

/// A control message with one descriptor (`SCM_RIGHTS`).
#[repr(C)]
struct Control {
    length: usize,
    level: i32,
    kind: i32,
    fd: i32,
    padding: i32,
}

impl Control {
    fn with(fd: i32) -> Self {
        Self {
            // CMSG_LEN(4)
            length: 20,
            level: libc::SOL_SOCKET,
            kind: libc::SCM_RIGHTS,
            fd,
            padding: 0,
        }
    }
}

/// The script begins.
fn enter(packet: &Packet, memory: i32) -> ! {
    // SAFETY: the descriptor is open: it has just come.
    let file = unsafe { BorrowedFd::borrow_raw(memory) };
    if map_arena(packet.base, packet.length, file).is_err() || !close_range(memory, memory) {
        end(6);
    }
    // SAFETY: the arena is mapped there, executable, and was linked for this address. The
    // stub needs no stack, and nothing of this function is used again.
    unsafe {
        std::arch::asm!(
            "jmp rax",
            in("r15") packet.line,
            in("rax") packet.base,
            options(noreturn)
        )
    }
}

fn close_range(first: i32, last: i32) -> bool {
    // SAFETY: no memory is passed; the table is this child's own.
    first > last || unsafe { libc::close_range(first as u32, last as u32, 0) } == 0
}

/// Handlers are code that goes; what is ignored would stay ignored.
fn default_actions() {
    let action = [0_u64; 4];
    for signal in 1..=64_i64 {
        // SAFETY: the kernel's struct sigaction has 32 bytes, which it only reads. SIGKILL and
        // SIGSTOP are refused, and have no action of their own.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                action.as_ptr(),
                std::ptr::null_mut::<u64>(),
                8_usize,
            )
        };
    }
}

fn block_all_but_trap() -> Result<u64, Errno> {
    let mut before = 0_u64;
    let blocked = !(1_u64 << (libc::SIGTRAP - 1));
    mask(&blocked, &mut before).map(|()| before)
}

fn set_mask(to: u64) -> Result<(), Errno> {
    mask(&to, &mut 0)
}

fn mask(to: &u64, before: &mut u64) -> Result<(), Errno> {
    let how = i64::from(libc::SIG_SETMASK);
    // SAFETY: the kernel's sigset_t has 8 bytes; it reads the first and writes the second, which are
    // borrowed for the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            how,
            &raw const *to,
            &raw mut *before,
            8_usize,
        )
    };
    checked(result).map(drop)
}

/// Where the C library has registered its restartable sequences (rseq(2)): the kernel
/// writes there, and a task of ours has nothing there.
#[derive(Debug, Clone, Copy)]
struct Rseq {
    address: usize,
    length: usize,
}

/// The signature that glibc registers with on x86-64.
const SIGNATURE: u64 = 0x5305_3053;

impl Rseq {
    /// None where the C library does not use it.
    fn of_caller() -> Option<Self> {
        // SAFETY: both symbols are constants of glibc (2.35 and later), of these types; the thread
        // pointer of x86-64 is the first word of what fs points to.
        unsafe {
            let offset = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr());
            let size = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_size".as_ptr());
            if offset.is_null() || size.is_null() || *size.cast::<u32>() == 0 {
                return None;
            }
            let pointer: usize;
            std::arch::asm!("mov {}, fs:0", out(reg) pointer, options(nostack, readonly));
            let address = pointer.wrapping_add_signed(*offset.cast::<isize>());
            // It registers with what the kernel offers, and at least with what there was at first.
            let (feature, align) = (libc::getauxval(27), libc::getauxval(28));
            let length = (feature as usize).next_multiple_of((align as usize).max(1));
            Some(Self { address, length })
        }
    }

    fn unregister(self) -> Result<(), Errno> {
        const FIRST: usize = 32;
        self.with_length(FIRST)
            .or_else(|_| self.with_length(self.length.max(FIRST)))
    }

    fn with_length(self, length: usize) -> Result<(), Errno> {
        const UNREGISTER: u64 = 1;
        // SAFETY: the kernel only forgets the address.
        let result =
            unsafe { libc::syscall(libc::SYS_rseq, self.address, length, UNREGISTER, SIGNATURE) };
        checked(result).map(drop)
    }
}

/// The hard limit of a resource (getrlimit(2)); 0 for one that there is not.
pub(crate) fn hard_limit(resource: u32) -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the struct is a local, which the kernel writes.
    unsafe { libc::getrlimit(resource, &raw mut limit) };
    limit.rlim_max
}

fn checked(result: libc::c_long) -> Result<libc::c_long, Errno> {
    match result {
        0.. => Ok(result),
        _ => Err(last()),
    }
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

//! The system calls of the workload that need unsafe code.
//!
//! Kind: effect.
#![allow(unsafe_code)]

use nix::libc;
use std::io::Error;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Signals that have come, by number.
pub(crate) static CAUGHT: [AtomicU32; 65] = [const { AtomicU32::new(0) }; 65];
/// What came along with the last one.
pub(crate) static VALUE: AtomicU64 = AtomicU64::new(0);

extern "C" fn note(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    CAUGHT[signal as usize].fetch_add(1, Ordering::SeqCst);
    // SAFETY: the kernel passes a siginfo of this call; with SA_SIGINFO it is there.
    let value = unsafe { (*info).si_value() };
    VALUE.store(value.sival_ptr as u64, Ordering::SeqCst);
}

/// Counts a signal from here on.
pub(crate) fn catch(signal: i32, flags: i32, mask: &[i32]) {
    // SAFETY: all zeros is a sigaction without a handler; it is filled in below. The kernel reads it
    // during the call.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = note as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | flags;
        for blocked in mask {
            libc::sigaddset(&mut action.sa_mask, *blocked);
        }
        assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
    }
}

/// The action of a signal: handler, flags.
pub(crate) fn action(signal: i32) -> (usize, i32) {
    // SAFETY: the kernel writes to `action`, which lives until the call returns.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        assert_eq!(libc::sigaction(signal, std::ptr::null(), &mut action), 0);
        (action.sa_sigaction, action.sa_flags)
    }
}

/// Ignores a signal.
pub(crate) fn ignore(signal: i32) {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Queues a signal with a value to this process.
pub(crate) fn queue(signal: i32, value: usize) {
    let value = libc::sigval {
        sival_ptr: value as *mut libc::c_void,
    };
    // SAFETY: the value is not looked at as a pointer by anybody.
    assert_eq!(unsafe { libc::sigqueue(libc::getpid(), signal, value) }, 0);
}

/// Maps memory, at an address that the kernel chooses.
pub(crate) fn map(length: usize, protection: i32, flags: i32, fd: i32) -> usize {
    // SAFETY: no existing mapping is touched.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, fd, 0) };
    assert_ne!(at, libc::MAP_FAILED, "mmap: {}", Error::last_os_error());
    at as usize
}

/// Changes the protection of memory that [`map`] gave.
pub(crate) fn protect(at: usize, length: usize, protection: i32) {
    // SAFETY: the range is of `map`, to which there is no reference.
    let done = unsafe { libc::mprotect(at as *mut libc::c_void, length, protection) };
    assert_eq!(done, 0, "mprotect: {}", Error::last_os_error());
}

/// Advises the kernel about memory that [`map`] gave.
pub(crate) fn advise(at: usize, length: usize, advice: i32) {
    // SAFETY: as above; the advice does not change contents that are still read.
    let done = unsafe { libc::madvise(at as *mut libc::c_void, length, advice) };
    assert_eq!(done, 0, "madvise: {}", Error::last_os_error());
}

/// Writes a word to memory that [`map`] gave.
pub(crate) fn write(at: usize, value: u64) {
    // SAFETY: the address is within such memory, which is writable and has no references.
    unsafe { (at as *mut u64).write_volatile(value) }
}

/// Reads a word from memory that [`map`] gave.
pub(crate) fn read(at: usize) -> u64 {
    // SAFETY: the address is within such memory, which is readable.
    unsafe { (at as *const u64).read_volatile() }
}

/// Forks: the child does `work` and ends with its status.
pub(crate) fn child(work: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the program has one thread where it forks; the child does not return.
    match unsafe { libc::fork() } {
        0 => {
            let status = work();
            // SAFETY: it takes no pointer and does not return.
            unsafe { libc::_exit(status) }
        }
        pid => {
            assert!(pid > 0, "fork: {}", Error::last_os_error());
            pid
        }
    }
}

/// clone(2) with these flags besides SIGCHLD, on a stack of its own that is never given back: its number.
pub(crate) fn sharing_child(
    flags: i32,
    work: extern "C" fn(*mut libc::c_void) -> libc::c_int,
) -> i32 {
    let stack = Vec::leak(vec![0_u128; 4096]).as_mut_ptr_range().end;
    // SAFETY: nobody else has the stack. `work` uses nothing of the parent's but makes system calls.
    let pid = unsafe {
        let flags = flags | libc::SIGCHLD;
        libc::clone(work, stack.cast(), flags, std::ptr::null_mut())
    };
    assert!(pid > 0, "clone: {}", Error::last_os_error());
    pid
}

/// For [`sharing_child`]: after 300 ms it is another program, which ends.
pub(crate) extern "C" fn late_program(_: *mut libc::c_void) -> libc::c_int {
    sleep_once(300_000_000);
    let program = c"/bin/true".as_ptr();
    let (arguments, none) = ([program, std::ptr::null()], [std::ptr::null()]);
    // SAFETY: both lists end in null; the kernel reads them during the call.
    unsafe { libc::execve(program, arguments.as_ptr(), none.as_ptr()) };
    // SAFETY: it takes no pointer and does not return.
    unsafe { libc::_exit(1) }
}

/// For [`sharing_child`].
pub(crate) extern "C" fn wait_for_ever(_: *mut libc::c_void) -> libc::c_int {
    loop {
        sleep_once(3_600_000_000_000);
    }
}

/// Makes a timer that sends a signal; its id.
pub(crate) fn timer(clock: i32, signal: i32, seconds: i64, interval: i64) -> libc::timer_t {
    // SAFETY: both structures and the id live until the calls return; the kernel writes to the id alone.
    unsafe {
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = signal;
        let mut id: libc::timer_t = std::ptr::null_mut();
        assert_eq!(libc::timer_create(clock, &mut event, &mut id), 0);
        let time = |seconds| libc::timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        };
        let wanted = libc::itimerspec {
            it_interval: time(interval),
            it_value: time(seconds),
        };
        assert_eq!(libc::timer_settime(id, 0, &wanted, std::ptr::null_mut()), 0);
        id
    }
}

/// What remains of a timer, and its interval, in seconds.
pub(crate) fn timer_left(id: libc::timer_t) -> (i64, i64) {
    // SAFETY: the kernel writes to `found`, which lives until the call returns.
    unsafe {
        let mut found: libc::itimerspec = std::mem::zeroed();
        assert_eq!(libc::timer_gettime(id, &mut found), 0);
        (found.it_value.tv_sec, found.it_interval.tv_sec)
    }
}

/// Sets a real interval timer, in seconds.
pub(crate) fn alarm(seconds: i64, interval: i64) {
    let time = |seconds| libc::timeval {
        tv_sec: seconds,
        tv_usec: 0,
    };
    let wanted = libc::itimerval {
        it_interval: time(interval),
        it_value: time(seconds),
    };
    // SAFETY: the kernel reads `wanted` during the call.
    let done = unsafe { libc::setitimer(libc::ITIMER_REAL, &wanted, std::ptr::null_mut()) };
    assert_eq!(done, 0);
}

/// What remains of it, and its interval.
pub(crate) fn alarm_left() -> (i64, i64) {
    // SAFETY: the kernel writes to `found`, which lives until the call returns.
    unsafe {
        let mut found: libc::itimerval = std::mem::zeroed();
        assert_eq!(libc::getitimer(libc::ITIMER_REAL, &mut found), 0);
        (found.it_value.tv_sec, found.it_interval.tv_sec)
    }
}

/// Sleeps in one call that may not be interrupted: what it answered.
pub(crate) fn sleep_once(nanoseconds: i64) -> i32 {
    let wanted = libc::timespec {
        tv_sec: nanoseconds / 1_000_000_000,
        tv_nsec: nanoseconds % 1_000_000_000,
    };
    // SAFETY: the kernel reads `wanted` during the call.
    unsafe { libc::nanosleep(&wanted, std::ptr::null_mut()) }
}

/// A call by its number, through syscall(2): 0, or its error. Addresses are those of what lives until it
/// returns, and what the kernel writes there is not looked at.
pub(crate) fn call(number: i64, arguments: [usize; 6]) -> i32 {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: callers pass addresses of live structs of the call's own kinds.
    match unsafe { libc::syscall(number, a, b, c, d, e, f) } {
        -1 => Error::last_os_error().raw_os_error().unwrap_or(-1),
        _ => 0,
    }
}

/// poll(2) of the C library's for nothing but the time.
pub(crate) fn poll_nothing(milliseconds: i32) -> i32 {
    // SAFETY: there is nothing that the kernel would read or write.
    match unsafe { libc::poll(std::ptr::null_mut(), 0, milliseconds) } {
        -1 => Error::last_os_error().raw_os_error().unwrap_or(-1),
        _ => 0,
    }
}

/// CLOCK_MONOTONIC.
pub(crate) fn monotonic() -> std::time::Duration {
    // SAFETY: the kernel writes to `now`, which lives until the call returns.
    unsafe {
        let mut now: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now);
        std::time::Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    }
}

/// prctl(2) with a number.
pub(crate) fn prctl(option: i32, value: u64) -> i32 {
    // SAFETY: only options with plain numbers are used.
    unsafe { libc::prctl(option, value, 0, 0, 0) }
}

/// The registers of the vector unit and of the x87 hold these values while a child of the
/// kernel's time passes: spins until `go` says so, and gives back what they hold then.
pub(crate) fn hold_registers(go: &std::sync::atomic::AtomicBool) -> ([u64; 4], f64) {
    let wanted: [u64; 4] = [0x1111, 0x2222_0000, 0x3333_0000_0000, 0x4444_0000_0000_0000];
    let mut found = [0_u64; 4];
    let (number, mut pi) = (std::f64::consts::PI, 0.0_f64);
    // SAFETY: the code reads `wanted` and `number`, reads one byte of `go` until it is not 0, and writes `found`
    // and `pi`; all live until it ends. It uses xmm0, xmm15 and one slot of the x87 stack, which it frees.
    unsafe {
        std::arch::asm!(
            "movdqu xmm0, [{wanted}]",
            "movdqu xmm15, [{wanted} + 16]",
            "fld qword ptr [{number}]",
            "2:",
            "pause",
            "cmp byte ptr [{go}], 0",
            "je 2b",
            "fstp qword ptr [{pi}]",
            "movdqu [{found}], xmm0",
            "movdqu [{found} + 16], xmm15",
            wanted = in(reg) wanted.as_ptr(),
            number = in(reg) &raw const number,
            go = in(reg) go.as_ptr(),
            pi = in(reg) &raw mut pi,
            found = in(reg) found.as_mut_ptr(),
            out("xmm0") _, out("xmm15") _, out("st(0)") _,
            options(nostack),
        );
    }
    (found, pi)
}

/// How many bytes wait in a pipe.
pub(crate) fn waiting(pipe: i32) -> i32 {
    let mut bytes = -1;
    // SAFETY: the kernel writes one int to `bytes`, which lives until the call returns.
    unsafe { libc::ioctl(pipe, libc::FIONREAD, &raw mut bytes) };
    bytes
}

/// The calling thread's number.
pub(crate) fn thread_id() -> i32 {
    // SAFETY: it takes nothing.
    unsafe { libc::gettid() }
}

/// The calling thread's name.
pub(crate) fn set_name(name: &std::ffi::CStr) {
    // SAFETY: the string is read during the call.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// What it is.
pub(crate) fn name() -> Vec<u8> {
    let mut name = [0_u8; 16];
    // SAFETY: the kernel writes 16 bytes, which live until the call returns.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    name.split(|byte| *byte == 0)
        .next()
        .unwrap_or_default()
        .to_vec()
}

/// Whether the calling thread blocks a signal.
pub(crate) fn is_blocked(signal: i32) -> bool {
    // SAFETY: the set lives until the calls return; the kernel writes it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut set);
        libc::sigismember(&set, signal) == 1
    }
}

/// Blocks a signal in the calling thread.
pub(crate) fn block(signal: i32) {
    // SAFETY: the set lives until the call returns; the kernel reads it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&mut set, signal);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
}

/// Lets it through again.
pub(crate) fn unblock(signal: i32) {
    // SAFETY: as above.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&mut set, signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut());
    }
}

/// unshare(CLONE_NEWTIME): children are in a new time namespace.
pub(crate) fn unshare_time() {
    // SAFETY: no memory is passed.
    let result = unsafe { libc::unshare(0x80) };
    assert_eq!(result, 0, "unshare: {}", Error::last_os_error());
}

/// Seconds that a clock shows.
pub(crate) fn seconds(clock: i32) -> i64 {
    // SAFETY: integers, for which zero is a value.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: the struct is a local, which the call writes.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec
}

/// A descriptor that a call has just given, by its number.
pub(crate) fn own(number: i32) -> std::os::fd::OwnedFd {
    // SAFETY: the callers have it from the kernel, and nobody else owns it.
    unsafe { std::os::fd::FromRawFd::from_raw_fd(number) }
}

/// Lets the slave of a pty be opened.
pub(crate) fn unlock(master: i32) {
    let unlocked: libc::c_int = 0;
    // SAFETY: the kernel reads one int, which lives until the call returns.
    let done = unsafe { libc::ioctl(master, libc::TIOCSPTLCK, &raw const unlocked) };
    assert_eq!(done, 0, "TIOCSPTLCK: {}", Error::last_os_error());
}

/// The number of a pty, by its master.
pub(crate) fn terminal_number(master: i32) -> u32 {
    let mut number: libc::c_uint = u32::MAX;
    // SAFETY: the kernel writes one unsigned int, which lives until the call returns.
    unsafe { libc::ioctl(master, libc::TIOCGPTN, &raw mut number) };
    number
}

/// Rows, columns and pixels of a terminal.
pub(crate) fn window(terminal: i32) -> [u16; 4] {
    let mut window = [0_u16; 4];
    // SAFETY: the kernel writes four shorts to an array that lives until the call returns.
    unsafe { libc::ioctl(terminal, libc::TIOCGWINSZ, window.as_mut_ptr()) };
    window
}

/// Sets them.
pub(crate) fn set_window(terminal: i32, window: [u16; 4]) {
    // SAFETY: the kernel reads four shorts of an array that lives until the call returns.
    unsafe { libc::ioctl(terminal, libc::TIOCSWINSZ, window.as_ptr()) };
}

/// Makes a terminal that of this session.
pub(crate) fn control(terminal: i32) {
    // SAFETY: the argument is a number.
    let done = unsafe { libc::ioctl(terminal, libc::TIOCSCTTY, 0) };
    assert_eq!(done, 0, "TIOCSCTTY: {}", Error::last_os_error());
}

/// Does something whenever SIGUSR1 comes, which is caught, for ever.
pub(crate) fn wait_for_usr1(mut job: impl FnMut()) -> i32 {
    let mut seen = 0;
    loop {
        while CAUGHT[libc::SIGUSR1 as usize].load(Ordering::SeqCst) == seen {
            // A signal that came just before is found the next time round.
            // SAFETY: the time is a local that is only read.
            unsafe {
                let time = libc::timespec {
                    tv_sec: 0,
                    tv_nsec: 10_000_000,
                };
                libc::nanosleep(&raw const time, std::ptr::null_mut());
            }
        }
        seen += 1;
        job();
    }
}

/// setsockopt(2) with a structure of numbers.
pub(crate) fn set_words(
    socket: &impl std::os::fd::AsRawFd,
    level: i32,
    name: i32,
    value: &[u32],
) -> Result<(), Error> {
    let (fd, length) = (socket.as_raw_fd(), size_of_val(value) as libc::socklen_t);
    // SAFETY: the kernel reads as many bytes, which live until the call returns.
    match unsafe { libc::setsockopt(fd, level, name, value.as_ptr().cast(), length) } {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

/// setsockopt(2) with a number.
pub(crate) fn set_option(
    socket: &impl std::os::fd::AsRawFd,
    level: i32,
    name: i32,
    value: u32,
) -> Result<(), Error> {
    let (fd, length) = (socket.as_raw_fd(), size_of::<u32>() as libc::socklen_t);
    // SAFETY: the kernel reads one int, which lives until the call returns.
    match unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), length) } {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

/// getsockopt(2): how long the value is.
pub(crate) fn option(
    socket: &impl std::os::fd::AsRawFd,
    level: i32,
    name: i32,
    value: &mut [u8],
) -> Option<u32> {
    let (fd, mut length) = (socket.as_raw_fd(), value.len() as libc::socklen_t);
    let at = value.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `length` bytes to `value`, which has them.
    let done = unsafe { libc::getsockopt(fd, level, name, at, &raw mut length) };
    (done == 0).then_some(length)
}

/// Instructions of a filter, of eight bytes each.
pub(crate) fn attach_filter(
    socket: &impl std::os::fd::AsRawFd,
    filter: &[u64],
) -> Result<(), Error> {
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut().cast(),
    };
    let length = size_of::<libc::sock_fprog>() as libc::socklen_t;
    let (fd, level, name) = (socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER);
    // SAFETY: the kernel reads the program and the filter, which live until the call returns.
    match unsafe { libc::setsockopt(fd, level, name, (&raw const program).cast(), length) } {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

/// How many instructions a socket's filter has.
pub(crate) fn filter_length(socket: &impl std::os::fd::AsRawFd) -> u32 {
    let (fd, level, name) = (socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER);
    let mut count = 0;
    // SAFETY: with room for none the kernel writes the number alone.
    unsafe { libc::getsockopt(fd, level, name, std::ptr::null_mut(), &raw mut count) };
    count
}

/// A packet socket that gets a protocol (in network order) from a device.
pub(crate) fn packet_socket(protocol: u16, device: i32) -> std::os::fd::OwnedFd {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: it takes no pointer.
    let number = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    assert!(number >= 0, "socket: {}", Error::last_os_error());
    // SAFETY: all zeros is an address; it is filled in below.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol;
    address.sll_ifindex = device;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the kernel reads the address, which lives until the call returns.
    let done = unsafe { libc::bind(number, (&raw const address).cast(), length) };
    assert_eq!(done, 0, "bind: {}", Error::last_os_error());
    own(number)
}

/// This process hears of what happens to a file, by a signal.
pub(crate) fn tell(file: i32, signal: i32) {
    const F_SETSIG: i32 = 10;
    // SAFETY: no memory is passed.
    unsafe {
        assert_eq!(libc::fcntl(file, libc::F_SETOWN, libc::getpid()), 0);
        assert_eq!(libc::fcntl(file, F_SETSIG, signal), 0);
    }
}

/// Whose process it was that a parent has not waited for yet, as it is told.
pub(crate) fn owner_of_ended(pid: i32) -> u32 {
    // SAFETY: a siginfo_t of zeros is one, and waitid fills it in.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is there as long as the call takes.
    let answer = unsafe { libc::waitid(libc::P_PID, pid.unsigned_abs(), &raw mut info, flags) };
    assert_eq!(answer, 0, "waitid");
    // SAFETY: what waitid fills in has the form of SIGCHLD.
    unsafe { info.si_uid() }
}

/// Takes a lease to read.
pub(crate) fn lease(file: &impl std::os::fd::AsRawFd) -> bool {
    // SAFETY: no memory is passed.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) == 0 }
}

//! Filters of system calls: with and without privilege, inherited, of one thread, several in a chain.
//!
//! Kind: effect.

mod sys;

use super::{Verify, same, sys as memory};
use nix::libc;

const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;
const SHARED: i32 = libc::MAP_SHARED | libc::MAP_ANONYMOUS;

/// What is done when a filter says that a call is not to be made.
const KILL: u32 = 0x8000_0000;
const fn error(errno: i32) -> u32 {
    0x0005_0000 | errno as u32
}

/// A process that looks whenever it is asked to, by a shared page.
struct Witness(usize);

impl Witness {
    fn start(set_up: impl FnOnce(), look: impl Fn() -> u64) -> Self {
        let page = memory::map(4096, RW, SHARED, -1);
        memory::child(move || {
            set_up();
            memory::write(page + 8, 1);
            loop {
                if memory::read(page) != 0 {
                    memory::write(page + 16, look());
                    memory::write(page, 0);
                }
                std::thread::yield_now();
            }
        });
        while memory::read(page + 8) == 0 {
            std::thread::yield_now();
        }
        Self(page)
    }

    fn look(&self) -> u64 {
        memory::write(self.0, 1);
        let answered = (0..50_000_000).any(|_| {
            std::thread::yield_now();
            memory::read(self.0) == 0
        });
        if answered {
            memory::read(self.0 + 16)
        } else {
            u64::MAX
        }
    }
}

/// Filters that forbid what a restore has to do in the end, or to use them up.
pub(crate) fn filters() -> Verify {
    let sealed = Witness::start(
        || {
            sys::no_new_privileges();
            sys::install(&[libc::SYS_sysinfo], error(5), true);
            let forbidden = [
                libc::SYS_munmap,
                libc::SYS_tgkill,
                libc::SYS_capset,
                libc::SYS_setns,
                libc::SYS_mmap,
                libc::SYS_seccomp,
            ];
            sys::install(&forbidden, error(6), false);
            sys::install_by_prctl(&[libc::SYS_times], KILL);
        },
        || {
            // A child of its inherits all three; the last one kills it.
            let killed = memory::child(|| sys::errno_of(libc::SYS_times));
            let status = sys::wait(killed);
            let errnos = [libc::SYS_sysinfo, libc::SYS_munmap].map(sys::errno_of);
            u64::from(status == libc::SIGSYS as u32 | 0x80 || status == libc::SIGSYS as u32) << 16
                | (errnos[0] as u64) << 8
                | errnos[1] as u64
        },
    );
    let humble = Witness::start(
        || {
            sys::install(&[libc::SYS_sysinfo], error(7), false);
            sys::drop_capabilities();
        },
        || (sys::errno_of(libc::SYS_sysinfo) as u64) << 8 | sys::capabilities(),
    );
    let page = memory::map(4096, RW, SHARED, -1);
    std::thread::spawn(move || {
        sys::install(&[libc::SYS_sysinfo], error(8), false);
        loop {
            if memory::read(page) != 0 {
                memory::write(page + 8, sys::errno_of(libc::SYS_sysinfo) as u64);
                memory::write(page, 0);
            }
            std::thread::yield_now();
        }
    });
    Box::new(move || {
        let mut wrong = Vec::new();
        wrong.extend(same("the sealed one", sealed.look(), 0x1_0506));
        wrong.extend(same("the humble one", humble.look(), 0x700));
        let thread = Witness(page);
        thread.look();
        wrong.extend(same("the thread's", memory::read(page + 8), 8));
        wrong.extend(same(
            "its process has none",
            sys::errno_of(libc::SYS_sysinfo),
            libc::EFAULT,
        ));
        wrong
    })
}

/// A child under a filter that cannot be restored.
fn child(set_up: impl FnOnce()) -> Verify {
    let page = memory::map(4096, RW, SHARED, -1);
    let child = memory::child(move || {
        set_up();
        // No call from here on.
        loop {
            let given = memory::read(page);
            memory::write(page + 8, given);
        }
    });
    let mut round = 0;
    Box::new(move || {
        round += 1;
        memory::write(page, round);
        let answered = (0..50_000_000).any(|_| {
            std::thread::yield_now();
            memory::read(page + 8) == round
        });
        let mut wrong: Vec<String> = Vec::new();
        wrong.extend(same("the child answers", answered, true));
        let alive = nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), None).is_ok();
        wrong.extend(same("the child lives", alive, true));
        wrong
    })
}

/// Its filter would ask a process that listens.
pub(crate) fn listener() -> Verify {
    child(|| sys::install(&[libc::SYS_sysinfo], 0x7fc0_0000, false))
}

/// It may not make a call that only it can answer.
pub(crate) fn silent() -> Verify {
    child(|| sys::install(&[libc::SYS_sigaltstack], KILL, false))
}

/// It may read, write and end.
pub(crate) fn strict() -> Verify {
    child(sys::be_strict)
}

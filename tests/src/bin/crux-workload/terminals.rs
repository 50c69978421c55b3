//! Terminals: both sides in one process, and one that controls a session with two groups.
//!
//! Kind: effect.

use super::{Verify, same, sys};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use nix::unistd::{Pid, getpgid, getpid, setpgid, setsid, tcgetpgrp, tcsetpgrp};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};

/// The master of a new terminal, and the path of its slave.
fn new() -> (File, String) {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = File::from(open("/dev/pts/ptmx", flags, Mode::empty()).expect("open(ptmx)"));
    sys::unlock(master.as_raw_fd());
    let path = format!("/dev/pts/{}", sys::terminal_number(master.as_raw_fd()));
    (master, path)
}

fn slave(path: &str) -> File {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    File::from(open(path, flags, Mode::empty()).expect("open(pts)"))
}

/// Settings, a window, and bytes in both directions; the number is not the lowest.
pub(crate) fn pairs() -> Verify {
    let (gone, _) = new();
    let (mut master, path) = new();
    drop(gone);
    let mut slave = slave(&path);
    let mut settings = tcgetattr(&slave).expect("tcgetattr");
    settings.local_flags -= LocalFlags::ECHO | LocalFlags::ICANON;
    tcsetattr(&slave, SetArg::TCSANOW, &settings).expect("tcsetattr");
    sys::set_window(slave.as_raw_fd(), [30, 99, 3, 4]);
    // Nobody has opened the other side yet.
    let (lone, lone_path) = new();
    Box::new(move || {
        let mut wrong = Vec::new();
        let now = tcgetattr(&slave).map(|it| it.local_flags);
        wrong.extend(same("settings", now, Ok(settings.local_flags)));
        let window = sys::window(master.as_raw_fd());
        wrong.extend(same("window", window, [30, 99, 3, 4]));
        let number = sys::terminal_number(master.as_raw_fd());
        wrong.extend(same("number", format!("/dev/pts/{number}"), path.clone()));
        let link = std::fs::read_link(format!("/proc/self/fd/{}", slave.as_raw_fd()));
        wrong.extend(same("path", link.unwrap_or_default(), path.clone().into()));
        let mut bytes = [0; 3];
        let said = master
            .write_all(b"in!")
            .and_then(|()| slave.read_exact(&mut bytes));
        wrong.extend(said.err().map(|error| format!("to the slave: {error}")));
        wrong.extend(same("input", bytes, *b"in!"));
        let said = slave
            .write_all(b"out")
            .and_then(|()| master.read_exact(&mut bytes));
        wrong.extend(said.err().map(|error| format!("to the master: {error}")));
        wrong.extend(same("output", bytes, *b"out"));
        let opened = std::fs::metadata(&lone_path).is_ok();
        wrong.extend(same("a terminal without a slave", opened, true));
        let number = sys::terminal_number(lone.as_raw_fd());
        let found = format!("/dev/pts/{number}");
        wrong.extend(same("its number", found, lone_path.clone()));
        wrong
    })
}

/// A session on a terminal whose master is here: a leader in the background, and a job in the foreground.
pub(crate) fn controlling() -> Verify {
    let (mut master, path) = new();
    let (read, write) = nix::unistd::pipe().expect("pipe");
    let (mut read, write) = (File::from(read), File::from(write));
    let leader = sys::child(move || {
        sys::ignore(nix::libc::SIGTTOU);
        setsid().expect("setsid");
        let terminal = slave(&path);
        sys::control(terminal.as_raw_fd());
        let mut here = slave("/dev/tty");
        let job = sys::child(|| {
            setpgid(Pid::from_raw(0), Pid::from_raw(0)).expect("setpgid");
            loop {
                nix::unistd::pause();
            }
        });
        while getpgid(Some(Pid::from_raw(job))) != Ok(Pid::from_raw(job)) {
            std::thread::yield_now();
        }
        tcsetpgrp(&terminal, Pid::from_raw(job)).expect("tcsetpgrp");
        sys::catch(nix::libc::SIGUSR1, 0, &[]);
        let mut write = &write;
        write.write_all(b"!").expect("write");
        // It says what it sees, whenever it hears something: it is in the background, and reads elsewhere.
        sys::wait_for_usr1(|| {
            let seen = tcgetpgrp(here.as_fd()).ok() == Some(Pid::from_raw(job));
            let own = tcgetpgrp(&terminal).ok() != Some(getpid());
            let word: &[u8] = if seen && own { b"good\n" } else { b"bad!\n" };
            here.write_all(word).expect("write");
        })
    });
    read.read_exact(&mut [0]).expect("read");
    Box::new(move || {
        let mut wrong = Vec::new();
        let _ = nix::sys::signal::kill(Pid::from_raw(leader), nix::sys::signal::Signal::SIGUSR1);
        let mut bytes = [0; 6];
        let heard = master.read_exact(&mut bytes);
        wrong.extend(
            heard
                .err()
                .map(|error| format!("hear of the session: {error}")),
        );
        wrong.extend(same("the session", bytes, *b"good\r\n"));
        wrong
    })
}

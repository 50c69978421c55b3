//! inotify(7), and descriptors of processes.
//!
//! Kind: effect.

use super::{Verify, same, sys};
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init, remove_watch};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::{AsRawFd as _, OwnedFd};

/// The number of each event that waits, and what it is.
fn told(inotify: &OwnedFd) -> Vec<(i32, u32)> {
    let mut bytes = [0; 4096];
    let length = rustix::io::read(inotify, &mut bytes).unwrap_or(0);
    let (mut rest, mut found) = (&bytes[..length], Vec::new());
    while rest.len() >= 16 {
        let word = |at: usize| u32::from_ne_bytes(rest[at..at + 4].try_into().unwrap_or_default());
        found.push((word(0) as i32, word(4)));
        rest = &rest[16 + word(12) as usize..];
    }
    found
}

/// A directory, a file, and numbers of which some are nobody's any more.
pub(crate) fn watches() -> Verify {
    std::fs::create_dir("/tmp/watched").expect("mkdir");
    std::fs::write("/tmp/file", "x").expect("write");
    let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).expect("inotify_init");
    let directory = add_watch(
        &inotify,
        "/tmp/watched",
        WatchFlags::CREATE | WatchFlags::DELETE,
    );
    let directory = directory.expect("inotify_add_watch");
    for _ in 0..3 {
        let gone = add_watch(&inotify, "/dev", WatchFlags::CREATE).expect("inotify_add_watch");
        remove_watch(&inotify, gone).expect("inotify_rm_watch");
    }
    let file = add_watch(
        &inotify,
        "/tmp/file",
        WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE,
    );
    let file = file.expect("inotify_add_watch");
    assert_eq!((directory, file), (1, 5));
    told(&inotify);
    let empty = init(CreateFlags::empty()).expect("inotify_init");
    Box::new(move || {
        let mut wrong = Vec::new();
        wrong.extend(same("events", told(&inotify), Vec::new()));
        let made = std::fs::write("/tmp/watched/a", "")
            .and_then(|()| std::fs::remove_file("/tmp/watched/a"));
        wrong.extend(made.err().map(|error| format!("write: {error}")));
        let written = std::fs::write("/tmp/file", "y");
        wrong.extend(written.err().map(|error| format!("write: {error}")));
        let found = told(&inotify);
        let wanted = vec![(1, 0x100), (1, 0x200), (5, 2), (5, 8)];
        wrong.extend(same("what it tells", found, wanted));
        wrong.extend(same("an empty one", empty.as_raw_fd() >= 0, true));
        let here = std::env::current_dir().unwrap_or_default();
        wrong.extend(same("directory", here, "/".into()));
        wrong
    })
}

/// Of a child, of one that has ended, of itself; the first is shared with the child.
pub(crate) fn processes() -> Verify {
    let open = |pid: i32| {
        let pid = Pid::from_raw(pid).expect("a pid");
        pidfd_open(pid, PidfdFlags::empty()).expect("pidfd_open")
    };
    let own = open(std::process::id() as i32);
    let wait = || {
        loop {
            nix::unistd::pause();
        }
    };
    let child = sys::child(wait);
    let ended = sys::child(|| 3);
    let fds = [own, open(child), open(ended)];
    let other = sys::child(wait);
    let shown = |pid: u32, fd: &OwnedFd| {
        let path = format!("/proc/{pid}/fdinfo/{}", fd.as_raw_fd());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pid:"));
        line.unwrap_or_default().trim().parse::<i32>().unwrap_or(-9)
    };
    Box::new(move || {
        let mut wrong = Vec::new();
        let all = [std::process::id() as i32, child, ended];
        for pid in [std::process::id(), other as u32] {
            let found = fds.each_ref().map(|fd| shown(pid, fd));
            wrong.extend(same("processes", found, all));
        }
        wrong
    })
}

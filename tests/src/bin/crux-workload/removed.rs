//! Files and directories that have no name any more.
//!
//! Kind: effect.

use super::{Verify, same, sys};
use nix::libc;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::process::{Command, Stdio};

const LENGTH: usize = 10_001;

/// Two descriptions and two mappings of one file, one of another that is a hard link, one that never had a name.
pub(crate) fn files() -> Verify {
    let content: Vec<u8> = (0..LENGTH).map(|at| at as u8).collect();
    std::fs::create_dir("/tmp/gone").expect("mkdir");
    std::fs::write("/tmp/gone/a", &content).expect("write");
    let mut first = open("/tmp/gone/a");
    let mut second = File::open("/tmp/gone/a").expect("open");
    std::fs::set_permissions("/tmp/gone/a", Permissions::from_mode(0o640)).expect("chmod");
    std::os::unix::fs::chown("/tmp/gone/a", Some(7), Some(9)).expect("chown");
    rustix::fs::fsetxattr(&first, "user.a", b"b", rustix::fs::XattrFlags::empty()).ok();
    let shared = libc::MAP_SHARED;
    let both = libc::PROT_READ | libc::PROT_WRITE;
    let writable = sys::map(LENGTH, both, shared, first.as_raw_fd());
    let private = sys::map(LENGTH, both, libc::MAP_PRIVATE, second.as_raw_fd());
    sys::write(private, 77);
    std::fs::remove_dir_all("/tmp/gone").expect("rm");
    first.seek(SeekFrom::Start(17)).expect("lseek");
    let before = first.metadata().expect("fstat");
    std::fs::write("/tmp/linked", b"linked").expect("write");
    let linked = open("/tmp/linked");
    std::fs::hard_link("/tmp/linked", "/tmp/link").expect("link");
    std::fs::remove_file("/tmp/linked").expect("rm");
    let mut nameless = OpenOptions::new();
    let nameless = nameless.read(true).write(true);
    let mut nameless = nameless
        .custom_flags(libc::O_TMPFILE)
        .open("/tmp")
        .expect("O_TMPFILE");
    nameless.write_all(b"nameless").expect("write");
    Box::new(move || {
        let mut wrong = Vec::new();
        let after = first.metadata().expect("fstat");
        let seen = |it: &std::fs::Metadata| {
            let owner = (it.uid(), it.gid(), it.mode(), it.nlink());
            (owner, it.size(), it.mtime(), it.mtime_nsec())
        };
        wrong.extend(same("the file", seen(&after), seen(&before)));
        let mut found = vec![0; LENGTH];
        let read = first.read_exact_at(&mut found, 0);
        wrong.extend(same("its data", read.is_ok() && found == content, true));
        let position = first.stream_position().unwrap_or(0);
        wrong.extend(same("a position", position, 17));
        let end = second.seek(SeekFrom::End(0)).unwrap_or(0);
        wrong.extend(same("the other description", end, LENGTH as u64));
        wrong.extend(same("which only reads", second.write(b"x").is_err(), true));
        wrong.extend(same("the private mapping", sys::read(private), 77));
        // What is written through one is seen by all.
        let old = sys::read(writable + 4096);
        sys::write(writable + 4096, 99);
        let mut word = [0; 8];
        let read = second.read_exact_at(&mut word, 4096);
        wrong.extend(read.err().map(|error| format!("pread: {error}")));
        wrong.extend(same("the shared mapping", u64::from_le_bytes(word), 99));
        wrong.extend(same("the private one too", sys::read(private + 4096), 99));
        sys::write(writable + 4096, old);
        // A write to memory changes the time when it likes.
        let times = rustix::fs::Timestamps {
            last_access: time(before.atime(), before.atime_nsec()),
            last_modification: time(before.mtime(), before.mtime_nsec()),
        };
        rustix::fs::futimens(&first, &times).expect("futimens");
        let same_file = std::fs::metadata("/tmp/link").map(|it| it.ino()).ok();
        let linked = linked.metadata().map(|it| it.ino()).ok();
        wrong.extend(same("a hard link", linked, same_file));
        let mut text = String::new();
        nameless.seek(SeekFrom::Start(0)).expect("lseek");
        let read = nameless.read_to_string(&mut text);
        wrong.extend(read.err().map(|error| format!("read: {error}")));
        wrong.extend(same("one without a name", &text[..], "nameless"));
        wrong
    })
}

fn time(tv_sec: i64, tv_nsec: i64) -> rustix::fs::Timespec {
    rustix::fs::Timespec { tv_sec, tv_nsec }
}

fn open(path: &str) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).open(path).expect("open")
}

/// A working directory and an open one, whose names are others' now.
pub(crate) fn directories() -> Verify {
    for name in ["/tmp/cwd", "/tmp/open"] {
        std::fs::create_dir(name).expect("mkdir");
    }
    std::fs::set_permissions("/tmp/cwd", Permissions::from_mode(0o1711)).expect("chmod");
    std::env::set_current_dir("/tmp/cwd").expect("chdir");
    let opened = File::open("/tmp/open").expect("open");
    for name in ["/tmp/cwd", "/tmp/open"] {
        std::fs::remove_dir(name).expect("rmdir");
        std::fs::create_dir(name).expect("mkdir");
    }
    Box::new(move || {
        let mut wrong = Vec::new();
        let here = std::fs::metadata(".").map(|it| (it.nlink(), it.mode() & 0o7777));
        wrong.extend(same("the working directory", here.ok(), Some((0, 0o1711))));
        let made = File::create("x").is_err();
        wrong.extend(same("nothing can be made in it", made, true));
        let links = opened.metadata().map(|it| (it.nlink(), it.is_dir()));
        wrong.extend(same("an open directory", links.ok(), Some((0, true))));
        let left = std::fs::read_dir("/tmp").map(|it| it.count());
        wrong.extend(same("what is left", left.ok(), Some(2)));
        wrong
    })
}

/// A program that was removed while it runs.
#[expect(
    clippy::zombie_processes,
    reason = "it ends with its input, as this does"
)]
pub(crate) fn program() -> Verify {
    std::fs::copy("/bin/crux-workload", "/tmp/program").expect("cp");
    let mut child = Command::new("/tmp/program");
    let child = child
        .arg("nothing")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = child.spawn().expect("exec");
    std::fs::remove_file("/tmp/program").expect("rm");
    let mut input = child.stdin.take().expect("a pipe");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut hear = move || {
        let mut line = String::new();
        let read = output.read_line(&mut line);
        read.map(|_| line)
    };
    let ready = hear().expect("read");
    assert_eq!(ready, "ready\n");
    Box::new(move || {
        let mut wrong = Vec::new();
        let said = input.write_all(b"look\n").and_then(|()| hear());
        wrong.extend(same("what it says", said.ok().as_deref(), Some("ok\n")));
        let exe = std::fs::metadata(format!("/proc/{}/exe", child.id()));
        wrong.extend(same("links of it", exe.map(|it| it.nlink()).ok(), Some(0)));
        wrong
    })
}

//! Locks on files: of processes, of descriptions, of whole files; and somebody who waits for one.
//!
//! Kind: effect. What there is is read in /proc/locks: whoever opened and closed a file to look would lose what he has on it.

use super::{Verify, same, sys};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

const WHOLE: &str = "FLOCK ADVISORY WRITE somebody 0 EOF";

/// Until whoever waits has come to wait.
const PATIENCE: Duration = Duration::from_secs(5);

fn open(name: &str) -> File {
    let mut options = File::options();
    let options = options.read(true).write(true).create(true).truncate(false);
    options.open(format!("/tmp/{name}")).expect("open")
}

/// Bytes from `start` on; 0 of them: for ever.
fn range(kind: i32, start: i64, length: i64) -> libc::flock {
    libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: start,
        l_len: length,
        l_pid: 0,
    }
}

fn lock(file: &impl AsFd, kind: i32, start: i64, length: i64) {
    fcntl(file, FcntlArg::F_SETLK(&range(kind, start, length))).expect("F_SETLK");
}

fn lock_description(file: &impl AsFd, kind: i32, start: i64, length: i64) {
    fcntl(file, FcntlArg::F_OFD_SETLK(&range(kind, start, length))).expect("F_OFD_SETLK");
}

/// What /proc/locks says of a file, in the order of its words. That of a description names whoever took it.
fn locks(file: &File) -> Vec<String> {
    let inode = file.metadata().expect("fstat").ino().to_string();
    let text = fs::read_to_string("/proc/locks").unwrap_or_default();
    let one = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().skip(1).collect();
        let rest = words.iter().rposition(|word| word.contains(':'))?;
        if words[rest].rsplit(':').next() != Some(&inode) {
            return None;
        }
        let holder = match words.contains(&"POSIX") {
            true => words[rest - 1],
            false => "somebody",
        };
        let said = [&words[..rest - 1], &[holder], &words[rest + 1..]].concat();
        Some(said.join(" "))
    };
    let mut all: Vec<String> = text.lines().filter_map(one).collect();
    all.sort();
    all
}

fn settled(file: &File, wanted: &[String]) -> Vec<String> {
    let start = Instant::now();
    loop {
        let found = locks(file);
        if found == wanted || start.elapsed() > PATIENCE {
            return found;
        }
        std::thread::yield_now();
    }
}

pub(crate) fn kept() -> Verify {
    let mut files = Vec::new();
    // Of processes: two have the same range to read, each has one to write, and a third waits for that of the first.
    let ranges = open("ranges");
    lock(&ranges, libc::F_WRLCK, 0, 10);
    lock(&ranges, libc::F_RDLCK, 20, 10);
    let copy = ranges.try_clone().expect("dup");
    let own = sys::child(|| {
        lock(&ranges, libc::F_RDLCK, 20, 10);
        lock(&ranges, libc::F_WRLCK, 40, 0);
        loop {
            nix::unistd::pause();
        }
    });
    let waiter = sys::child(|| {
        let wanted = range(libc::F_WRLCK, 5, 1);
        let _ = fcntl(&ranges, FcntlArg::F_SETLKW(&wanted));
        0
    });
    let me = std::process::id();
    let posix =
        |access: &str, pid: String, range: &str| format!("POSIX ADVISORY {access} {pid} {range}");
    let mut wanted = vec![
        posix("WRITE", me.to_string(), "0 9"),
        posix("READ", me.to_string(), "20 29"),
        posix("READ", own.to_string(), "20 29"),
        posix("WRITE", own.to_string(), "40 EOF"),
        format!("-> POSIX ADVISORY WRITE {waiter} 5 5"),
    ];
    wanted.sort();
    files.push((ranges, wanted));
    // Of descriptions: two of one file, the second by a descriptor that its child has too.
    let (first, second) = (open("descriptions"), open("descriptions"));
    lock_description(&first, libc::F_WRLCK, 5, 5);
    lock_description(&second, libc::F_RDLCK, 100, 0);
    let mut wanted = vec![
        "OFDLCK ADVISORY READ somebody 100 EOF".to_owned(),
        "OFDLCK ADVISORY WRITE somebody 5 9".to_owned(),
    ];
    wanted.sort();
    files.push((first, wanted));
    // Of whole files, one that a child has.
    let file = open("whole");
    flock(&file, FlockOperation::LockExclusive).expect("flock");
    files.push((file, vec![WHOLE.to_owned()]));
    let shared = open("shared");
    sys::child(|| {
        let file = open("shared");
        flock(&file, FlockOperation::LockShared).expect("flock");
        loop {
            nix::unistd::pause();
        }
    });
    files.push((
        shared,
        vec!["FLOCK ADVISORY READ somebody 0 EOF".to_owned()],
    ));
    Box::new(move || {
        let _kept = (&copy, &second);
        let each = files
            .iter()
            .filter_map(|(file, wanted)| same("locks", settled(file, wanted), wanted.clone()));
        each.collect()
    })
}

/// Of a file that has no name any more.
pub(crate) fn removed() -> Verify {
    let file = open("removed");
    flock(&file, FlockOperation::LockExclusive).expect("flock");
    fs::remove_file("/tmp/removed").expect("unlink");
    let wanted = [WHOLE.to_owned()];
    Box::new(move || {
        let found = settled(&file, &wanted);
        same("locks", &found[..], &wanted).into_iter().collect()
    })
}

/// A lease: who opens the file to write is held up until it is given back.
pub(crate) fn lease() -> Verify {
    drop(open("leased"));
    let file = File::open("/tmp/leased").expect("open");
    assert!(sys::lease(&file), "F_SETLEASE");
    Box::new(move || {
        let wanted = vec!["LEASE ACTIVE READ somebody 0 EOF".to_owned()];
        same("leases", locks(&file), wanted).into_iter().collect()
    })
}

//! As many of something as asked for, by the word after the scenario's name: what the benchmarks measure.
//!
//! Kind: effect.

use super::{Verify, same, sys};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Seek as _, SeekFrom};

const MEBIBYTE: usize = 1 << 20;

fn amount() -> usize {
    let word = std::env::args().nth(2).unwrap_or_default();
    word.parse().unwrap_or(3)
}

/// So many processes, this one included; all others are its children.
pub(crate) fn processes() -> Verify {
    let wait = || loop {
        nix::unistd::pause();
    };
    let children: Vec<i32> = (1..amount()).map(|_| sys::child(wait)).collect();
    Box::new(move || {
        let lives = |pid: &&i32| kill(Pid::from_raw(**pid), None).is_ok();
        let alive = children.iter().filter(lives).count();
        same("children", alive, children.len())
            .into_iter()
            .collect()
    })
}

/// So many threads, this one included.
pub(crate) fn threads() -> Verify {
    let wait = || loop {
        std::thread::park();
    };
    for _ in 1..amount() {
        std::thread::spawn(wait);
    }
    let count = || std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    Box::new(move || {
        let threads = same("threads", count(), amount());
        threads.into_iter().collect()
    })
}

/// So many open files, each at an offset of its own. What is open are a hundred names, as what they hold is not to count.
pub(crate) fn files() -> Verify {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default();
    let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    let open = |at: usize| {
        let name = format!("/tmp/file-{}", at % 100);
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(name)?;
        file.seek(SeekFrom::Start(at as u64))?;
        Ok(file)
    };
    let files: std::io::Result<Vec<File>> = (0..amount()).map(open).collect();
    Box::new(move || match &files {
        Err(error) => vec![format!("as many files as asked for: {error}")],
        Ok(files) => {
            let files = files.iter().enumerate();
            let kept = |(at, file): &(usize, &File)| {
                let mut file = *file;
                file.stream_position()
                    .is_ok_and(|position| position == *at as u64)
            };
            let lost = files.filter(|it| !kept(it)).count();
            same("files that are elsewhere", lost, 0)
                .into_iter()
                .collect()
        }
    })
}

/// So many mebibytes of memory in one mapping, none of which is zero. All of it is looked at from the second time on: the
/// first answer is to say that it runs.
pub(crate) fn memory() -> Verify {
    let length = amount() * MEBIBYTE;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let start = sys::map(length, protection, flags, -1);
    let words = move || (start..start + length).step_by(8);
    let value = |at: usize| (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    words().for_each(|at| sys::write(at, value(at)));
    let mut looks = 0;
    Box::new(move || {
        looks += 1;
        match looks {
            1 => Vec::new(),
            _ => {
                let wrong = words().filter(|at| sys::read(*at) != value(*at)).count();
                same("wrong words", wrong, 0).into_iter().collect()
            }
        }
    })
}

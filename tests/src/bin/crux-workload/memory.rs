//! Memory: private, shared, and copied on write.
//!
//! Kind: effect.

use super::{Verify, same, sys};
use nix::libc::{
    MADV_DONTDUMP, MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ, PROT_WRITE,
};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;

const PAGE: usize = 4096;
const RW: i32 = PROT_READ | PROT_WRITE;
const ANONYMOUS: i32 = MAP_PRIVATE | MAP_ANONYMOUS;

/// A word for each page, from a seed.
fn fill(at: usize, pages: usize, seed: u64) {
    for page in 0..pages {
        sys::write(at + page * PAGE + 8, seed.wrapping_mul(page as u64 + 1));
    }
}

fn check(what: &str, at: usize, pages: usize, seed: u64) -> Option<String> {
    (0..pages).find_map(|page| {
        let found = sys::read(at + page * PAGE + 8);
        let place = format!("{what}, page {page}");
        same(&place, found, seed.wrapping_mul(page as u64 + 1))
    })
}

/// Pages with and without contents, behind every protection.
pub(crate) fn private() -> Verify {
    let written = sys::map(64 * PAGE, RW, ANONYMOUS, -1);
    fill(written, 64, 0x1234_5678_9abc);
    let sparse = sys::map(1024 * PAGE, RW, ANONYMOUS, -1);
    sys::write(sparse + 500 * PAGE, 7);
    let hidden = sys::map(4 * PAGE, RW, ANONYMOUS, -1);
    fill(hidden, 4, 99);
    sys::protect(hidden, 4 * PAGE, PROT_NONE);
    let fixed = sys::map(4 * PAGE, RW, ANONYMOUS, -1);
    fill(fixed, 4, 98);
    sys::protect(fixed, 4 * PAGE, PROT_READ);
    sys::advise(written, 64 * PAGE, MADV_DONTDUMP);
    let program = std::fs::File::open("/proc/self/exe").expect("the program");
    let changed = sys::map(PAGE, RW, MAP_PRIVATE, program.as_raw_fd());
    let magic = sys::read(changed);
    sys::write(changed + 8, 97);
    let heap: Vec<u64> = (0..100_000).collect();
    let maps = maps();
    Box::new(move || {
        let mut wrong: Vec<String> = Vec::new();
        wrong.extend(check("written", written, 64, 0x1234_5678_9abc));
        wrong.extend(same("sparse", sys::read(sparse + 500 * PAGE), 7));
        wrong.extend(same("sparse", sys::read(sparse + 501 * PAGE), 0));
        sys::protect(hidden, 4 * PAGE, PROT_READ);
        wrong.extend(check("hidden", hidden, 4, 99));
        sys::protect(hidden, 4 * PAGE, PROT_NONE);
        wrong.extend(check("fixed", fixed, 4, 98));
        wrong.extend(same("a file's", sys::read(changed), magic));
        wrong.extend(same("changed", sys::read(changed + 8), 97));
        wrong.extend(same("heap", heap.iter().sum::<u64>(), 4_999_950_000));
        wrong.extend(same("maps", self::maps(), maps.clone()));
        wrong
    })
}

/// The mappings, but for what a line that is read or written may make grow.
fn maps() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let fixed = |line: &&str| !line.contains("[heap]") && !line.contains("[stack]");
    // The kernel names a device and inode that are others after a restore elsewhere.
    let lines = text.lines().filter(fixed);
    lines
        .map(|line| {
            line.split_whitespace()
                .take(2)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

/// Memory that a child shares, and a memfd.
pub(crate) fn shared() -> Verify {
    let common = sys::map(16 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1);
    fill(common, 16, 5);
    let memfd = memfd_create(c"kept", MFdFlags::MFD_CLOEXEC).expect("memfd_create");
    let mut memfd = std::fs::File::from(memfd);
    memfd.write_all(&[7; 3 * PAGE]).expect("write");
    let seen = sys::map(3 * PAGE, RW, MAP_SHARED, memfd.as_raw_fd());
    // The child adds what it is given to what it has.
    let child = sys::child(move || {
        loop {
            let given = sys::read(common);
            if given != 0 {
                sys::write(common + 8 + PAGE, given * 2);
                sys::write(common, 0);
            }
            std::thread::yield_now();
        }
    });
    let mut round = 0;
    Box::new(move || {
        round += 1;
        let mut wrong = Vec::new();
        sys::write(common, round);
        let answered = (0..10_000_000).any(|_| {
            std::thread::yield_now();
            sys::read(common) == 0
        });
        wrong.extend(same("the child answers", answered, true));
        wrong.extend(same("its answer", sys::read(common + 8 + PAGE), round * 2));
        let last = sys::read(common + 15 * PAGE + 8);
        wrong.extend(same("the last page", last, 5 * 16));
        sys::write(seen + 8, round);
        let mut bytes = [0; 8];
        let read = memfd.seek(std::io::SeekFrom::Start(8));
        let read = read.and_then(|_| memfd.read_exact(&mut bytes));
        wrong.extend(read.err().map(|error| format!("the memfd: {error}")));
        wrong.extend(same("the memfd", u64::from_ne_bytes(bytes), round));
        let alive = nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), None).is_ok();
        wrong.extend(same("the child lives", alive, true));
        wrong
    })
}

/// A child that has changed some of what it had from its parent.
pub(crate) fn copied() -> Verify {
    let pages = sys::map(32 * PAGE, RW, ANONYMOUS, -1);
    fill(pages, 32, 11);
    let answer = sys::map(PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1);
    sys::child(move || {
        fill(pages + 8 * PAGE, 8, 12);
        sys::advise(pages + 24 * PAGE, 8 * PAGE, nix::libc::MADV_DONTNEED);
        sys::write(answer + 16, 1);
        loop {
            if sys::read(answer) != 0 {
                let first = check("the child's first", pages, 8, 11);
                let changed = check("what it changed", pages + 8 * PAGE, 8, 12);
                let rest = (16..24)
                    .all(|page| sys::read(pages + page * PAGE + 8) == 11 * (page as u64 + 1));
                let dropped = (24..32).all(|page| sys::read(pages + page * PAGE + 8) == 0);
                let good = first.is_none() && changed.is_none() && rest && dropped;
                sys::write(answer + 8, if good { 1 } else { 2 });
                sys::write(answer, 0);
            }
            std::thread::yield_now();
        }
    });
    while sys::read(answer + 16) == 0 {
        std::thread::yield_now();
    }
    Box::new(move || {
        let mut wrong = Vec::new();
        wrong.extend(check("the parent's", pages, 32, 11));
        sys::write(answer + 8, 0);
        sys::write(answer, 1);
        let answered = (0..10_000_000).any(|_| {
            std::thread::yield_now();
            sys::read(answer) == 0
        });
        wrong.extend(same("the child answers", answered, true));
        wrong.extend(same("the child's memory", sys::read(answer + 8), 1));
        wrong
    })
}

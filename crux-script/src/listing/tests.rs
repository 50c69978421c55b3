//! Scripts in words.
//!
//! Kind: tests.

use crate::{Arena, Block, Call, Errno, Expect, LineId, Purpose, Tag, arguments};

fn sample() -> Arena {
    let mut arena = Arena::new();
    let task = arena.script("task 4");
    let child = arena.script("task 5");
    arena.name_descriptor(1000, "pages.img");
    let fixed = libc::MAP_FIXED_NOREPLACE;
    let anonymous = fixed | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let null = arena.block(Block::string(b"/dev/null").unwrap());
    let odd = arena.block(Block::string(b"a \"b\"\n\xff").unwrap());
    let vectors = arena.block(Block::words(&[
        0x7f00_0000_0000,
        0x3000,
        0x7f00_0001_0000,
        0x9000,
    ]));
    let action = arena.block(Block::words(&[0x40_1000, 0x1400_0000, 0x40_2000, 0x4000]));
    let ids = arena.block(Block::bytes([5_i32, 4711].map(i32::to_le_bytes).concat()));
    let args = Block::words(&[libc::CLONE_FILES as u64, 0, 0, 0, 17, 0, 0, 0]);
    let args = arena.block(args.then_pointer(ids.at(0)).then(&[2, 0]));
    let name = arena.block(Block::bytes(*b"worker\0\0\0\0\0\0\0\0\0\0"));
    let fds = arena.block(Block::room(8));
    let timer = arena.block(Block::words(&[0, 0, 5, 1000]));
    let calls = [
        Call::new(libc::SYS_munmap)
            .with(arguments![0x10000, 0x7fff_0000_u64])
            .exactly(0),
        Call::new(libc::SYS_mmap).with(arguments![
            0x7f00_0000_0000_u64,
            0xc000,
            3,
            libc::MAP_PRIVATE | fixed,
            1000,
            0x3000
        ]),
        Call::new(libc::SYS_mmap).with(arguments![0x7f00_0010_0000_u64, 4096, 5, anonymous, -1, 0]),
        Call::new(libc::SYS_preadv)
            .with(arguments![1000, vectors, 2, 0x3000])
            .exactly(0xc000),
        Call::new(libc::SYS_mprotect).with(arguments![0x7f00_0000_0000_u64, 4096, 1]),
        Call::new(libc::SYS_mremap).with(arguments![0x1000, 0x2000, 0x2000, 3, 0x8000]),
        Call::new(libc::SYS_madvise).with(arguments![0x20_0000, 0x20_0000, libc::MADV_HUGEPAGE]),
    ];
    for call in calls {
        arena.call(task, call);
    }
    let open = Call::new(libc::SYS_openat).with(arguments![
        libc::AT_FDCWD,
        null,
        libc::O_RDWR | libc::O_CLOEXEC
    ]);
    let fd = arena.call(task, open.expect(Expect::Success));
    let calls = [
        Call::new(libc::SYS_openat).with(arguments![fd, odd, libc::O_CREAT, 0o640]),
        Call::new(libc::SYS_dup3)
            .with(arguments![fd, 5, 0])
            .exactly(5),
        Call::new(libc::SYS_close).with(arguments![fd]).exactly(0),
        Call::new(libc::SYS_rt_sigaction).with(arguments![15, action, 0, 8]),
        Call::new(libc::SYS_clone3)
            .with(arguments![args, 88])
            .child(child),
        Call::new(libc::SYS_prctl).with(arguments![libc::PR_SET_NAME, name]),
        Call::new(libc::SYS_pipe2).with(arguments![fds, libc::O_NONBLOCK]),
        Call::new(libc::SYS_setitimer).with(arguments![0, timer]),
        Call::new(libc::SYS_arch_prctl).with(arguments![0x1002, 0x7f00_0000_1740_u64]),
        Call::new(libc::SYS_setsid).expect(Expect::SuccessOr(Errno(1))),
        Call::new(libc::SYS_futex)
            .with(arguments![fds, 0, 0])
            .expect(Expect::OneOf(0, Errno(11))),
        Call::new(libc::SYS_execve).with(arguments![null]),
    ];
    for call in calls {
        arena.call(task, call);
    }
    arena.stop(task, Tag(2));
    arena.call(child, Call::new(libc::SYS_fchdir).argument(0, fd));
    arena.call(child, Call::new(libc::SYS_exit).expect(Expect::Any));
    arena
}

#[test]
fn scripts_are_listed_in_words() {
    insta::assert_snapshot!(sample().listing(Purpose::Restore).to_string(), @r#"
    task 4 line 1: munmap 0x10000-0x80000000 524272 pages
    task 4 line 2: mmap 0x7f0000000000-0x7f000000c000 rw-p 12 pages from pages.img+0x3000
    task 4 line 3: mmap 0x7f0000100000-0x7f0000101000 r-xp 1 page anonymous MAP_NORESERVE
    task 4 line 4: preadv 0x7f0000000000-0x7f0000003000, 0x7f0000010000-0x7f0000019000 12 pages from pages.img+0x3000 = 0xc000
    task 4 line 5: mprotect 0x7f0000000000-0x7f0000001000 1 page r--
    task 4 line 6: mremap 0x1000-0x3000 2 pages to 0x8000-0xa000
    task 4 line 7: madvise 0x200000-0x400000 512 pages MADV_HUGEPAGE
    task 4 line 8: openat "/dev/null" O_RDWR|O_CLOEXEC
    task 4 line 9: openat "a \"b\"\n\xff" O_CREAT mode 0o640 in (result of line 8)
    task 4 line 10: dup3 (result of line 8) to 5 = 5
    task 4 line 11: close (result of line 8)
    task 4 line 12: rt_sigaction SIGTERM 0x401000 SA_RESTORER|SA_RESTART mask 0x4000
    task 4 line 13: clone3 task 5 as 5 in 4711 CLONE_FILES
    task 4 line 14: prctl(PR_SET_NAME, value="worker")
    task 4 line 15: pipe2(fds=block 7, flags=O_NONBLOCK)
    task 4 line 16: setitimer(which=ITIMER_REAL, new={0, 0, 5, 0x3e8}, old=0)
    task 4 line 17: arch_prctl(ARCH_SET_FS, address=0x7f0000001740)
    task 4 line 18: setsid(), or EPERM
    task 4 line 19: futex(word=block 7, FUTEX_WAIT, value=0, timeout=NULL) = 0, or EAGAIN
    task 4 line 20: call 59(block 0+0x0, 0, 0, 0, 0, 0)
    task 4 line 21: stop 2
    task 5 line 1: fchdir(fd=(result of task 4 line 8))
    task 5 line 2: exit(status=0), whatever it gives
    "#);
}

#[test]
fn a_failure_says_what_was_to_be_and_what_was() {
    let arena = sample();
    let script = crate::ScriptId(0);
    let say = |index: u32, result: u64| {
        let line = LineId { script, index };
        crate::Failure::new(&arena, Purpose::Restore, line, result).to_string()
    };
    insta::assert_snapshot!([
        say(1, Errno(17).result()),
        say(3, 0x4000),
        say(4, crate::NOT_RUN),
        say(17, 5),
    ].join("\n"), @r#"
    task 4 line 2: mmap 0x7f0000000000-0x7f000000c000 rw-p 12 pages from pages.img+0x3000: EEXIST (File exists)
    task 4 line 4: preadv 0x7f0000000000-0x7f0000003000, 0x7f0000010000-0x7f0000019000 12 pages from pages.img+0x3000 = 0xc000: gave 0x4000 instead of 0xc000
    task 4 line 5: mprotect 0x7f0000000000-0x7f0000001000 1 page r--: was not run
    task 4 line 18: setsid(), or EPERM: gave 0x5
    "#);
}

//! Tests of the checker, and of what is linked after it.
//!
//! Kind: tests.

use crate::{
    Arena, Argument, Block, BlockId, Call, Checked, DataRef, Errno, Expect, Line, LineId, Pointer,
    Purpose, Refusal, ScriptId, Tag, arguments,
};
use libc::c_long;
use proptest::prelude::*;

const BASE: u64 = 0x7_0000_0000;
const FIXED: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;

fn restore(arena: Arena) -> Result<Checked, Vec<Refusal>> {
    arena.check(Purpose::Restore, BASE)
}

/// What is said of one line, made by a function that may add blocks.
fn refused(line: impl FnOnce(&mut Arena) -> Call) -> String {
    let mut arena = Arena::new();
    let script = arena.script("task 4");
    let call = line(&mut arena);
    arena.call(script, call);
    arena.stop(script, Tag(0));
    match restore(arena) {
        Ok(_) => "fine".into(),
        Err(refusals) => refusals[0].to_string(),
    }
}

fn plain<const N: usize>(number: c_long, arguments: [Argument; N]) -> String {
    refused(|_| Call::new(number).with(arguments))
}

#[test]
fn calls_in_no_list_are_refused() {
    let all = "task 4 line 1: call 59: is not in the list of calls";
    assert_eq!(plain(libc::SYS_execve, arguments![]), all);
    assert_eq!(
        plain(libc::SYS_prctl, arguments![libc::PR_SET_SECCOMP, 1]),
        "task 4 line 1: prctl: is in the list of calls, but not with these options"
    );
}

#[test]
fn the_scripts_own_memory_is_out_of_reach() {
    let over = "is over the scripts";
    let map = |at: u64, len: u64| plain(libc::SYS_mmap, arguments![at, len, 3, FIXED, -1, 0]);
    assert_eq!(map(BASE - 4096, 4096), "fine");
    for (at, len) in [
        (BASE, 4096),
        (BASE + 4096, 1),
        (BASE - 4096, 4097),
        (4096, BASE),
    ] {
        assert!(map(at, len).ends_with(over), "{at:#x} {len:#x}");
        let unmap = plain(libc::SYS_munmap, arguments![at, len]);
        assert!(unmap.ends_with(over), "{unmap}");
        let protect = plain(libc::SYS_mprotect, arguments![at, len, 7]);
        assert!(protect.ends_with(over), "{protect}");
    }
    let to = plain(
        libc::SYS_mremap,
        arguments![4096_u64, 4096_u64, 4096_u64, 3, BASE],
    );
    assert!(to.contains("new: ") && to.ends_with(over), "{to}");
    assert!(map(u64::MAX - 4095, 8192).ends_with("is no memory of a task"));
    let read = plain(libc::SYS_pread64, arguments![3, BASE + 4096, 8, 0]);
    assert!(read.contains("buffer: ") && read.ends_with(over), "{read}");
    let vectors = refused(|arena| {
        let vectors = arena.block(Block::words(&[0x1000, 4096, BASE + 4096, 8]));
        Call::new(libc::SYS_preadv).with(arguments![3, vectors, 2, 0])
    });
    assert!(
        vectors.contains("iovec 1: ") && vectors.ends_with(over),
        "{vectors}"
    );
}

#[test]
fn an_address_is_chosen_by_the_script_and_not_by_the_kernel() {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    assert_eq!(
        plain(libc::SYS_mmap, arguments![0, 4096, 3, flags, -1, 0]),
        "task 4 line 1: mmap: flags: neither MAP_FIXED nor MAP_FIXED_NOREPLACE"
    );
}

#[test]
fn data_have_to_be_there() {
    let openat = |block: Block, offset: u32| {
        refused(|arena| {
            let path = arena.block(block).at(offset);
            Call::new(libc::SYS_openat).with(arguments![libc::AT_FDCWD, path, 0])
        })
    };
    let text = Block::string(b"/x").unwrap();
    assert_eq!(openat(text.clone(), 0), "fine");
    assert!(openat(text, 3).ends_with("path: has no NUL within 4096 bytes"));
    assert!(openat(Block::bytes(*b"/x"), 0).ends_with("path: has no NUL within 4096 bytes"));
    let short = refused(|arena| {
        let action = arena.block(Block::room(31));
        Call::new(libc::SYS_rt_sigaction).with(arguments![15, action, 0, 8])
    });
    assert_eq!(
        short,
        "task 4 line 1: rt_sigaction: new: 31 bytes are there, not 32"
    );
    let absent = plain(libc::SYS_openat, arguments![libc::AT_FDCWD, BlockId(9), 0]);
    assert!(
        absent.ends_with("path: has no NUL within 4096 bytes"),
        "{absent}"
    );
    let absolute = plain(libc::SYS_pipe2, arguments![0x1000, 0]);
    assert!(absolute.ends_with("fds: points to no block"), "{absolute}");
}

#[test]
fn results_come_from_lines_that_have_run_and_cannot_have_failed() {
    let mut arena = Arena::new();
    let (first, second) = (arena.script("task 1"), arena.script("task 2"));
    let open = Call::new(libc::SYS_epoll_create1);
    let good = arena.call(first, open.clone());
    let any = arena.call(first, open.expect(Expect::Any));
    let close = |line: LineId| Call::new(libc::SYS_close).argument(0, line);
    arena.call(first, close(good));
    arena.call(second, close(good));
    let stop = arena.stop(second, Tag(0));
    arena.stop(first, Tag(0));
    assert!(restore(arena.clone()).is_ok());
    let this = LineId {
        script: first,
        index: 4,
    };
    let absent = LineId {
        script: second,
        index: 77,
    };
    for (line, reason) in [
        (any, "uses the result of line 2, which may fail"),
        (this, "uses the result of line 5, which comes later"),
        (stop, "uses the result of what is no call"),
        (absent, "uses the result of what is no call"),
    ] {
        let mut arena = arena.clone();
        arena.call(first, close(line));
        arena.stop(first, Tag(0));
        let refusals = restore(arena).unwrap_err();
        assert_eq!(
            refusals[0].to_string(),
            format!("task 1 line 5: close: {reason}")
        );
    }
}

#[test]
fn children_have_scripts_and_no_stacks() {
    let clone = |change: fn(&mut Block), child: Option<ScriptId>| {
        refused(|arena| {
            let mut block = Block::words(&[0; 11]);
            change(&mut block);
            let args = arena.block(block);
            let call = Call::new(libc::SYS_clone3).with(arguments![args, 88]);
            child.map_or(call.clone(), |child| call.child(child))
        })
    };
    let own = Some(ScriptId(0));
    assert_eq!(clone(|_| (), own), "fine");
    assert!(clone(|_| (), None).ends_with("the child has no script"));
    assert!(clone(|_| (), Some(ScriptId(9))).ends_with("there is no script 9"));
    assert!(clone(|block| block.bytes[41] = 1, own).ends_with("stack: a script has none"));
    // CLONE_VFORK: the parent would wait for an exec that does not come.
    assert!(clone(|block| block.bytes[1] = 0x40, own).ends_with("flags: 0x4000 is not allowed"));
    // CLONE_UNTRACED
    assert!(clone(|block| block.bytes[2] = 0x80, own).ends_with("flags: 0x800000 is not allowed"));
    assert!(clone(|block| block.bytes[72] = 1, own).ends_with("set_tid: points to no block"));
    let arena = plain(libc::SYS_getpid, arguments![]);
    assert_eq!(arena, "fine");
    assert!(
        refused(|_| Call::new(libc::SYS_getpid).child(ScriptId(0))).ends_with("makes no child")
    );
}

#[test]
fn stops_stay_possible() {
    let mask = |how: i32, signal: i32| {
        refused(|arena| {
            let set = arena.block(Block::words(&[1 << (signal - 1)]));
            Call::new(libc::SYS_rt_sigprocmask).with(arguments![how, set, 0, 8])
        })
    };
    assert_eq!(mask(libc::SIG_SETMASK, libc::SIGINT), "fine");
    assert_eq!(mask(libc::SIG_UNBLOCK, libc::SIGTRAP), "fine");
    for how in [libc::SIG_SETMASK, libc::SIG_BLOCK] {
        assert!(mask(how, libc::SIGTRAP).ends_with("blocks SIGTRAP, of which stops are made"));
    }
}

#[test]
fn signals_go_to_one_process() {
    for pid in [0_i64, -1, -5] {
        let refusal = plain(libc::SYS_kill, arguments![pid, 9]);
        assert!(refusal.contains("pid: "), "{refusal}");
    }
    assert_eq!(plain(libc::SYS_kill, arguments![5, 9]), "fine");
}

#[test]
fn scripts_end() {
    let mut arena = Arena::new();
    let script = arena.script("task 4");
    arena.call(script, Call::new(libc::SYS_getpid));
    let refusals = restore(arena).unwrap_err();
    assert_eq!(
        refusals[0].to_string(),
        "task 4: ends with neither a stop nor an exit"
    );
}

#[test]
fn pointers_lead_somewhere() {
    let to = |at: u32, to: DataRef| {
        let mut arena = Arena::new();
        arena.block(Block::room(16).pointer(at, to));
        restore(arena).map(drop).map_err(|it| it[0].to_string())
    };
    assert_eq!(to(8, BlockId(0).at(16)), Ok(()));
    assert_eq!(
        to(9, BlockId(0).at(0)),
        Err("block 0: a pointer is outside of it".into())
    );
    assert_eq!(
        to(u32::MAX, BlockId(0).at(0)),
        Err("block 0: a pointer is outside of it".into())
    );
    assert_eq!(
        to(0, BlockId(0).at(17)),
        Err("block 0: a pointer leads nowhere".into())
    );
    assert_eq!(
        to(0, BlockId(1).at(0)),
        Err("block 0: a pointer leads nowhere".into())
    );
}

#[test]
fn the_kernel_does_not_write_over_addresses() {
    let written = refused(|arena| {
        let block = Block::words(&[0, 0]).pointer(8, BlockId(0).at(0));
        let room = arena.block(block);
        Call::new(libc::SYS_pipe2).with(arguments![room.at(8), 0])
    });
    assert!(
        written.ends_with("fds: is written over an address"),
        "{written}"
    );
}

#[test]
fn what_is_read_from_a_file_tells_no_call_what_to_do() {
    let check = |read: fn(BlockId, BlockId) -> Call| {
        let mut arena = Arena::new();
        let script = arena.script("task 4");
        let args = arena.block(Block::words(&[0; 11]));
        let vectors = arena.block(Block::default().then_pointer(args.at(0)).then(&[88]));
        arena.call(script, read(args, vectors));
        let clone = Call::new(libc::SYS_clone3).with(arguments![args, 88]);
        arena.call(script, clone.child(script));
        arena.stop(script, Tag(0));
        restore(arena).map(drop).map_err(|it| it[0].to_string())
    };
    let refusal = "block 0: is read into, and tells a call what to do".to_owned();
    let reads: [fn(BlockId, BlockId) -> Call; 2] = [
        |args, _| Call::new(libc::SYS_read).with(arguments![3, args, 88]),
        |_, vectors| Call::new(libc::SYS_preadv).with(arguments![3, vectors, 1, 0]),
    ];
    for read in reads {
        assert_eq!(check(read), Err(refusal.clone()));
    }
    assert_eq!(check(|_, _| Call::new(libc::SYS_getpid)), Ok(()));
}

#[test]
fn a_dump_only_reads() {
    let check = |call: Call| {
        let mut arena = Arena::new();
        let script = arena.script("task 4");
        let _ = arena.block(Block::room(64));
        arena.call(script, call);
        let checked = arena.check(Purpose::Dump, 0x1000);
        checked
            .map(drop)
            .map_err(|refusals| refusals[0].reason.clone())
    };
    let old = BlockId(0);
    let get = Call::new(libc::SYS_rt_sigaction)
        .with(arguments![15, 0, old, 8])
        .expect(Expect::Any);
    assert_eq!(check(get.clone()), Ok(()));
    assert_eq!(
        check(get.clone().argument(1, old)),
        Err("new: is no pointer to data".into())
    );
    assert!(check(get.clone().expect(Expect::Success)).is_err());
    assert!(check(get.copy_to(old.at(0))).is_err());
    for number in [
        libc::SYS_munmap,
        libc::SYS_close,
        libc::SYS_rt_sigprocmask,
        libc::SYS_kill,
    ] {
        let reason = "is not in the list of calls".to_owned();
        assert_eq!(check(Call::new(number).expect(Expect::Any)), Err(reason));
    }
}

#[test]
fn what_is_linked_holds_results_data_and_addresses() {
    let mut arena = Arena::new();
    let script = arena.script("task 1");
    let text = arena.block(Block::string(b"/x").unwrap());
    let pointer = arena.block(Block::words(&[5]).then_pointer(text.at(1)));
    let first = arena.call(script, Call::new(libc::SYS_getpid));
    let last = arena.stop(script, Tag(3));
    let linked = restore(arena).unwrap().link();
    let memory = linked.bytes();
    assert_eq!(memory.len() % 4096, 0);
    assert_eq!(memory[..4096], crate::stub_page());
    assert_eq!(linked.entry(script), Some(BASE + 4096));
    assert_eq!(linked.line_at(BASE + 4096), Some(first));
    assert_eq!(linked.line_at(BASE + 4096 + 112), Some(last));
    assert_eq!(linked.line_at(BASE + 4096 + 8), None);
    assert_eq!(
        linked.line_at(BASE + 4096 + 224),
        None,
        "what ends the script is no line of it"
    );
    assert_eq!(linked.result(memory, first), Some(crate::NOT_RUN));
    assert_eq!(linked.data(memory, text.at(0), 3), Some(&b"/x\0"[..]));
    let address = linked.data_address(text.at(1)).unwrap().to_le_bytes();
    assert_eq!(linked.data(memory, pointer.at(8), 8), Some(&address[..]));
}

/// Arenas of calls that are often in the lists, with arguments that are often good.
fn arenas() -> impl Strategy<Value = Arena> {
    let numbers: Vec<u32> = crate::list(Purpose::Restore)
        .map(|form| form.number)
        .collect();
    let place = (0_u32..4, 0_u32..70).prop_map(|(block, offset)| BlockId(block).at(offset));
    let line = (0_u32..3, 0_u32..6).prop_map(|(script, index)| LineId {
        script: ScriptId(script),
        index,
    });
    let value = prop_oneof![
        Just(0_u64),
        0_u64..40,
        Just(BASE),
        (0_u64..1 << 20).prop_map(|page| page << 12),
        (BASE >> 12..(BASE >> 12) + 5).prop_map(|page| page << 12),
        Just(u64::MAX),
        any::<u64>(),
    ];
    let argument = prop_oneof![
        4 => value.prop_map(Argument::Literal),
        1 => line.prop_map(Argument::Result),
        2 => place.clone().prop_map(Argument::Data),
    ];
    let expect = prop_oneof![
        Just(Expect::Success),
        Just(Expect::Any),
        Just(Expect::SuccessOr(Errno(17))),
        any::<u64>().prop_map(Expect::Exactly),
    ];
    let number = prop_oneof![9 => proptest::sample::select(numbers), 1 => any::<u32>()];
    let arguments = proptest::array::uniform6(argument);
    let child = proptest::option::weighted(0.1, (0_u32..4).prop_map(ScriptId));
    let copy = proptest::option::weighted(0.1, place.clone());
    let call = (number, arguments, expect, child, copy);
    let call = call.prop_map(|(number, arguments, expect, child, copy_to)| {
        Line::Call(Call {
            number,
            arguments,
            expect,
            child,
            copy_to,
        })
    });
    let scripts = proptest::collection::vec(proptest::collection::vec(call, 0..5), 0..3);
    let pointers = proptest::collection::vec((0_u32..70, place), 0..2);
    let blocks = proptest::collection::vec(
        (proptest::collection::vec(any::<u8>(), 0..128), pointers),
        0..4,
    );
    (scripts, blocks).prop_map(|(scripts, blocks)| {
        let mut arena = Arena::new();
        for lines in scripts {
            let script = arena.script("task\n4");
            for line in lines {
                arena.line(script, line);
            }
            arena.stop(script, Tag(0));
        }
        for (bytes, pointers) in blocks {
            let pointers = pointers
                .into_iter()
                .map(|(at, to)| Pointer { at, to })
                .collect();
            arena.block(Block { bytes, pointers });
        }
        arena
    })
}

proptest! {
    #[test]
    fn no_arena_is_too_strange_to_be_checked_and_listed(arena in arenas()) {
        let lines = arena.lines().count();
        for purpose in [Purpose::Dump, Purpose::Restore] {
            prop_assert_eq!(arena.listing(purpose).to_string().lines().count(), lines);
            if let Ok(checked) = arena.clone().check(purpose, BASE) {
                let linked = checked.link();
                for (line, _) in linked.arena().lines() {
                    let at = linked.result_address(line).unwrap() - 104;
                    prop_assert_eq!(linked.line_at(at), Some(line));
                }
            }
        }
    }

    #[test]
    fn one_changed_argument_is_refused(which in 0_usize..WHOLE.len(), index in 0_usize..6, value in any::<u64>()) {
        let (number, arguments) = WHOLE[which];
        let call = Call::new(number).with(arguments.map(Argument::Literal));
        prop_assert_eq!(refused(|_| call.clone()), "fine");
        // Bits that no argument of these calls has.
        let wrong = value | 1 << 63 | 1;
        prop_assert_ne!(refused(|_| call.argument(index, wrong)), "fine");
    }
}

const WHOLE: [(c_long, [u64; 6]); 7] = [
    (libc::SYS_mmap, [0x1000, 0x1000, 3, FIXED as u64, 3, 0x1000]),
    (libc::SYS_munmap, [0x1000, 0x1000, 0, 0, 0, 0]),
    (libc::SYS_mprotect, [0x1000, 0x1000, 1, 0, 0, 0]),
    (libc::SYS_close, [3, 0, 0, 0, 0, 0]),
    (libc::SYS_dup3, [3, 4, 0, 0, 0, 0]),
    (libc::SYS_setresuid, [1, 2, 3, 0, 0, 0]),
    (libc::SYS_exit_group, [0; 6]),
];

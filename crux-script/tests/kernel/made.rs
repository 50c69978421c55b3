//! Tasks that are nothing but the stub and their scripts.
//!
//! Kind: tests.

use crate::sys::{child, wait};
use crux_script::{
    Arena, Block, BlockId, Call, Expect, Halt, LineId, Linked, Purpose, ScriptId, Tag, arguments,
    enter, map_arena,
};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, pipe, read};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::{fs, io};

/// Free in every test.
const BASE: u64 = 0x7_0000_0000;
const AT: u64 = 0x6_0000_0000;
const TASK_END: u64 = (1 << 47) - 4096;

/// A tree of tasks that run scripts. It ends with this value.
struct Running {
    linked: Linked,
    memory: fs::File,
    first: Pid,
    halted: BTreeMap<i32, Halt>,
    exited: BTreeMap<i32, i32>,
}

impl Running {
    fn start(arena: Arena, script: ScriptId) -> Self {
        let linked = arena.check(Purpose::Restore, BASE).unwrap().link();
        let name = c"scripts";
        let memory =
            nix::sys::memfd::memfd_create(name, nix::sys::memfd::MFdFlags::empty()).unwrap();
        let memory = fs::File::from(memory);
        memory.write_all_at(linked.bytes(), 0).unwrap();
        let (go, gone) = pipe().unwrap();
        let first = child(|| {
            let mapped = map_arena(&linked, memory.as_fd(), script).unwrap();
            // At the end of file the tracer is there, or dead.
            read(&go, &mut [0]).unwrap();
            enter(mapped)
        });
        let options =
            Options::PTRACE_O_EXITKILL | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEFORK;
        ptrace::seize(first, options).unwrap();
        nix::unistd::write(&gone, b".").unwrap();
        let (halted, exited) = Default::default();
        Self {
            linked,
            memory,
            first,
            halted,
            exited,
        }
    }

    /// Runs until so many tasks halt or have exited.
    fn until(&mut self, count: usize) -> Vec<Halt> {
        while self.halted.len() + self.exited.len() < count {
            let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
            match waitpid(None, Some(flags)).unwrap() {
                WaitStatus::Stopped(pid, Signal::SIGTRAP) => {
                    let registers = ptrace::getregs(pid).unwrap();
                    let halt = self.linked.halt(&registers).expect("a trap of the stub's");
                    self.halted.insert(pid.as_raw(), halt);
                }
                WaitStatus::Stopped(pid, signal) => ptrace::cont(pid, signal).unwrap(),
                WaitStatus::PtraceEvent(pid, ..) => ptrace::cont(pid, None).unwrap(),
                WaitStatus::Exited(pid, status) => drop(self.exited.insert(pid.as_raw(), status)),
                other => panic!("{other:?}"),
            }
        }
        self.halted.values().copied().collect()
    }

    /// Lets every halted task go on.
    fn go_on(&mut self) {
        for pid in std::mem::take(&mut self.halted).keys() {
            // One that went on before may have ended the others of its process.
            let went = ptrace::cont(Pid::from_raw(*pid), None);
            assert!(matches!(went, Ok(()) | Err(nix::Error::ESRCH)), "{went:?}");
        }
    }

    fn memory(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.linked.bytes().len()];
        self.memory.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    fn result(&self, line: LineId) -> u64 {
        self.linked.result(&self.memory(), line).unwrap()
    }

    fn proc(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(format!("/proc/{}/{file}", self.first))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let left: Vec<_> = self.halted.keys().copied().collect();
        for pid in left.into_iter().chain([self.first.as_raw()]) {
            if !self.exited.contains_key(&pid) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        while waitpid(None, Some(flags)).is_ok() {}
    }
}

fn exit(arena: &mut Arena, script: ScriptId, status: u64) {
    arena.call(script, Call::new(libc::SYS_exit_group).argument(0, status));
}

/// `struct clone_args`; a thread sends no signal.
fn clone_args(arena: &mut Arena, flags: i32) -> BlockId {
    let signal = if flags & libc::CLONE_THREAD == 0 {
        libc::SIGCHLD
    } else {
        0
    };
    arena.block(Block::words(&[
        flags as u32 as u64,
        0,
        0,
        0,
        signal as u64,
        0,
        0,
        0,
        0,
        0,
        0,
    ]))
}

fn clone3(arena: &mut Arena, flags: i32, child: ScriptId) -> Call {
    let args = clone_args(arena, flags);
    Call::new(libc::SYS_clone3)
        .with(arguments![args, 88])
        .child(child)
}

#[test]
fn a_task_runs_with_nothing_else_mapped() {
    let mut arena = Arena::new();
    let task = arena.script("task 1");
    let end = {
        // As long as the arena will be, whatever is in it: two pages behind the stub's are plenty.
        BASE + 3 * 4096
    };
    let unmap = |from: u64, to: u64| {
        Call::new(libc::SYS_munmap)
            .with(arguments![from, to - from])
            .exactly(0)
    };
    arena.call(task, unmap(0x10000, BASE));
    arena.call(task, unmap(end, TASK_END - 4096));
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let map = Call::new(libc::SYS_mmap).with(arguments![AT, 8192_u64, 3_u64, flags, -1, 0_u64]);
    let line = arena.call(task, map.exactly(AT));
    arena.block(Block::room(4096));
    arena.stop(task, Tag(5));
    exit(&mut arena, task, 3);
    let mut running = Running::start(arena, task);
    let halt = running.until(1);
    assert!(
        matches!(halt[..], [Halt::Stopped { tag: Tag(5), .. }]),
        "{halt:?}"
    );
    assert_eq!(running.result(line), AT);
    let maps = running.proc("maps").unwrap();
    let starts: Vec<_> = maps
        .lines()
        .map(|line| line.split(['-', ' ']).next().unwrap())
        .collect();
    let wanted =
        [AT, BASE, BASE + 4096].map(|it| format!("{it:x}").trim_start_matches('0').to_owned());
    let starts: Vec<_> = starts
        .iter()
        .map(|it| it.trim_start_matches('0').to_owned())
        .collect();
    assert_eq!(starts[..3], wanted, "{maps}");
    assert!(
        maps.lines()
            .skip(3)
            .all(|line| line.ends_with("[vsyscall]")),
        "{maps}"
    );
    running.go_on();
    running.until(1);
    assert_eq!(running.exited[&running.first.as_raw()], 3);
}

#[test]
fn children_and_threads_go_on_in_scripts_of_their_own_and_share_results() {
    let mut arena = Arena::new();
    let scripts = ["task 1", "task 2", "task 1 thread 2"].map(|name| arena.script(name));
    let [parent, process, thread] = scripts;
    let path = arena.block(Block::string(b"/dev/null").unwrap());
    let open = Call::new(libc::SYS_openat).with(arguments![libc::AT_FDCWD, path, libc::O_RDONLY]);
    let fd = arena.call(parent, open);
    let call = clone3(&mut arena, 0, process);
    let pid = arena.call(parent, call);
    let flags = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD | libc::CLONE_FILES;
    let call = clone3(&mut arena, flags, thread);
    let tid = arena.call(parent, call);
    arena.stop(parent, Tag(1));
    let dup = |to: u64| {
        Call::new(libc::SYS_dup3)
            .with(arguments![fd, to, 0])
            .exactly(to)
    };
    arena.call(process, dup(700));
    let own = arena.call(process, Call::new(libc::SYS_getpid));
    let copy = arena.block(Block::room(8));
    arena.call(
        process,
        Call::new(libc::SYS_dup3)
            .with(arguments![fd, 702_u64])
            .copy_to(copy.at(4)),
    );
    arena.stop(process, Tag(2));
    arena.call(thread, dup(701));
    let own_thread = arena.call(thread, Call::new(libc::SYS_gettid));
    arena.stop(thread, Tag(3));
    for script in scripts {
        exit(&mut arena, script, 0);
    }
    let mut running = Running::start(arena, parent);
    let mut tags: Vec<_> = running
        .until(3)
        .iter()
        .map(|halt| match halt {
            Halt::Stopped { tag, .. } => tag.0,
            Halt::Failed { line, result } => panic!("{}", running.linked.failure(*line, *result)),
        })
        .collect();
    tags.sort_unstable();
    assert_eq!(tags, [1, 2, 3]);
    assert_eq!(running.result(pid), running.result(own));
    assert_eq!(running.result(tid), running.result(own_thread));
    let memory = running.memory();
    assert_eq!(
        running.linked.data(&memory, copy.at(0), 8).unwrap(),
        [0, 0, 0, 0, 190, 2, 0, 0]
    );
    running.go_on();
    running.until(2);
}

#[test]
fn a_failed_line_says_what_it_was_and_why() {
    let mut arena = Arena::new();
    let task = arena.script("task 4");
    arena.name_descriptor(0, "pages.img");
    let path = arena.block(Block::string(b"/nothing here").unwrap());
    arena.call(task, Call::new(libc::SYS_getpid));
    let open = Call::new(libc::SYS_openat).with(arguments![libc::AT_FDCWD, path, libc::O_RDWR]);
    let line = arena.call(task, open);
    exit(&mut arena, task, 0);
    let mut running = Running::start(arena, task);
    let Halt::Failed { line: at, result } = running.until(1)[0] else {
        panic!("it did not fail");
    };
    assert_eq!(at, line);
    assert_eq!(
        running.linked.failure(at, result).to_string(),
        "task 4 line 2: openat \"/nothing here\" O_RDWR: ENOENT (No such file or directory)"
    );
    // A tracer that lets it go on all the same makes it exit.
    running.go_on();
    running.until(1);
    assert_eq!(running.exited[&running.first.as_raw()], 127);
}

#[test]
fn an_unexpected_value_is_a_failure() {
    let mut arena = Arena::new();
    let task = arena.script("task 4");
    arena.call(
        task,
        Call::new(libc::SYS_umask)
            .argument(0, 0o22_u64)
            .expect(Expect::Any),
    );
    let line = arena.call(
        task,
        Call::new(libc::SYS_umask)
            .argument(0, 0o77_u64)
            .exactly(0o23),
    );
    arena.stop(task, Tag(0));
    let mut running = Running::start(arena, task);
    assert_eq!(running.until(1), [Halt::Failed { line, result: 0o22 }]);
    assert_eq!(
        running.linked.failure(line, 0o22).to_string(),
        "task 4 line 2: umask 0o77 = 0x13: gave 0x12 instead of 0x13"
    );
}

#[test]
fn a_stop_leaves_an_ignored_trap_signal_ignored() {
    let mut arena = Arena::new();
    let task = arena.script("task 1");
    let ignore = arena.block(Block::words(&[1, 0, 0, 0]));
    arena.call(
        task,
        Call::new(libc::SYS_rt_sigaction).with(arguments![libc::SIGTRAP, ignore, 0, 8]),
    );
    arena.stop(task, Tag(1));
    arena.stop(task, Tag(2));
    let mut running = Running::start(arena, task);
    for tag in [1, 2] {
        assert!(matches!(running.until(1)[..], [Halt::Stopped { tag: Tag(it), .. }] if it == tag));
        let status = running.proc("status").unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("SigIgn:"))
            .unwrap();
        let ignored = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
        assert_ne!(ignored & 1 << (libc::SIGTRAP - 1), 0, "{line}");
        running.go_on();
    }
    running.until(1);
    assert_eq!(
        running.exited[&running.first.as_raw()],
        127,
        "nothing comes after the last stop"
    );
}

#[test]
fn tasks_end_with_their_tracer() {
    let (ended, alive) = pipe().unwrap();
    let tracer = child(|| {
        let mut arena = Arena::new();
        let task = arena.script("task 1");
        arena.stop(task, Tag(1));
        let mut running = Running::start(arena, task);
        running.until(1);
        kill(nix::unistd::getpid(), Signal::SIGKILL).unwrap();
        0
    });
    wait(tracer);
    // Its task has a copy of this end as well: end of file says that it is gone.
    drop(alive);
    assert_eq!(read(&ended, &mut [0]).unwrap(), 0);
}

#[test]
fn userns_a_child_gets_the_pid_that_is_asked_for() {
    let mut arena = Arena::new();
    let scripts = ["task 0", "task 1", "task 77"].map(|name| arena.script(name));
    let [outside, init, child] = scripts;
    let mut with_pid = |flags: i32, pid: i32, script: ScriptId| {
        let ids = arena.block(Block::bytes(pid.to_le_bytes()));
        let words = [flags as u32 as u64, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0];
        let args = Block::words(&words).then_pointer(ids.at(0)).then(&[1, 0]);
        let args = arena.block(args);
        Call::new(libc::SYS_clone3)
            .with(arguments![args, 88])
            .child(script)
    };
    let first = with_pid(libc::CLONE_NEWUSER | libc::CLONE_NEWPID, 1, init);
    let second = with_pid(0, 77, child).exactly(77);
    arena.call(outside, first);
    arena.call(init, second);
    arena.call(child, Call::new(libc::SYS_getpid).exactly(77));
    for script in scripts {
        arena.stop(script, Tag(script.0));
    }
    let listed = arena.listing(Purpose::Restore).to_string();
    assert!(
        listed.contains("task 1 line 1: clone3 task 77 as 77 = 0x4d"),
        "{listed}"
    );
    let mut running = Running::start(arena, outside);
    for halt in running.until(3) {
        if let Halt::Failed { line, result } = halt {
            panic!("{}", running.linked.failure(line, result));
        }
    }
}

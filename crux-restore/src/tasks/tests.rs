//! Tasks that a hand-written arena makes: a process, its child, and a thread, from the birth
//! of the first to its end as an ordinary program.

use super::birth::{First, Newborn, newborn};
use super::memory::{ArenaMemory, Gate};
use super::plan::{FINISHED, Finish, TOGETHER};
use super::trace::{Extent, Leaving, TaskError, Tasks, finish};
use crux_image::tasks::{Interrupted, Registers};
use crux_script::{Arena, Block, Call, Linked, Purpose, ScriptId, arguments};
use crux_trace::{Stopped, Tid};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{read, write};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, WaitStatus, waitpid};

const BASE: u64 = 0x1f_0000_0000;
const CODE: u64 = 0x1000_0000;
const STACK: u64 = 0x2000_0000;

/// Writes bl to descriptor 5. Where that is 'M', it waits for a child and ends with 7;
/// the others end with 0.
const PROGRAM: [u8; 68] = [
    0x88, 0x1c, 0x24, 0xbf, 0x05, 0x00, 0x00, 0x00, 0x48, 0x89, 0xe6, 0xba, 0x01, 0x00, 0x00, 0x00,
    0xb8, 0x01, 0x00, 0x00, 0x00, 0x0f, 0x05, 0x80, 0xfb, 0x4d, 0x75, 0x1f, 0xbf, 0xff, 0xff, 0xff,
    0xff, 0x31, 0xf6, 0x31, 0xd2, 0x45, 0x31, 0xd2, 0xb8, 0x3d, 0x00, 0x00, 0x00, 0x0f, 0x05, 0xbf,
    0x07, 0x00, 0x00, 0x00, 0xb8, 0xe7, 0x00, 0x00, 0x00, 0x0f, 0x05, 0x31, 0xff, 0xb8, 0x3c, 0x00,
    0x00, 0x00, 0x0f, 0x05,
];

const THREAD: i32 = libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM;

struct Plan {
    arena: Arena,
    main: ScriptId,
    child: ScriptId,
    thread: ScriptId,
}

fn plan(length: u64, last: Option<Call>) -> Plan {
    let mut arena = Arena::new();
    let (main, child) = (arena.script("task 1"), arena.script("task 2"));
    let thread = arena.script("task 1 thread 3");
    let byte = arena.block(Block::room(1));
    let vectors = arena.block(Block::words(&[CODE, PROGRAM.len() as u64]));
    let clone_args = |flags: i32, signal: i32| {
        let mut words = [0; 11];
        (words[0], words[4]) = (flags as u64, signal as u64);
        Block::words(&words)
    };
    let (fork, new_thread) = (clone_args(0, libc::SIGCHLD), clone_args(THREAD, 0));
    let (fork, new_thread) = (arena.block(fork), arena.block(new_thread));
    let fixed = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let readable = libc::PROT_READ | libc::PROT_WRITE;
    let end = (1_u64 << 47) - 4096;
    let calls = [
        Call::new(libc::SYS_read)
            .with(arguments![3, byte, 1])
            .exactly(1),
        Call::new(libc::SYS_munmap).with(arguments![0, BASE]),
        Call::new(libc::SYS_munmap).with(arguments![BASE + length, end - BASE - length]),
        Call::new(libc::SYS_mmap).with(arguments![CODE, 4096, readable, fixed, -1]),
        Call::new(libc::SYS_mmap).with(arguments![STACK, 4096, readable, fixed, -1]),
        Call::new(libc::SYS_preadv)
            .with(arguments![4, vectors, 1])
            .exactly(PROGRAM.len() as u64),
        Call::new(libc::SYS_mprotect).with(arguments![
            CODE,
            4096,
            libc::PROT_READ | libc::PROT_EXEC
        ]),
        Call::new(libc::SYS_clone3)
            .with(arguments![fork, 88])
            .child(child),
        Call::new(libc::SYS_clone3)
            .with(arguments![new_thread, 88])
            .child(thread),
        Call::new(libc::SYS_close).with(arguments![3]),
        Call::new(libc::SYS_close).with(arguments![4]),
    ];
    for call in calls {
        arena.call(main, call);
    }
    for script in [main, child] {
        arena.stop(script, TOGETHER);
    }
    if let Some(call) = last {
        arena.call(child, call);
    }
    for script in [main, child, thread] {
        arena.stop(script, FINISHED);
    }
    Plan {
        arena,
        main,
        child,
        thread,
    }
}

fn linked(arena: &Arena) -> Linked {
    let checked = arena.clone().check(Purpose::Restore, BASE);
    checked
        .map_err(|refusals| format!("{refusals:#?}"))
        .unwrap()
        .link()
}

/// The first task, its output, and its number.
fn born(linked: &Linked) -> (Pid, Gate, OwnedFd) {
    let memory = ArenaMemory::make(linked).unwrap();
    let (gate, waiter) = Gate::make().unwrap();
    let program = memfd_create("program", MemfdFlags::CLOEXEC).unwrap();
    write(&program, &PROGRAM).unwrap();
    let (output, input) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let task = First {
        base: BASE,
        length: memory.length(),
        line: linked.entry(ScriptId(0)).unwrap(),
        numbers: vec![3, 4, 5],
    };
    let waiting = newborn(&Newborn {
        namespaces: 0,
        pids: Vec::new(),
        exit_signal: libc::SIGCHLD as u64,
        procs: 1,
        before: 0,
        user: None,
    });
    let waiting = waiting.unwrap();
    assert_eq!(waiting.along.len(), 1);
    let begun = waiting.begin(&task, memory.as_fd(), &[waiter, program, input]);
    begun.unwrap();
    (Pid::from_raw(waiting.pid).unwrap(), gate, output)
}

fn ending(letter: u8, stub: &crux_trace::Registers, xstate: Vec<u8>) -> Finish {
    Finish {
        seccomp: None,
        registers: Registers {
            rbx: letter.into(),
            rip: CODE,
            rsp: STACK + 0x100 * u64::from(letter & 7),
            orig_rax: u64::MAX,
            cs: stub.cs,
            ss: stub.ss,
            eflags: 0x202,
            ..Registers::default()
        },
        xstate,
        mask: 0,
        interrupted: Interrupted::No,
    }
}

fn ended(task: &Stopped, letter: u8) -> Finish {
    ending(letter, &task.registers().unwrap(), task.xstate().unwrap())
}

fn status(pid: Pid) -> WaitStatus {
    waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap().1
}

#[test]
fn a_process_its_child_and_a_thread_become_programs() {
    let length = linked(&plan(1 << 16, None).arena).bytes().len() as u64;
    let plan = plan(length, None);
    let linked = linked(&plan.arena);
    let extent = Extent { base: BASE, length };
    let (pid, gate, output) = born(&linked);
    let tid = Tid::new(pid.as_raw_pid() as u32).unwrap();
    let mut tasks = Tasks::seize(tid, &linked).unwrap();
    gate.open().unwrap();
    let all = [plan.main, plan.child, plan.thread];
    tasks.run(&all).unwrap();
    assert_eq!(tasks.tid(plan.main).unwrap(), tid);
    let mut finished = Vec::new();
    // The one that unmaps the scripts is the last of its process.
    for (script, letter, unmapped) in [
        (plan.thread, b'T', None),
        (plan.child, b'C', Some(extent)),
        (plan.main, b'M', Some(extent)),
    ] {
        let name = tasks.name(script);
        let task = tasks.take(script).unwrap();
        let own = ended(&task, letter);
        finished.push(finish(&name, task, &own, unmapped, Leaving::Running).unwrap());
    }
    let maps = std::fs::read_to_string(format!("/proc/{tid}/maps")).unwrap();
    let own = maps.lines().filter(|line| !line.contains("[vsyscall]"));
    let places: Vec<_> = own.filter_map(|line| line.split(' ').next()).collect();
    let fds = std::fs::read_dir(format!("/proc/{tid}/fd"))
        .unwrap()
        .count();
    let main = finished.pop().unwrap();
    for task in finished {
        task.detach(0).unwrap();
    }
    let mut letters = [0; 2];
    for letter in &mut letters {
        assert_eq!(read(&output, std::slice::from_mut(letter)), Ok(1));
    }
    letters.sort_unstable();
    assert_eq!(&letters, b"CT");
    main.detach(0).unwrap();
    assert_eq!(places, ["10000000-10001000", "20000000-20001000"], "{maps}");
    assert_eq!(fds, 1);
    assert_eq!(status(pid).exit_status(), Some(7));
}

#[test]
fn a_line_that_fails_is_named_with_its_task() {
    let length = linked(&plan(1 << 16, None).arena).bytes().len() as u64;
    let plan = plan(
        length,
        Some(Call::new(libc::SYS_close).with(arguments![77])),
    );
    let linked = linked(&plan.arena);
    let (pid, gate, _output) = born(&linked);
    let tid = Tid::new(pid.as_raw_pid() as u32).unwrap();
    let mut tasks = Tasks::seize(tid, &linked).unwrap();
    gate.open().unwrap();
    let failed = tasks.run(&[plan.main, plan.child]).unwrap_err();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert!(matches!(failed, TaskError::Failed(_)), "{failed}");
    let words = failed.to_string();
    assert!(words.contains("task 2 line 2: close"), "{words}");
    assert!(words.contains("EBADF"), "{words}");
}

#[test]
fn a_task_whose_tracer_never_comes_ends_by_itself() {
    let length = linked(&plan(1 << 16, None).arena).bytes().len() as u64;
    let plan = plan(length, None);
    let (pid, gate, _output) = born(&linked(&plan.arena));
    drop(gate);
    assert_eq!(status(pid).terminating_signal(), Some(libc::SIGTRAP));
}

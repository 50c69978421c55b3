//! Records that are compiled, and what the checker says of the scripts.

use super::*;
use crate::tasks::plan::{FINISHED, TOGETHER};
use crux_image::mounts::{
    External, ExternalRole, FileKind, Mount, MountIndex, Namespace, Origin, Propagation,
};
use crux_image::path::RelPath;
use crux_image::tasks::*;
use crux_script::{Line, Purpose};

pub(super) fn mounts() -> Mounts {
    let root = External {
        name: "root".into(),
        role: ExternalRole::Root,
        kind: FileKind::Directory,
        wish: None,
        group_wish: None,
        fs_type: "ext4".into(),
    };
    let mount = Mount {
        parent: None,
        mountpoint: RelPath::root(),
        origin: 0.into(),
        root: RelPath::root(),
        deleted: false,
        former: None,
        lock: crux_image::mounts::Lock::Free,
        kind: FileKind::Directory,
        attributes: Default::default(),
        propagation: Propagation::Private,
    };
    Mounts {
        user_namespaces: Vec::new(),
        namespaces: vec![Namespace {
            owner: None,
            mounts: vec![mount],
            root: MountIndex(0),
        }],
        origins: vec![Origin::External(root)],
        groups: Vec::new(),
    }
}

fn place(path: &str) -> Location {
    Location {
        namespace: 0.into(),
        mount: MountIndex(0),
        path: RelPath::new(path).unwrap(),
    }
}

fn area(start: u64, pages: u64, backing: Backing, runs: Vec<PageRun>) -> Area {
    Area {
        start,
        end: start + pages * PAGE_SIZE,
        protection: Protection {
            read: true,
            write: false,
            execute: false,
        },
        sharing: Sharing::Private,
        backing,
        offset: 0,
        flags: AreaFlags::default(),
        name: Some(b"n".to_vec()),
        pages: runs,
    }
}

fn run(start: u64, count: u64, source: PageSource) -> PageRun {
    PageRun {
        start,
        count,
        source,
    }
}

fn space(runs: Vec<PageRun>) -> AddressSpace {
    let file = Backing::File {
        location: place("bin/a"),
        unlinked: None,
        writable: false,
    };
    AddressSpace {
        layout: MemoryLayout {
            start_code: 0x40_0000,
            end_code: 0x40_1000,
            start_data: 0x40_1000,
            end_data: 0x40_2000,
            start_brk: 0x50_0000,
            brk: 0x50_0000,
            start_stack: 0x7ff0_0000,
            arg_start: 0,
            arg_end: 0,
            env_start: 0,
            env_end: 0,
        },
        auxv: vec![0; 32],
        exe: place("bin/a"),
        exe_unlinked: None,
        areas: vec![
            area(0x40_0000, 2, file, Vec::new()),
            area(0x7ff0_0000, 8, Backing::Anonymous, runs),
        ],
        vdso: None,
    }
}

fn thread(pid: u32) -> Thread {
    Thread {
        pids: vec![pid],
        name: b"a".to_vec(),
        registers: Registers::default(),
        xstate: vec![0; 576],
        interrupted: Interrupted::No,
        mask: 0,
        pending: Vec::new(),
        alternate_stack: AlternateStack {
            address: 0,
            size: 0,
            flags: 2,
        },
        tid_address: 0x7ff0_0010,
        robust_list: RobustList {
            head: 0x7ff0_0020,
            length: 24,
        },
        rseq: Some(Rseq {
            address: 0x7ff0_0040,
            size: 32,
            signature: 0x5305_3053,
        }),
        credentials: Credentials {
            uids: [1, 1, 1, 1],
            gids: [1, 1, 1, 2],
            groups: vec![3],
            capabilities: Capabilities {
                inheritable: 0,
                permitted: 0,
                effective: 0,
                bounding: 1,
                ambient: 0,
            },
            securebits: 0,
            no_new_privs: true,
        },
        scheduling: Scheduling {
            policy: 0,
            flags: 0,
            nice: 1,
            priority: 0,
            runtime: 0,
            deadline: 0,
            period: 0,
        },
        affinity: vec![3; 8],
        io_priority: 1,
        timer_slack: 50_000,
        parent_death_signal: 0,
        seccomp: SeccompState::Off,
    }
}

pub(super) fn process(parent: Option<u32>, pid: u32, space: u32) -> Process {
    Process {
        parent: parent.map(ProcessIndex),
        pid_namespace: PidNsIndex(0),
        group: 1,
        session: 1,
        exit_signal: 17,
        state: ProcessState::Running,
        subreaper: false,
        dumpable: 1,
        personality: 0,
        thp_disabled: false,
        oom_score_adj: 0,
        coredump_filter: 0x33,
        limits: vec![
            Limit {
                soft: 1,
                hard: u64::MAX
            };
            16
        ],
        actions: vec![SignalAction {
            signal: 10,
            handler: 0x40_0100,
            flags: 0x0400_0000,
            restorer: 0x40_0200,
            mask: 0,
        }],
        pending: Vec::new(),
        interval_timers: Default::default(),
        posix_timers: vec![PosixTimer {
            id: 1,
            clock: 1,
            notify: Notify::None,
            remaining: 5,
            interval: 0,
            overrun: 0,
        }],
        space: Some(SpaceIndex(space)),
        descriptors: Some(DescriptorTableIndex(0)),
        fs: Some(FsIndex(0)),
        mount_namespace: Some(0.into()),
        user_namespace: None,
        uts_namespace: Some(UtsNsIndex(0)),
        ipc_namespace: None,
        net_namespace: None,
        cgroup_namespace: None,
        time_namespace: None,
        cgroups: Vec::new(),
        threads: vec![thread(pid)],
    }
}

/// A process with a thread, a child with the same memory but for a page, and one that has ended.
pub(in crate::tasks) fn record() -> Tasks {
    let parent = vec![run(0x7ff0_0000, 4, PageSource::Data(0))];
    let child = vec![
        run(0x7ff0_0000, 1, PageSource::Data(0x4000)),
        run(0x7ff0_1000, 1, PageSource::Parent),
    ];
    let mut first = process(None, 1, 0);
    first.threads.push(thread(5));
    first.threads[0].interrupted = Interrupted::Timed { remaining: 3 };
    first.threads[0].registers.rax = -516_i64 as u64;
    first.threads[0].registers.orig_rax = 35;
    let ended = Process {
        state: ProcessState::Zombie(7 << 8),
        space: None,
        descriptors: None,
        fs: None,
        mount_namespace: None,
        ..process(Some(0), 3, 0)
    };
    let mut second = process(Some(0), 2, 1);
    second.descriptors = Some(DescriptorTableIndex(1));
    let pipe = |end, access| OpenFile {
        target: OpenTarget::Pipe(PipeIndex(0), end),
        access,
        flags: FileFlags::default(),
        position: 0,
        owner: None,
    };
    let descriptor = |number: u32| Descriptor {
        number,
        close_on_exec: number == 1,
        file: FileIndex(number),
    };
    Tasks {
        clocks: Clocks::default(),
        processes: vec![first, second, ended],
        spaces: vec![space(parent), space(child)],
        shared_memory: vec![SharedMemory {
            kind: SharedMemoryKind::Anonymous,
            size: 5000,
            pages: vec![run(0, 1, PageSource::Data(0x5000))],
        }],
        descriptor_tables: vec![
            DescriptorTable {
                descriptors: (0..4).map(descriptor).collect(),
            };
            2
        ],
        files: vec![
            OpenFile {
                target: OpenTarget::External {
                    name: "stdin".into(),
                    kind: FileKind::Fifo,
                    described: b"pipe:[1]".to_vec(),
                },
                ..pipe(PipeEnd::Read, FileAccess::Read)
            },
            pipe(PipeEnd::Read, FileAccess::Read),
            pipe(PipeEnd::Write, FileAccess::Write),
            OpenFile {
                target: OpenTarget::Path {
                    location: place("etc/a"),
                    kind: FileKind::Regular,
                    size: 9,
                },
                position: 4,
                ..pipe(PipeEnd::Read, FileAccess::ReadWrite)
            },
        ],
        unlinked: Vec::new(),
        pipes: vec![Pipe {
            capacity: 4096,
            packets: false,
            data: vec![b"waiting".to_vec()],
        }],
        fs: vec![FsContext {
            root: place(""),
            working: place("etc"),
            umask: 0o22,
            first: ProcessIndex(0),
        }],
        pid_namespaces: vec![PidNamespace {
            parent: None,
            own: true,
            user_namespace: None,
        }],
        uts_namespaces: vec![UtsNamespace {
            user_namespace: None,
            host_name: b"h".to_vec(),
            domain_name: b"d".to_vec(),
        }],
        ipc_namespaces: Vec::new(),
        net_namespaces: Vec::new(),
        cgroup_namespaces: Vec::new(),
        time_namespaces: Vec::new(),
        ipc_contents: Vec::new(),
        sockets: Vec::new(),
        without_setgroups: Vec::new(),
        seccomp_chains: Vec::new(),
        terminals: Vec::new(),
        controlling: Vec::new(),
        networks: Vec::new(),
        removed_working: Vec::new(),
        cgroups: Vec::new(),
        programs: Vec::new(),
        cgroup_settings: Vec::new(),
        pid_for_children: Vec::new(),
        locks: Vec::new(),
        memberships: Vec::new(),
    }
}

pub(super) fn machine() -> Machine {
    Machine {
        vdso: Vec::new(),
        limits: vec![u64::MAX; 16],
        capabilities: 0x1ff_ffff_ffff,
        uid: 0,
        gid: 0,
        ..Machine::default()
    }
}

#[test]
fn what_others_have_is_refused_before_anything_is_made() {
    let (mut tasks, mounts) = (record(), mounts());
    let number = tasks.processes[0].first_pid();
    tasks.processes[0].oom_score_adj = -5;
    tasks.processes[0].limits[7].hard = 9;
    let mut here = machine();
    here.limits[7] = 8;
    here.numbers = vec![number, number + 1];
    let obstacles = |tasks: &Tasks, here: &Machine| -> Vec<String> {
        let refused = compile(tasks, &mounts, here).err().unwrap_or_default();
        refused.iter().map(ToString::to_string).collect()
    };
    let of_first = |words: &str| format!("task {number}: {words}");
    let score = "its oom_score_adj is -5, and ours is 0: start crux-restore with -5 or less";
    assert_eq!(obstacles(&tasks, &here), [of_first(score)]);
    // Who may raise limits does; a container without a pid namespace has the numbers of others.
    here.capabilities &= !(1 << 24);
    here.oom_score_adj = -5;
    tasks.pid_namespaces[0].own = false;
    let words = obstacles(&tasks, &here).join("\n");
    assert!(
        words.contains("RLIMIT_NOFILE is 9, and ours is 8"),
        "{words}"
    );
    assert!(
        words.contains(&format!("number {number} is that of another process here")),
        "{words}"
    );
}

#[test]
fn scripts_pass_the_checker() {
    let (tasks, mounts) = (record(), mounts());
    tasks.check(&mounts).unwrap();
    let plan = compile(&tasks, &mounts, &machine()).unwrap();
    if let Err(refusals) = plan.arena.check(Purpose::Restore, plan.base) {
        let words: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        panic!("{}", words.join("\n"));
    }
}

#[test]
fn every_thread_finishes_and_all_wait_for_all() {
    let plan = compile(&record(), &mounts(), &machine()).unwrap();
    let stops = |tag| {
        let lines = plan.arena.lines();
        lines.filter(|(_, line)| **line == Line::Stop(tag)).count()
    };
    assert_eq!((stops(FINISHED), stops(TOGETHER)), (3, 2));
    let tids: Vec<u32> = plan.threads.iter().map(|it| it.tid).collect();
    assert_eq!(tids, [5, 1, 2]);
    assert_eq!(plan.processes.len(), 3);
}

#[test]
fn what_this_machine_cannot_give_is_an_obstacle() {
    let mut tasks = record();
    tasks.spaces[0].vdso = Some(VdsoImage {
        address: 0x7fff_0000,
        bytes: vec![1],
    });
    let mut lower = machine();
    lower.limits[3] = 5;
    // CAP_SYS_RESOURCE
    lower.capabilities &= !(1 << 24);
    let obstacles = compile(&tasks, &mounts(), &lower).unwrap_err();
    let words: Vec<String> = obstacles.iter().map(ToString::to_string).collect();
    assert_eq!(words.len(), 3, "{words:?}");
    assert!(words.iter().any(|it| it.contains("vDSO of another kernel")));
    assert!(
        words
            .iter()
            .any(|it| it.starts_with("task 2: its hard limit RLIMIT_STACK is unlimited"))
    );
}

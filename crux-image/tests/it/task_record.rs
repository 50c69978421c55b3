//! A small record of tasks: two processes, the second with pages of the first.

use crux_image::mounts::{FileKind, MountIndex, NamespaceIndex};
use crux_image::path::RelPath;
use crux_image::tasks::*;

fn place(path: &str) -> Location {
    Location {
        namespace: NamespaceIndex(0),
        mount: MountIndex(0),
        path: RelPath::new(path).unwrap(),
    }
}

fn thread(pid: u32) -> Thread {
    Thread {
        pids: vec![pid],
        name: b"sh\x1b".to_vec(),
        registers: Registers::default(),
        xstate: vec![0; 576],
        interrupted: Interrupted::No,
        mask: 1,
        pending: vec![SignalInfo {
            bytes: [&10_u32.to_le_bytes()[..], &[0; 124]].concat(),
        }],
        alternate_stack: AlternateStack {
            address: 0,
            size: 0,
            flags: 2,
        },
        tid_address: 0,
        robust_list: RobustList { head: 0, length: 0 },
        rseq: None,
        credentials: Credentials {
            uids: [0; 4],
            gids: [0; 4],
            groups: vec![3],
            capabilities: Capabilities {
                inheritable: 0,
                permitted: 0,
                effective: 0,
                bounding: 1,
                ambient: 0,
            },
            securebits: 0,
            no_new_privs: false,
        },
        scheduling: Scheduling {
            policy: 0,
            flags: 0,
            nice: 0,
            priority: 0,
            runtime: 0,
            deadline: 0,
            period: 0,
        },
        affinity: vec![1],
        io_priority: 0,
        timer_slack: 0,
        parent_death_signal: 0,
        seccomp: SeccompState::Off,
    }
}

fn process(parent: Option<u32>, pid: u32, space: u32) -> Process {
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
        limits: vec![Limit { soft: 1, hard: 1 }; 16],
        actions: Vec::new(),
        pending: Vec::new(),
        interval_timers: Default::default(),
        posix_timers: Vec::new(),
        space: Some(SpaceIndex(space)),
        descriptors: Some(DescriptorTableIndex(0)),
        fs: Some(FsIndex(0)),
        mount_namespace: Some(NamespaceIndex(0)),
        user_namespace: None,
        uts_namespace: None,
        ipc_namespace: None,
        net_namespace: None,
        cgroup_namespace: None,
        time_namespace: None,
        cgroups: vec![CgroupMembership {
            controllers: Vec::new(),
            path: b"/a".to_vec(),
        }],
        threads: vec![thread(pid)],
    }
}

fn space(source: PageSource) -> AddressSpace {
    AddressSpace {
        layout: MemoryLayout {
            start_code: 0,
            end_code: 0,
            start_data: 0,
            end_data: 0,
            start_brk: 0,
            brk: 0,
            start_stack: 0,
            arg_start: 0,
            arg_end: 0,
            env_start: 0,
            env_end: 0,
        },
        auxv: Vec::new(),
        exe: place("bin/sh"),
        exe_unlinked: None,
        areas: vec![Area {
            start: 0x10000,
            end: 0x20000,
            protection: Protection {
                read: true,
                write: true,
                execute: false,
            },
            sharing: Sharing::Private,
            backing: Backing::Anonymous,
            offset: 0,
            flags: AreaFlags::default(),
            name: None,
            pages: vec![PageRun {
                start: 0x11000,
                count: 3,
                source,
            }],
        }],
        vdso: None,
    }
}

pub(crate) fn record() -> Tasks {
    Tasks {
        clocks: Clocks::default(),
        processes: vec![process(None, 1, 0), process(Some(0), 2, 1)],
        spaces: vec![space(PageSource::Data(0)), space(PageSource::Parent)],
        shared_memory: Vec::new(),
        descriptor_tables: vec![DescriptorTable {
            descriptors: vec![Descriptor {
                number: 3,
                close_on_exec: true,
                file: FileIndex(0),
            }],
        }],
        files: vec![OpenFile {
            target: OpenTarget::Path {
                location: place("etc/a\nb"),
                kind: FileKind::Regular,
                size: 1,
            },
            access: FileAccess::Read,
            flags: FileFlags::default(),
            position: 7,
            owner: None,
        }],
        unlinked: Vec::new(),
        pipes: Vec::new(),
        fs: vec![FsContext {
            root: place(""),
            working: place("tmp"),
            umask: 0o22,
            first: ProcessIndex(0),
        }],
        pid_namespaces: vec![PidNamespace {
            parent: None,
            own: true,
            user_namespace: None,
        }],
        uts_namespaces: Vec::new(),
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

/// The same with what version 2 added: kinds of files, cgroups, programs.
pub(crate) fn second() -> Tasks {
    let mut tasks = record();
    let cgroup = |path: &[u8]| CgroupMembership {
        controllers: Vec::new(),
        path: path.to_vec(),
    };
    tasks.cgroups = vec![cgroup(b"/a/b"), cgroup(b"/a/b/c")];
    tasks.cgroup_settings = vec![CgroupSettings {
        cgroup: cgroup(b"/a/b"),
        values: vec![(0, b"0-3\n".to_vec()), (13, b"100\n".to_vec())],
    }];
    tasks.pid_for_children = vec![PidForChildren {
        process: ProcessIndex(1),
        namespace: PidNsIndex(0),
    }];
    tasks.programs = vec![BpfProgram {
        kind: 8,
        expected: 0,
        name: b"deny".to_vec(),
        gpl: true,
        tag: [1, 2, 3, 4, 5, 6, 7, 8],
        instructions: PERMIT.to_vec(),
        replaced: true,
        attached: vec![BpfAttachment {
            cgroup: b"/a/b".to_vec(),
            point: 1,
            flags: 2,
        }],
    }];
    let targets = [
        OpenTarget::Event(EventCounter {
            count: 5,
            semaphore: true,
        }),
        OpenTarget::Signals { mask: 6 },
        OpenTarget::Process(ProcessIndex(1)),
        OpenTarget::Program(BpfIndex(0)),
    ];
    for (at, target) in targets.into_iter().enumerate() {
        let file = FileIndex(tasks.files.len() as u32);
        let like = tasks.files[0].clone();
        tasks.files.push(OpenFile { target, ..like });
        tasks.descriptor_tables[0].descriptors.push(Descriptor {
            number: 4 + at as u32,
            close_on_exec: false,
            file,
        });
    }
    tasks
}

/// Both ends of a connection over the loopback device; the first has shut down sending.
pub(crate) fn connected() -> Tasks {
    let address = |port: u8| {
        let mut bytes = vec![2, 0, 0, port, 127, 0, 0, 1];
        bytes.resize(16, 0);
        bytes
    };
    let end = |own: u8, peer: u8, other: u32| Socket {
        family: SocketFamily::Inet,
        kind: SocketKind::Stream,
        protocol: 6,
        net_namespace: Some(NetNsIndex(0)),
        options: Vec::new(),
        state: SocketState::Tcp(TcpConnection {
            own: address(own),
            peer: address(peer),
            other: Some(SocketIndex(other)),
            sends_no_more: other == 1,
            receives_no_more: false,
            queue: b"waits".to_vec(),
        }),
    };
    Tasks {
        net_namespaces: vec![NetNamespace {
            user_namespace: None,
            loopback_up: true,
        }],
        sockets: vec![end(80, 81, 1), end(81, 80, 0)],
        ..record()
    }
}

/// What version 4 added: a lock of each kind, the last on a range; a descriptor of a namespace; a
/// socket in a multicast group.
pub(crate) fn locked() -> Tasks {
    let mut tasks = record();
    tasks.files.push(OpenFile {
        target: OpenTarget::Namespace(OpenNamespace::Pid(tasks.processes[0].pid_namespace)),
        ..tasks.files[0].clone()
    });
    tasks.sockets = vec![Socket {
        family: SocketFamily::Inet,
        kind: SocketKind::Datagram,
        protocol: 17,
        net_namespace: None,
        options: Vec::new(),
        state: SocketState::Inet(InetSocket::default()),
    }];
    tasks.memberships = vec![Membership {
        socket: SocketIndex(0),
        device: 2,
        group: vec![224, 0, 0, 251],
        only: true,
        sources: vec![vec![10, 0, 0, 1]],
    }];
    let last = FileIndex(tasks.files.len() as u32 - 1);
    tasks.descriptor_tables[0].descriptors.push(Descriptor {
        number: 40,
        close_on_exec: false,
        file: last,
    });
    let lock = |owner| FileLock {
        file: FileIndex(0),
        owner,
        exclusive: false,
        start: 0,
        last: None,
    };
    Tasks {
        locks: vec![
            FileLock {
                exclusive: true,
                ..lock(LockOwner::Whole)
            },
            lock(LockOwner::Description),
            FileLock {
                start: 5,
                last: Some(9),
                ..lock(LockOwner::Table(DescriptorTableIndex(0)))
            },
        ],
        ..tasks
    }
}

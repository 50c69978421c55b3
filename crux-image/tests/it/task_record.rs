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
        pid_for_children: Vec::new(),
    }
}

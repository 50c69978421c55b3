//! An image that is made by hand: one process, whose program is a few instructions.
//!
//! Kind: effect. It stands for what a dump would have written, and needs none.

use anyhow::{Context as _, Result};
use crux_image::directory::ImageWriter;
use crux_image::inventory::{ImageFacts, ImageId};
use crux_image::member::MemberKind;
use crux_image::mounts::{
    External, ExternalRole, FileKind, Mount, MountIndex, Mounts, Namespace, Origin, Propagation,
};
use crux_image::path::RelPath;
use crux_image::tasks::*;
use crux_tests::Lab;
use crux_trace::{Options, Running, Tid, Waited};
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

pub(crate) const CODE: u64 = 0x1000_0000;
pub(crate) const STACK: u64 = 0x2000_0000;

/// Writes `M` to descriptor 1, then reads a byte from descriptor 0, and ends with 7.
pub(crate) const PROGRAM: &[u8] = &[
    0xc6, 0x04, 0x24, b'M', // mov byte ptr [rsp], 'M'
    0xbf, 1, 0, 0, 0, // mov edi, 1
    0x48, 0x89, 0xe6, // mov rsi, rsp
    0xba, 1, 0, 0, 0, // mov edx, 1
    0xb8, 1, 0, 0, 0, // mov eax, 1
    0x0f, 0x05, // syscall
    0x31, 0xff, // xor edi, edi
    0x31, 0xc0, // xor eax, eax
    0x0f, 0x05, // syscall
    0xbf, 7, 0, 0, 0, // mov edi, 7
    0xb8, 231, 0, 0, 0, // mov eax, 231
    0x0f, 0x05, // syscall
];

/// What a task of this machine has that no record can make up: the size of its xsave area, and selectors.
fn sample() -> Result<(Vec<u8>, Registers)> {
    let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).spawn()?;
    let tid = Tid::new(child.id()).context("a pid")?;
    let running = Running::seize(tid, Options::EXIT_KILL)?;
    running.interrupt()?;
    let Waited::Stopped(task) = running.wait()? else {
        anyhow::bail!("the sample has ended");
    };
    let (xstate, found) = (task.xstate()?.len(), task.registers()?);
    child.kill()?;
    child.wait()?;
    let registers = Registers {
        rip: CODE,
        rsp: STACK + 0x800,
        cs: found.cs,
        ss: found.ss,
        eflags: 0x202,
        orig_rax: u64::MAX,
        ..Registers::default()
    };
    let mut area = vec![0; xstate];
    // The control words as a new program has them; no part of it is in use.
    area[0..2].copy_from_slice(&0x37f_u16.to_le_bytes());
    area[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
    Ok((area, registers))
}

fn mounts() -> Mounts {
    let root = External {
        name: "root".into(),
        role: ExternalRole::Root,
        kind: FileKind::Directory,
        wish: None,
        group_wish: None,
        fs_type: "tmpfs".into(),
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
        attributes: crux_image::mounts::MountAttributes::default(),
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

/// A place in its root directory.
pub(crate) fn place(path: &str) -> Location {
    Location {
        namespace: 0.into(),
        mount: MountIndex(0),
        path: RelPath::new(path).unwrap(),
    }
}

fn area(start: u64, write: bool, page: Option<u64>) -> Area {
    let run = |offset| PageRun {
        start,
        count: 1,
        source: PageSource::Data(offset),
    };
    Area {
        start,
        end: start + PAGE_SIZE,
        protection: Protection {
            read: true,
            write,
            execute: !write,
        },
        sharing: Sharing::Private,
        backing: Backing::Anonymous,
        offset: 0,
        flags: AreaFlags::default(),
        name: None,
        pages: page.map(run).into_iter().collect(),
    }
}

fn space() -> AddressSpace {
    AddressSpace {
        layout: MemoryLayout {
            start_code: CODE,
            end_code: CODE + 1,
            start_data: STACK,
            end_data: STACK + 1,
            start_brk: 0x3000_0000,
            brk: 0x3000_0000,
            start_stack: STACK,
            arg_start: STACK,
            arg_end: STACK,
            env_start: STACK,
            env_end: STACK,
        },
        auxv: vec![0; 32],
        exe: place("program"),
        exe_unlinked: None,
        areas: vec![area(CODE, false, Some(0)), area(STACK, true, None)],
        vdso: None,
    }
}

fn thread() -> Result<Thread> {
    let (xstate, registers) = sample()?;
    let all = capabilities()?;
    Ok(Thread {
        pids: vec![1],
        name: b"made by hand".to_vec(),
        registers,
        xstate,
        interrupted: Interrupted::No,
        mask: 1 << 9,
        pending: Vec::new(),
        alternate_stack: AlternateStack {
            address: 0,
            size: 0,
            flags: 2,
        },
        tid_address: 0,
        robust_list: RobustList {
            head: 0,
            length: 24,
        },
        rseq: None,
        credentials: Credentials {
            uids: [0; 4],
            gids: [0; 4],
            groups: Vec::new(),
            capabilities: Capabilities {
                inheritable: 0,
                permitted: all,
                effective: all,
                bounding: all,
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
        affinity: vec![1, 0, 0, 0, 0, 0, 0, 0],
        io_priority: 0,
        timer_slack: 50_000,
        parent_death_signal: 0,
        seccomp: SeccompState::Off,
    })
}

/// Those that this process holds.
fn capabilities() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:\t"));
    Ok(u64::from_str_radix(line.context("CapBnd")?, 16)?)
}

/// 16 limits that any machine lets a process have.
fn limits() -> Vec<Limit> {
    let lower = [(3, 8 << 20), (4, 0), (6, 1000), (7, 1024), (8, 65536)];
    let lower = lower
        .into_iter()
        .chain([(11, 1000), (12, 4096), (13, 0), (14, 0)]);
    let mut limits = vec![
        Limit {
            soft: u64::MAX,
            hard: u64::MAX
        };
        16
    ];
    for (resource, value) in lower {
        limits[resource] = Limit {
            soft: value,
            hard: value,
        };
    }
    limits
}

/// The record; a test may change it.
pub(crate) fn record() -> Result<Tasks> {
    let process = Process {
        parent: None,
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
        coredump_filter: 0x31,
        limits: limits(),
        actions: vec![SignalAction {
            signal: 12,
            handler: 1,
            flags: 0,
            restorer: 0,
            mask: 0,
        }],
        pending: Vec::new(),
        interval_timers: Default::default(),
        posix_timers: Vec::new(),
        space: Some(SpaceIndex(0)),
        descriptors: Some(DescriptorTableIndex(0)),
        fs: Some(FsIndex(0)),
        mount_namespace: Some(0.into()),
        user_namespace: None,
        uts_namespace: Some(UtsNsIndex(0)),
        ipc_namespace: None,
        net_namespace: Some(NetNsIndex(0)),
        cgroup_namespace: None,
        time_namespace: None,
        cgroups: Vec::new(),
        threads: vec![thread()?],
    };
    let stream = |name: &str, access| OpenFile {
        target: OpenTarget::External {
            name: name.into(),
            kind: FileKind::Fifo,
            described: b"pipe:[1]".to_vec(),
        },
        access,
        flags: FileFlags::default(),
        position: 0,
        owner: None,
    };
    let descriptor = |number| Descriptor {
        number,
        close_on_exec: false,
        file: FileIndex(number),
    };
    Ok(Tasks {
        clocks: Clocks::default(),
        processes: vec![process],
        spaces: vec![space()],
        shared_memory: Vec::new(),
        descriptor_tables: vec![DescriptorTable {
            descriptors: vec![descriptor(0), descriptor(1)],
        }],
        files: vec![
            stream("stdin", FileAccess::Read),
            stream("stdout", FileAccess::Write),
        ],
        unlinked: Vec::new(),
        pipes: Vec::new(),
        fs: vec![FsContext {
            root: place(""),
            working: place(""),
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
            host_name: b"made".to_vec(),
            domain_name: b"(none)".to_vec(),
        }],
        ipc_namespaces: Vec::new(),
        net_namespaces: vec![NetNamespace {
            user_namespace: None,
            loopback_up: false,
        }],
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
    })
}

/// Writes an image with it, and a root directory for it. The options of a restore.
pub(crate) fn image(lab: &Lab, tasks: &Tasks) -> Result<(PathBuf, Vec<String>)> {
    let (images, root) = (lab.path("images"), lab.path("root"));
    fs::create_dir(&root)?;
    fs::copy("/bin/true", root.join("program"))?;
    let mounts = mounts();
    let mut writer = ImageWriter::create(&images)?;
    writer.write_mounts(&mounts)?;
    writer.write_tasks(tasks, &mounts)?;
    let mut page = PROGRAM.to_vec();
    page.resize(PAGE_SIZE as usize, 0);
    writer.raw(MemberKind::Pages)?.write_all(&page)?;
    writer.finish(ImageFacts {
        id: ImageId([7; 16]),
        crux_version: "0".into(),
        kernel_release: "6".into(),
        architecture: "x86_64".into(),
        created: 0,
        pid: 1,
        command: b"program".to_vec(),
    })?;
    Ok((images, vec![format!("--root={}", root.display())]))
}

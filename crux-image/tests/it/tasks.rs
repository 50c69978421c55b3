//! Records of tasks: what the rules refuse, what a person sees, and what damage cannot do.

use super::task_record::record;
use super::vivid;
use crux_image::codec;
use crux_image::directory::{ImageReader, ImageWriter};
use crux_image::inventory::{ImageFacts, ImageId};
use crux_image::member::MemberKind;
use crux_image::mounts::{FileKind, MountIndex};
use crux_image::render;
use crux_image::tasks::*;
use proptest::prelude::*;

/// The same with all that version 1 did not know.
fn whole() -> Tasks {
    let namespace = NetNamespace {
        user_namespace: None,
        loopback_up: true,
    };
    Tasks {
        net_namespaces: vec![namespace],
        networks: vec![network()],
        ..record()
    }
}

/// `lo`, and a device whose other end is outside.
fn network() -> Network {
    let device = |index, name: &[u8], kind| NetDevice {
        index,
        name: name.to_vec(),
        kind,
        hardware: vec![0; 6],
        mtu: 1500,
        queue: 0,
        flags: 1,
        master: 0,
        port: Vec::new(),
        group: 0,
        alias: Vec::new(),
    };
    let end = OutsideEnd {
        name: b"vethout".to_vec(),
        bridge: b"br0".to_vec(),
        hardware: vec![2; 6],
        mtu: 1500,
        up: true,
    };
    let attribute = |kind, value: &[u8]| NetAttribute {
        kind,
        value: value.to_vec(),
    };
    Network {
        namespace: NetNsIndex(0),
        devices: vec![
            device(1, b"lo", NetDeviceKind::Loopback),
            device(2, b"eth0", NetDeviceKind::Veth(VethPeer::Outside(end))),
        ],
        addresses: vec![NetEntry {
            header: vec![2, 24, 0, 0, 2, 0, 0, 0],
            attributes: vec![attribute(2, &[10, 0, 0, 2])],
        }],
        routes: vec![NetEntry {
            header: vec![2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0],
            attributes: vec![attribute(5, &[10, 0, 0, 1]), attribute(4, &[2, 0, 0, 0])],
        }],
        rules: Vec::new(),
        neighbours: Vec::new(),
        sysctls: vec![NetSysctl {
            name: b"ipv4/ip_forward".to_vec(),
            value: b"1".to_vec(),
        }],
    }
}

fn terminal(name: &str) -> Terminal {
    Terminal {
        name: name.into(),
        place: None,
        number: 0,
        settings: vec![0; 44],
        window: [24, 80, 0, 0],
        exclusive: false,
        packets: false,
        locked: false,
        hung_up: false,
        unread_input: 0,
        unread_output: 0,
        uid: 0,
        gid: 5,
        mode: 0o620,
    }
}

fn controls(leader: u32) -> ControllingTerminal {
    ControllingTerminal {
        leader: ProcessIndex(leader),
        terminal: TerminalIndex(0),
        foreground: 0,
    }
}

/// One change to a good record each, and what is said of it.
#[test]
fn every_rule_is_kept() {
    type Change = fn(&mut Tasks);
    let cases: &[(Change, &str)] = &[
        (|t| t.processes.clear(), "there is no process"),
        (
            |t| t.processes[1].parent = Some(ProcessIndex(1)),
            "does not stand before",
        ),
        (
            |t| t.processes[1].parent = None,
            "only the first has no parent",
        ),
        (
            |t| t.processes[0].parent = Some(ProcessIndex(0)),
            "only the first has no parent",
        ),
        (|t| t.processes[1].threads.clear(), "it has no thread"),
        (|t| t.processes[1].space = None, "lacks memory"),
        (
            |t| t.processes[1].space = Some(SpaceIndex(9)),
            "names address space 9",
        ),
        (
            |t| t.processes[1].state = ProcessState::Zombie(0),
            "has ended has memory",
        ),
        (
            |t| t.processes[1].state = ProcessState::Stopped(65),
            "65 is none of a signal",
        ),
        (
            |t| t.processes[1].threads[0].pids = vec![1],
            "two threads have the number 1",
        ),
        (
            |t| t.processes[1].threads[0].pids = vec![2, 3],
            "has 2 numbers",
        ),
        (
            |t| t.processes[1].threads[0].pids = vec![0],
            "0 is none of a process",
        ),
        (|t| t.processes[0].limits.truncate(3), "the list of limits"),
        (
            |t| t.processes[0].threads[0].pending[0].bytes.push(0),
            "siginfo_t",
        ),
        (
            |t| t.processes[0].cgroups[0].path = b"/a/../b".to_vec(),
            "a name is",
        ),
        (|t| t.processes[0].oom_score_adj = 1001, "oom_score_adj"),
        (|t| t.spaces[0].areas[0].end = 0x10001, "not of whole pages"),
        (
            |t| t.spaces[0].areas[0].end = u64::MAX - 4095,
            "beyond the end of user memory",
        ),
        (
            |t| {
                let area = t.spaces[0].areas[0].clone();
                t.spaces[0].areas.push(area)
            },
            "overlap",
        ),
        (
            |t| t.spaces[0].areas[0].pages[0].start = 0x9000,
            "lie outside",
        ),
        (
            |t| t.spaces[0].areas[0].pages[0].count = u64::MAX,
            "lie outside",
        ),
        (
            |t| t.spaces[0].areas[0].pages[0].source = PageSource::Data(1),
            "multiple of the page",
        ),
        (
            |t| t.spaces[0].areas[0].pages[0].source = PageSource::Parent,
            "those of the parent",
        ),
        (
            |t| t.spaces[0].areas[0].sharing = Sharing::Shared,
            "has pages of its own",
        ),
        (
            |t| t.spaces[0].exe.mount = MountIndex(999),
            "names mount 999",
        ),
        (
            |t| t.descriptor_tables[0].descriptors[0].file = FileIndex(1),
            "names open file 1",
        ),
        (
            |t| {
                let d = t.descriptor_tables[0].descriptors[0];
                t.descriptor_tables[0].descriptors.push(d)
            },
            "descriptors are not in order",
        ),
        (
            |t| t.files[0].target = OpenTarget::Pipe(PipeIndex(0), PipeEnd::Read),
            "names pipe 0",
        ),
        (
            |t| {
                t.files[0].target = OpenTarget::External {
                    name: "auto".into(),
                    kind: FileKind::Fifo,
                    described: Vec::new(),
                }
            },
            "the name of a grant",
        ),
        (
            |t| {
                t.pipes.push(Pipe {
                    capacity: 1,
                    packets: false,
                    data: vec![vec![0; 2]],
                })
            },
            "more data than fits",
        ),
        (
            |t| t.files[0].target = OpenTarget::Socket(SocketIndex(0)),
            "names socket 0",
        ),
        (
            |t| {
                t.sockets = pair();
                t.sockets[0].kind = SocketKind::Raw
            },
            "family, type and protocol",
        ),
        (
            |t| {
                t.sockets = pair();
                t.sockets[0].options[0].value.pop();
            },
            "option 16 of level 1",
        ),
        (
            |t| {
                t.sockets = pair();
                unix(t).connection = UnixConnection::Pair(SocketIndex(1))
            },
            "the other end of a socket",
        ),
        (
            |t| {
                t.sockets = pair();
                unix(t).queue[0].files = vec![FileIndex(9)]
            },
            "names open file 9",
        ),
        (
            |t| {
                t.sockets = pair();
                t.files[0].target = OpenTarget::Socket(SocketIndex(0));
                t.files.push(t.files[0].clone())
            },
            "are the same socket",
        ),
        (
            |t| {
                t.sockets = pair();
                t.sockets[0].family = SocketFamily::Netlink;
                t.sockets[0].kind = SocketKind::Raw;
                t.sockets[0].state = SocketState::Netlink(NetlinkSocket {
                    port: 1,
                    groups: vec![3, 2],
                    peer: (0, 0),
                })
            },
            "groups of a netlink socket",
        ),
        (
            |t| {
                t.sockets = pair();
                t.sockets[0].net_namespace = Some(NetNsIndex(9))
            },
            "names network namespace 9",
        ),
        (
            |t| t.pid_namespaces[0].parent = Some(PidNsIndex(0)),
            "pid namespace may be",
        ),
        (|t| t.fs[0].first = ProcessIndex(7), "names process 7"),
        (
            |t| {
                t.files[0].target = OpenTarget::Terminal(TerminalIndex(0), TerminalFile::Nameless);
            },
            "names terminal 0",
        ),
        (
            |t| {
                t.terminals.push(Terminal {
                    settings: Vec::new(),
                    ..terminal("a")
                });
            },
            "the settings of a terminal",
        ),
        (
            |t| t.terminals = vec![terminal("a"), terminal("a")],
            "have the name \"a\"",
        ),
        (
            |t| t.terminals = vec![terminal("auto")],
            "the name of a grant",
        ),
        (
            |t| {
                t.terminals = vec![terminal("a")];
                t.files[0].target = OpenTarget::Terminal(TerminalIndex(0), TerminalFile::Master);
            },
            "none of a terminal",
        ),
        (
            |t| {
                let place = t.fs[0].root.clone();
                t.terminals = vec![Terminal {
                    place: Some(place),
                    ..terminal("a")
                }];
            },
            "none of a terminal",
        ),
        (
            |t| {
                t.terminals = vec![terminal("a")];
                t.processes[1].session = 0;
                t.controlling = vec![controls(1)];
            },
            "its leader is none",
        ),
        (
            |t| {
                t.terminals = vec![terminal("a")];
                t.processes[0].session = t.processes[0].first_pid();
                t.controlling = vec![controls(0), controls(0)];
            },
            "one session has two",
        ),
        (
            |t| t.networks[0].namespace = NetNsIndex(1),
            "names network namespace 1",
        ),
        (
            |t| t.networks.push(t.networks[0].clone()),
            "two networks are of one namespace",
        ),
        (
            |t| t.networks[0].devices[1].index = 1,
            "not in the order of their indexes",
        ),
        (
            |t| t.networks[0].devices[1].kind = NetDeviceKind::Loopback,
            "the loopback device",
        ),
        (
            |t| t.networks[0].devices[1].name = b"a/b".to_vec(),
            "the name of a network device",
        ),
        (
            |t| t.networks[0].devices[1].hardware = vec![0; 33],
            "bytes of a hardware address",
        ),
        (
            |t| t.networks[0].addresses[0].header = vec![0; 9],
            "an address does not have the length",
        ),
        (
            |t| t.networks[0].routes[0].attributes[0].kind = 30,
            "a route has an attribute of type 30",
        ),
        (
            |t| t.networks[0].sysctls[0].name = b"ipv4/../../kernel/x".to_vec(),
            "a sysctl has a name",
        ),
    ];
    let mounts = vivid::mounts();
    whole().check(&mounts).unwrap();
    for (change, words) in cases {
        let mut tasks = whole();
        change(&mut tasks);
        let said = tasks.check(&mounts).expect_err(words).to_string();
        assert!(said.contains(words), "{said:?} has not {words:?}");
    }
}

/// What is particular to the second of them.
fn unix(tasks: &mut Tasks) -> &mut UnixSocket {
    match &mut tasks.sockets[1].state {
        SocketState::Unix(unix) => unix,
        other => panic!("{other:?}"),
    }
}

/// Two unix sockets that talk to each other.
fn pair() -> Vec<Socket> {
    let socket = |peer| Socket {
        family: SocketFamily::Unix,
        kind: SocketKind::Stream,
        protocol: 0,
        net_namespace: None,
        options: vec![SocketOption {
            level: SOL_SOCKET,
            name: SO_PASSCRED,
            value: vec![1, 0, 0, 0],
        }],
        state: SocketState::Unix(UnixSocket {
            name: None,
            connection: UnixConnection::Pair(SocketIndex(peer)),
            peer_credentials: None,
            receives_no_more: false,
            sends_no_more: false,
            queue: vec![UnixMessage {
                data: b"a".to_vec(),
                files: Vec::new(),
                credentials: None,
                sender: None,
            }],
        }),
    };
    vec![socket(1), socket(0)]
}

fn image() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let mounts = vivid::mounts();
    let mut writer = ImageWriter::create(&path).unwrap();
    let pages = writer.raw(MemberKind::Pages).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&pages, &[7; 3 * 4096], 0).unwrap();
    writer.raw_checksum(MemberKind::Pages, crc32fast::hash(&[7; 3 * 4096]));
    writer.write_mounts(&mounts).unwrap();
    writer.write_tasks(&whole(), &mounts).unwrap();
    let facts = ImageFacts {
        id: ImageId([1; 16]),
        crux_version: "0".into(),
        kernel_release: "6".into(),
        architecture: "x86_64".into(),
        created: 0,
        pid: 1,
        command: Vec::new(),
    };
    writer.finish(facts).unwrap();
    (dir, path)
}

#[test]
fn tasks_are_read_as_they_were_written_and_pages_are_verified() {
    let (_dir, path) = image();
    let reader = ImageReader::open(&path).unwrap();
    let mounts = reader.mounts().unwrap();
    assert_eq!(reader.tasks(&mounts).unwrap(), Some(whole()));
    let whole = |reader: &ImageReader| {
        let reports = reader.verify();
        reports
            .iter()
            .map(|it| (it.kind, format!("{:?}", it.finding)))
            .filter(|(_, finding)| finding != "Whole")
            .map(|(kind, _)| kind)
            .collect::<Vec<_>>()
    };
    assert_eq!(whole(&reader), []);
    let pages = std::fs::File::options()
        .write(true)
        .open(path.join("pages.raw"))
        .unwrap();
    std::os::unix::fs::FileExt::write_all_at(&pages, &[8], 4096).unwrap();
    assert_eq!(whole(&reader), [MemberKind::Pages]);
}

#[test]
fn a_person_sees_the_tree_and_each_task() {
    let (tasks, mounts) = (whole(), vivid::mounts());
    let tree = "\
Tasks         2 processes, 2 threads, 12 KiB of memory, 1 open file
  1 sh\\033 (running, 12 KiB)
    2 sh\\033 (running, 0 B)
Network       lo, eth0 (veth of vethout@br0 outside)
  address     10.0.0.2/24 device 2
  route       default via 10.0.0.1 device 2
  sysctl      ipv4/ip_forward=1
";
    assert_eq!(render::tasks_tree(&tasks, &mounts), tree);
    let one = render::one_task(&tasks, &mounts, 2).unwrap();
    assert!(one.contains("/bin/sh"), "{one}");
    assert!(one.contains("(0 pages, 3 of its parent's)"), "{one}");
    assert!(one.contains("3 /etc/a\\012b at 7 (close-on-exec)"), "{one}");
    assert_eq!(render::one_task(&tasks, &mounts, 3), None);
}

proptest! {
    /// Whatever the bytes are: an error, or a record that can be looked at.
    #[test]
    fn damage_is_an_error_or_another_record(at in 0usize..4000, bit in 0u8..8, cut in 0usize..4000) {
        let mounts = vivid::mounts();
        let mut bytes = codec::encode(&whole());
        let length = bytes.len();
        bytes[at % length] ^= 1 << bit;
        if cut % 4 == 0 {
            bytes.truncate(cut % length);
        }
        if let Ok(tasks) = codec::decode::<Tasks>(&bytes, MemberKind::Tasks.limit())
            && tasks.check(&mounts).is_ok()
        {
            render::tasks_tree(&tasks, &mounts);
            render::tasks_record(&tasks, &mounts);
        }
    }
}

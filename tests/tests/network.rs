//! Network namespaces with devices: dumped, ended and restored, and compared by ip(8), which knows
//! nothing of crux. The lab has a network namespace of its own, which plays the host's.

use anyhow::{Context as _, Result, ensure};
use crux_tests::workload::{dump, images, restore, start, start_in_this_network};
use crux_tests::{Container, Lab, Setup, in_child};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, netlink, send, socket_with};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Instant;

fn ip(arguments: &str) -> Result<String> {
    let mut command = Command::new("ip");
    let output = command.args(arguments.split(' ')).output().context("ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {arguments}: {said}");
    Ok(String::from_utf8(output.stdout)?)
}

/// In the network namespace of a process.
fn within(pid: u32, job: impl FnOnce() -> Result<String>) -> Result<String> {
    let answer = in_child(|| {
        let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        Ok(job()?.into_bytes())
    });
    Ok(String::from_utf8(answer?)?)
}

/// A lab that is a host of its own, with a bridge.
fn host() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    for command in [
        "link set lo up",
        "link add br0 address 02:00:00:00:01:00 type bridge",
        "addr add 10.77.0.1/24 dev br0",
        "link set br0 up",
    ] {
        ip(command)?;
    }
    Ok(())
}

/// A pair as LXC and Docker make it: one end in the container, the other a port of the host's bridge.
fn connect(container: &Container) -> Result<()> {
    let pid = container.pid;
    ip(&format!(
        "link add vethout address 02:00:00:00:01:01 mtu 1400 type veth \
         peer name eth0 address 02:00:00:00:00:02 mtu 1400 netns {pid}"
    ))?;
    ip("link set vethout master br0 up")?;
    inside(
        container,
        &[
            "link set lo up",
            "addr add 10.77.0.2/24 brd + dev eth0",
            "addr add 2001:db8::2/64 dev eth0",
            "link set eth0 up txqueuelen 77 alias the-first",
            "route add default via 10.77.0.1",
            "route add 10.99.0.0/16 via 10.77.0.9 metric 7 src 10.77.0.2",
            "-6 route add default via 2001:db8::1 dev eth0",
            "neigh add 10.77.0.9 lladdr 02:00:00:00:00:09 nud permanent dev eth0",
        ],
    )
}

fn inside(container: &Container, commands: &[&str]) -> Result<()> {
    let pid = container.pid.as_raw().unsigned_abs();
    let all = || {
        commands.iter().try_for_each(|it| ip(it).map(drop))?;
        Ok(String::new())
    };
    within(pid, all).map(drop)
}

/// Everything that ip(8) shows of a namespace, but for what is counted, found out or given by chance.
fn shown(pid: u32) -> Result<Vec<String>> {
    let text = within(pid, || {
        let questions = [
            "-d addr",
            "route show table all",
            "-6 route show table all",
            "rule",
            "-6 rule",
            "neigh show nud permanent",
            "neigh show proxy",
        ];
        let mut text = String::new();
        for question in questions {
            let answer = ip(question)?;
            let mut lines: Vec<_> = answer.lines().collect();
            // Those of the same destination by different devices are in no order that counts.
            if question.contains("route") {
                lines.sort_unstable();
            }
            text += &(lines.join("\n") + "\n");
        }
        Ok(text)
    })?;
    let lines = text.lines().map(|line| {
        let mut words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        let mut from = 0;
        while let Some(at) = words[from..]
            .iter()
            .position(|it| TIMED.contains(&it.as_str()))
        {
            words.drain(from + at..(from + at + 2).min(words.len()));
            from += at;
        }
        for word in &mut words {
            // The other end of a pair has another index.
            if let Some(at) = word.find("@if") {
                word.truncate(at);
            }
        }
        words.join(" ")
    });
    Ok(lines.collect())
}

/// The same, when all addresses have been found to be nobody else's.
fn settled(pid: u32) -> Result<Vec<String>> {
    let start = Instant::now();
    loop {
        let now = shown(pid)?;
        let tentative = now.iter().find(|line| line.contains("tentative"));
        match tentative {
            None => return Ok(now),
            Some(line) => ensure!(start.elapsed() < crux_tests::patience(20), "{line}"),
        }
        std::thread::yield_now();
    }
}

/// Words that are followed by something that time or chance has given.
const TIMED: [&str; 8] = [
    "hold_timer",
    "hello_timer",
    "tcn_timer",
    "topology_change_timer",
    "gc_timer",
    "message_age_timer",
    "forward_delay_timer",
    "link-netnsid",
];

/// Whether a machine answers, if only that nobody listens there.
fn answers(address: &str) -> Result<()> {
    let address: SocketAddr = address.parse()?;
    let error = TcpStream::connect_timeout(&address, crux_tests::patience(5)).err();
    let refused = error.as_ref().map(std::io::Error::kind) == Some(ErrorKind::ConnectionRefused);
    ensure!(refused, "connecting to {address}: {error:?}");
    Ok(())
}

/// Sets a namespace up, and compares it with what comes back. Then does something with it.
fn comes_back(
    lab: &Lab,
    prepare: impl FnOnce(&Container) -> Result<()>,
    then: impl FnOnce(u32) -> Result<()>,
) -> Result<()> {
    let container = start(lab, "nothing")?;
    prepare(&container)?;
    let pid = container.pid.as_raw().unsigned_abs();
    let before = settled(pid)?;
    dump(lab, &container, &["--leave-running"])?;
    becomes(pid, &before).context("the dump has changed it")?;
    fs::remove_dir_all(images(lab))?;
    dump(lab, &container, &[])?;
    drop(container);
    gone("vethout")?;
    let mut restored = restore(lab)?;
    let _ = restored.say("look");
    while !restored.printed()?.ends_with(b"ok\n") {
        if restored.ended()?.is_some() {
            let output = restored.finish()?.success("crux-restore")?;
            anyhow::bail!("it was to live: {output:?}");
        }
        std::thread::yield_now();
    }
    let pid = restored
        .descendant(&["/bin/crux-workload", "nothing"])
        .context("find the restored process")?;
    becomes(pid, &before)?;
    then(pid)?;
    restored.finish()?.success("crux-restore").map(drop)
}

/// What the kernel does of its own accord (carriers, addresses of IPv6 that are found to be nobody else's), it does
/// a little later.
fn becomes(pid: u32, wanted: &[String]) -> Result<()> {
    let start = Instant::now();
    loop {
        let now = shown(pid)?;
        if now == wanted {
            return Ok(());
        }
        let late = start.elapsed() > crux_tests::patience(10);
        ensure!(!late, "{}", changed(wanted, &now));
        std::thread::yield_now();
    }
}

fn changed(before: &[String], after: &[String]) -> String {
    let only = |mark: &str, these: &[String], those: &[String]| {
        let lines = these.iter().filter(|it| !those.contains(it));
        lines.map(|it| format!("{mark} {it}\n")).collect::<String>()
    };
    let mut pairs = before.iter().zip(after);
    let first = pairs.find(|(was, is)| was != is);
    let lengths = (before.len(), after.len());
    let order = format!("{lengths:?} lines, the first that differs: {first:?}\n");
    order + &only("-", before, after) + &only("+", after, before)
}

#[test]
fn root_a_pair_with_an_end_on_the_hosts_bridge_is_restored() {
    Lab::test(Setup::ROOT, |lab| {
        host()?;
        comes_back(lab, connect, |_| {
            let link = ip("link show dev vethout")?;
            ensure!(link.contains("master br0"), "{link}");
            answers("10.77.0.2:1")
        })
    });
}

/// `/proc/sys/net` of a process's namespace.
fn sysctl(pid: u32, name: &str) -> Result<String> {
    let path = format!("/proc/sys/net/{name}");
    within(pid, || {
        Ok(fs::read_to_string(&path).context(path)?.trim().to_owned())
    })
}

#[test]
fn root_devices_of_many_kinds_are_restored() {
    const SYSCTLS: [(&str, &str); 7] = [
        ("ipv4/ip_forward", "1"),
        ("ipv4/ip_unprivileged_port_start", "80"),
        ("ipv4/conf/all/rp_filter", "2"),
        ("ipv4/conf/d0/rp_filter", "1"),
        ("ipv4/ping_group_range", "0\t7"),
        ("ipv6/conf/in0/disable_ipv6", "1"),
        ("core/somaxconn", "77"),
    ];
    Lab::test(Setup::ROOT, |lab| {
        host()?;
        let prepare = |container: &Container| {
            inside(
                container,
                &[
                    "link set lo up",
                    "addr add 192.0.2.77/32 dev lo",
                    "link add d0 index 40 type veth peer name d1 index 50",
                    "link add in0 type veth peer name in1",
                    "link add br7 type bridge ageing_time 7000 forward_delay 700",
                    "link set in1 master br7",
                    "addr add 192.0.2.1/25 dev d0 label d0:one",
                    "addr add 192.0.2.2/25 dev d0",
                    "addr add 198.51.100.1 peer 198.51.100.2/32 dev br7",
                    "link set d0 up multicast off",
                    "link set d1 up",
                    "link set in0 up arp off",
                    "link set br7 up",
                    "link set in1 up promisc on",
                    "route add 203.0.113.0/24 table 77 nexthop via 192.0.2.3 weight 3 nexthop via 192.0.2.4",
                    "route add unreachable 203.0.114.0/24",
                    "route add 203.0.115.0/24 via 192.0.2.5 mtu 1300 dev d0",
                    "-6 addr add 2001:db8:7::1/64 dev d0 nodad noprefixroute",
                    "-6 route add 2001:db8:8::/48 via 2001:db8:7::2 dev d0 onlink",
                    "rule add from 192.0.2.0/25 fwmark 7 lookup 77 priority 100",
                    "rule del priority 32767",
                    "-6 rule add iif d0 lookup 78",
                    "neigh add proxy 192.0.2.9 dev d0",
                ],
            )?;
            let pid = container.pid.as_raw().unsigned_abs();
            let set = || {
                for (name, value) in SYSCTLS {
                    let path = format!("/proc/sys/net/{name}");
                    fs::write(&path, value).context(path)?;
                }
                Ok(String::new())
            };
            within(pid, set).map(drop)
        };
        comes_back(lab, prepare, |pid| {
            for (name, value) in SYSCTLS {
                let found = sysctl(pid, name)?;
                ensure!(found == value, "{name} is {found}, not {value}");
            }
            Ok(())
        })
    });
}

/// What cannot be restored is named, and nothing has happened.
fn refused(lab: &Lab, prepare: &[&str], said: &str) -> Result<()> {
    let container = start(lab, "nothing")?;
    inside(&container, prepare)?;
    let pid = container.pid.as_raw().unsigned_abs();
    let options = ["--external", "auto"];
    let output = lab.programs.dump_tasks(pid, &images(lab), &options)?;
    ensure!(output.code() == Some(3), "{output:?}");
    ensure!(output.stderr.contains(said), "{}", output.stderr);
    ensure!(!images(lab).exists(), "there is an image");
    Ok(())
}

#[test]
fn root_devices_of_other_kinds_are_refused_by_name() {
    let cases: [(&[&str], &str); 3] = [
        (&["link add wg7 type ifb"], "the device wg7 of kind ifb"),
        (
            &[
                "link add b7 type bridge",
                "link add m7 link b7 type macvlan",
            ],
            "the device m7 of kind macvlan",
        ),
        (
            &[
                "link set lo up",
                "nexthop add id 7 blackhole",
                "route add 203.0.113.0/24 nhid 7",
            ],
            "objects of next hops",
        ),
    ];
    for (prepare, said) in cases {
        Lab::test(Setup::ROOT, |lab| refused(lab, prepare, said));
    }
}

/// One message makes a table: `nft` is not on every machine.
fn make_nft_table() -> Result<()> {
    let message = |kind: u16, body: &[u8]| {
        let mut bytes = Vec::from((16 + body.len() as u32).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        // NLM_F_REQUEST|NLM_F_CREATE
        bytes.extend(0x401_u16.to_ne_bytes());
        bytes.extend([0; 8]);
        [&bytes, body].concat()
    };
    // struct nfgenmsg: family, version, resource; NFTA_TABLE_NAME
    let table = b"\x02\0\0\0\x09\0\x01\0held\0\0\0\0";
    let batch = [
        message(0x10, &[0, 0, 0, 10]),
        message(10 << 8, table),
        message(0x11, &[0, 0, 0, 10]),
    ];
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(netlink::NETFILTER))?;
    send(&socket, &batch.concat(), SendFlags::empty())?;
    Ok(())
}

#[test]
fn root_filters_of_packets_are_refused_by_name() {
    Lab::test(Setup::ROOT, |lab| {
        let container = start(lab, "nothing")?;
        let pid = container.pid.as_raw().unsigned_abs();
        within(pid, || make_nft_table().map(|()| String::new()))?;
        let options = ["--external", "auto"];
        let output = lab.programs.dump_tasks(pid, &images(lab), &options)?;
        ensure!(output.code() == Some(3), "{output:?}");
        let said = "the nftables table held";
        ensure!(output.stderr.contains(said), "{}", output.stderr);
        Ok(())
    });
}

#[test]
fn root_an_outer_end_is_what_the_operator_grants_and_nothing_else() {
    Lab::test(Setup::ROOT, |lab| {
        host()?;
        let container = start(lab, "nothing")?;
        connect(&container)?;
        dump(lab, &container, &[])?;
        drop(container);
        let root = format!("--root={}", lab.path("root").display());
        // All but the device is granted, as crux-restore itself says.
        let refused = lab
            .programs
            .restore_tasks(&images(lab), &[&root])?
            .finish()?;
        let line = refused.stderr.lines().last().unwrap_or_default().to_owned();
        let others: Vec<_> = line.split_whitespace().chain([root.as_str()]).collect();
        let refused = lab
            .programs
            .restore_tasks(&images(lab), &others)?
            .finish()?;
        ensure!(refused.code() == Some(3), "{refused:?}");
        let asked = "--external veth:eth0=vethout@br0";
        ensure!(refused.stderr.contains(asked), "{}", refused.stderr);
        // Another one than the image names.
        let granted = ["--external", "veth:eth0=another@br0"];
        let options = [&others[..], &granted].concat();
        let mut restored = lab.programs.restore_tasks(&images(lab), &options)?;
        let _ = restored.say("look");
        while !restored.printed()?.ends_with(b"ok\n") {
            ensure!(restored.ended()?.is_none(), "{:?}", restored.finish()?);
            std::thread::yield_now();
        }
        let link = ip("link show dev another")?;
        ensure!(link.contains("master br0"), "{link}");
        answers("10.77.0.2:1")?;
        restored.finish()?.success("crux-restore")?;
        gone("another")
    });
}

/// What is in the way is named, and undone.
#[test]
fn root_a_name_that_is_taken_undoes_a_restore() {
    Lab::test(Setup::ROOT, |lab| {
        host()?;
        let container = start(lab, "nothing")?;
        connect(&container)?;
        dump(lab, &container, &[])?;
        drop(container);
        gone("vethout")?;
        ip("link add vethout type bridge")?;
        let output = restore(lab)?.finish()?;
        ensure!(output.code() == Some(6), "{output:?}");
        let said = "netlink RTM_NEWLINK device 0 \"vethout\"";
        ensure!(output.stderr.contains(said), "{}", output.stderr);
        ensure!(output.stderr.contains("EEXIST"), "{}", output.stderr);
        Ok(())
    });
}

/// The kernel ends a namespace a little after its last task.
fn gone(device: &str) -> Result<()> {
    let start = Instant::now();
    while ip(&format!("link show dev {device}")).is_ok() {
        ensure!(
            start.elapsed() < crux_tests::patience(10),
            "{device} is still there"
        );
        std::thread::yield_now();
    }
    Ok(())
}

/// Where the network is the caller's, others may have the ports when the container comes back.
#[test]
fn root_connections_of_tcp_in_the_callers_network_are_refused_by_name() {
    Lab::test(Setup::ROOT, |lab| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let container = start_in_this_network(lab, "connection-of-processes")?;
        let pid = container.pid.as_raw().unsigned_abs();
        let options = ["--external", "auto"];
        let output = lab.programs.dump_tasks(pid, &images(lab), &options)?;
        ensure!(output.code() == Some(3), "{output:?}");
        let said = "to 127.0.0.1:7005 is in the network namespace of the caller";
        ensure!(output.stderr.contains(said), "{}", output.stderr);
        Ok(())
    });
}

/// Connections of TCP that cannot be kept are named with both ends and their state, or what is in the way.
#[test]
fn root_connections_of_tcp_are_refused_by_name() {
    let nobody = ["(established)", "to 127.0.0.1:7004", "nobody has accepted"];
    let no_room = ["to 127.0.0.1:7005 with", "bytes for which", "has no room"];
    for (scenario, words) in [
        ("connected", &nobody[..]),
        ("full-connection", &no_room),
        ("urgent-byte", &["urgent data"]),
        ("urgent-byte-taken", &["behind an urgent byte"]),
    ] {
        Lab::test(Setup::ROOT, |lab| {
            let container = start(lab, scenario)?;
            let pid = container.pid.as_raw().unsigned_abs();
            let options = ["--external", "auto"];
            let output = lab.programs.dump_tasks(pid, &images(lab), &options)?;
            ensure!(output.code() == Some(3), "{scenario}: {output:?}");
            for said in words {
                ensure!(
                    output.stderr.contains(said),
                    "{scenario}: {}",
                    output.stderr
                );
            }
            Ok(())
        });
    }
}

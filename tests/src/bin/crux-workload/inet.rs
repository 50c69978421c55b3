//! Sockets of IP on the loopback device: UDP, and TCP that listens.
//!
//! Kind: effect.

use super::{Verify, same, sys};
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrV6, SocketFlags, SocketType, bind, listen, send, socket,
    socket_with, sockopt,
};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

const PATIENCE: Option<Duration> = Some(Duration::from_secs(5));

/// Long enough for what goes over the loopback device.
const SOON: Option<Duration> = Some(Duration::from_millis(300));

const IDLE: Duration = Duration::from_secs(77);

/// Puts the loopback device into operation: `RTM_NEWLINK` of rtnetlink(7).
pub(crate) fn loopback() {
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None).expect("socket");
    let mut message = [0; 32];
    // Length, type, NLM_F_REQUEST; index, IFF_UP, and that it changes.
    (message[0], message[4], message[6]) = (32, 16, 1);
    (message[20], message[24], message[28]) = (1, 1, 1);
    send(&socket, &message, SendFlags::empty()).expect("send");
}

/// Datagrams go to and fro, also between sockets that know each other.
pub(crate) fn datagrams() -> Verify {
    loopback();
    let one = UdpSocket::bind("127.0.0.1:7001").expect("bind");
    let two = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let six = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 7002)).expect("bind");
    two.connect("127.0.0.1:7001").expect("connect");
    one.set_ttl(77).expect("IP_TTL");
    one.set_broadcast(true).expect("SO_BROADCAST");
    sockopt::set_ipv6_unicast_hops(&six, Some(77)).expect("IPV6_UNICAST_HOPS");
    for socket in [&one, &two, &six] {
        socket.set_read_timeout(PATIENCE).expect("SO_RCVTIMEO");
    }
    let port = two.local_addr().expect("getsockname").port();
    Box::new(move || {
        let mut wrong = Vec::new();
        let mut bytes = [0; 8];
        wrong.extend(failed("send", two.send(b"there")));
        match one.recv_from(&mut bytes) {
            Ok((length, from)) => {
                wrong.extend(same("datagram", &bytes[..length], b"there"));
                wrong.extend(same("sender", from.port(), port));
                wrong.extend(failed("send", one.send_to(b"back", from)));
            }
            Err(error) => wrong.push(format!("recv: {error}")),
        }
        wrong.extend(same("answer", two.recv(&mut bytes).ok(), Some(4)));
        wrong.extend(failed(
            "send",
            one.send_to(b"six", "127.0.0.1:7002").map(drop),
        ));
        wrong.extend(failed("send", six.send_to(b"six", "[::1]:7002")));
        wrong.extend(same("itself", six.recv(&mut bytes).ok(), Some(3)));
        wrong.extend(same("IP_TTL", one.ttl().ok(), Some(77)));
        wrong.extend(same("SO_BROADCAST", one.broadcast().ok(), Some(true)));
        let hops = sockopt::ipv6_unicast_hops(&six).ok();
        wrong.extend(same("IPV6_UNICAST_HOPS", hops, Some(77)));
        wrong.extend(same(
            "peer",
            two.peer_addr().ok().map(|it| it.port()),
            Some(7001),
        ));
        wrong
    })
}

/// Groups of both families, one that is heard from a single source only, and one of IPv4 of a socket of IPv6. Who has
/// joined none hears nothing.
pub(crate) fn multicast() -> Verify {
    const LOOPBACK: u32 = 1;
    const IP_MULTICAST_ALL: i32 = 49;
    const IPV6_MULTICAST_ALL: i32 = 29;
    loopback();
    let (here, all) = (Ipv4Addr::LOCALHOST, Ipv4Addr::new(239, 1, 2, 3));
    let (few, other) = (Ipv4Addr::new(239, 1, 2, 4), Ipv4Addr::new(239, 1, 2, 5));
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x1234);
    let four = UdpSocket::bind("0.0.0.0:7011").expect("bind");
    let six = UdpSocket::bind("[::]:7012").expect("bind");
    let neither = UdpSocket::bind("0.0.0.0:7013").expect("bind");
    for socket in [&four, &six, &neither] {
        // Else a socket hears all that anybody here has joined.
        sys::set_option(socket, 0, IP_MULTICAST_ALL, 0).expect("IP_MULTICAST_ALL");
        socket.set_read_timeout(SOON).expect("SO_RCVTIMEO");
    }
    sys::set_option(&six, 41, IPV6_MULTICAST_ALL, 0).expect("IPV6_MULTICAST_ALL");
    four.join_multicast_v4(&all, &here).expect("join");
    six.join_multicast_v6(&group, LOOPBACK).expect("join");
    sockopt::set_ip_add_source_membership(&four, &few, &here, &here).expect("join");
    let elsewhere = Ipv4Addr::new(127, 0, 0, 9);
    sockopt::set_ip_add_source_membership(&four, &other, &here, &elsewhere).expect("join");
    sockopt::set_ip_add_membership(&six, &other, &here).expect("join");
    let sender = UdpSocket::bind("127.0.0.1:0").expect("bind");
    sockopt::set_ip_multicast_if(&sender, &here).expect("IP_MULTICAST_IF");
    sockopt::set_ipv6_multicast_if(&six, LOOPBACK).expect("IPV6_MULTICAST_IF");
    Box::new(move || {
        let mut wrong = Vec::new();
        for (what, socket, address, heard) in [
            ("a group", &four, (all, 7011), true),
            ("one source", &four, (few, 7011), true),
            ("another source", &four, (other, 7011), false),
            ("one of IPv4 there", &six, (other, 7012), true),
            ("another of IPv4 there", &six, (all, 7012), false),
            ("none", &neither, (all, 7013), false),
        ] {
            wrong.extend(failed("send", sender.send_to(b"to all", address)));
            let found = socket.recv(&mut [0; 8]).is_ok();
            wrong.extend(same(what, found, heard));
        }
        // The loopback device has no route for it.
        let groups = std::fs::read_to_string("/proc/self/net/igmp6").unwrap_or_default();
        let joined = groups.contains("ff020000000000000000000000001234");
        wrong.extend(same("a group of IPv6", joined, true));
        let device = sockopt::ipv6_multicast_if(&six).ok();
        wrong.extend(same("IPV6_MULTICAST_IF", device, Some(LOOPBACK)));
        wrong
    })
}

/// Both families on one port, and a privileged one.
pub(crate) fn listening() -> Verify {
    loopback();
    let one = TcpListener::bind("127.0.0.1:7003").expect("bind");
    let low = TcpListener::bind("0.0.0.0:80").expect("bind");
    let six = only_six(7003);
    sockopt::set_tcp_keepidle(&one, IDLE).expect("TCP_KEEPIDLE");
    sockopt::set_socket_keepalive(&one, true).expect("SO_KEEPALIVE");
    sockopt::set_socket_reuseport(&low, true).expect("SO_REUSEPORT");
    // One that is made and not bound, and one that is only bound.
    let new = socket(AddressFamily::INET, SocketType::STREAM, None).expect("socket");
    Box::new(move || {
        let mut wrong = Vec::new();
        for (name, listener, to) in [
            ("127.0.0.1", &one, "127.0.0.1:7003"),
            ("a low port", &low, "127.0.0.1:80"),
            ("::1", &six, "[::1]:7003"),
        ] {
            wrong.extend(
                talk(listener, to)
                    .err()
                    .map(|error| format!("{name}: {error}")),
            );
        }
        let idle = sockopt::tcp_keepidle(&one).ok();
        wrong.extend(same("TCP_KEEPIDLE", idle, Some(IDLE)));
        let alive = sockopt::socket_keepalive(&one).ok();
        wrong.extend(same("SO_KEEPALIVE", alive, Some(true)));
        let reuse = sockopt::socket_reuseport(&low).ok();
        wrong.extend(same("SO_REUSEPORT", reuse, Some(true)));
        let accepts = sockopt::socket_acceptconn(&new).ok();
        wrong.extend(same("a new one", accepts, Some(false)));
        wrong
    })
}

/// A connection that waits to be accepted.
pub(crate) fn connected() -> Verify {
    loopback();
    let listener = TcpListener::bind("127.0.0.1:7004").expect("bind");
    let client = TcpStream::connect("127.0.0.1:7004").expect("connect");
    Box::new(move || {
        let both = (&listener, &client);
        same("peer", both.1.peer_addr().ok(), both.0.local_addr().ok())
            .into_iter()
            .collect()
    })
}

fn only_six(port: u16) -> TcpListener {
    let socket = socket(AddressFamily::INET6, SocketType::STREAM, None).expect("socket");
    sockopt::set_ipv6_v6only(&socket, true).expect("IPV6_V6ONLY");
    let address = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0);
    bind(&socket, &address).expect("bind");
    listen(&socket, 7).expect("listen");
    socket.into()
}

/// A connection that is made and ends, leaving nothing: its client ends it by a reset.
fn talk(listener: &TcpListener, to: &str) -> std::io::Result<()> {
    let mut client = TcpStream::connect(to)?;
    let (mut server, _) = listener.accept()?;
    client.write_all(b"hello")?;
    let mut bytes = [0; 5];
    server.read_exact(&mut bytes)?;
    sockopt::set_socket_linger(&client, Some(Duration::ZERO))?;
    Ok(())
}

fn failed<T>(call: &str, result: std::io::Result<T>) -> Option<String> {
    result.err().map(|error| format!("{call}: {error}"))
}

//! Connections of TCP, both ends of which are in the container.
//!
//! Kind: effect.

use super::inet::loopback;
use super::sockets::{NOW, hear, pair, tell};
use super::{Verify, same, sys};
use nix::sys::socket::{MsgFlags, SockType};
use rustix::net::{
    AddressFamily, SocketAddrV4, SocketType, bind, connect, listen, socket, sockopt,
};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

const IDLE: Duration = Duration::from_secs(77);
/// More than a socket takes as it is made, and than is sent again at once.
const MUCH: usize = 1_500_000;
const AMPLE: usize = 8 << 20;

/// Who connected, and who was accepted.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    addresses: [Option<SocketAddr>; 4],
}

impl Connection {
    fn new(listener: &TcpListener, to: &str) -> Self {
        let client = TcpStream::connect(to).expect("connect");
        let (server, _) = listener.accept().expect("accept");
        let addresses = addresses(&client, &server);
        Self {
            client,
            server,
            addresses,
        }
    }

    fn fill(&self) {
        tell(&self.client, "to the server");
        tell(&self.server, "to the client");
    }

    /// Both ends have what the other has sent, and their addresses.
    fn look(&self, name: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        let heard = [hear(&self.server, NOW), hear(&self.client, NOW)];
        let wanted = ["to the server", "to the client"].map(str::to_owned);
        wrong.extend(same(&format!("data of {name}"), heard, wanted));
        let found = addresses(&self.client, &self.server);
        wrong.extend(same(&format!("ends of {name}"), found, self.addresses));
        self.fill();
        wrong
    }
}

fn addresses(client: &TcpStream, server: &TcpStream) -> [Option<SocketAddr>; 4] {
    let of = |it: &TcpStream| [it.local_addr().ok(), it.peer_addr().ok()];
    let ([one, two], [three, four]) = (of(client), of(server));
    [one, two, three, four]
}

/// One that listens everywhere, and does not let others have its port.
fn jealous(port: u16) -> TcpListener {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("socket");
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)).expect("bind");
    listen(&socket, 3).expect("listen");
    socket.into()
}

/// What waits, without taking it, and whether the end is behind it.
fn last_words(end: &impl AsFd, words: &str) -> bool {
    let heard = hear(end, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
    let over = sockopt::socket_error(end).is_ok_and(|it| it.is_ok());
    heard == words && over && has_ended(end)
}

fn has_ended(end: &impl AsFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec::default();
    let mut fds = [PollFd::new(end, PollFlags::RDHUP)];
    poll(&mut fds, Some(&now)).expect("poll");
    fds[0].revents().contains(PollFlags::RDHUP)
}

/// Waits until what was sent has come, and the end.
fn until_ended(end: &impl AsFd) {
    while !has_ended(end) {
        std::thread::yield_now();
    }
}

/// Of both families and between them, within a process, with data that waits, with the listener and without.
pub(crate) fn open() -> Verify {
    loopback();
    let here = TcpListener::bind("127.0.0.1:7005").expect("bind");
    let six = TcpListener::bind("[::1]:7005").expect("bind");
    let both = TcpListener::bind("[::]:7006").expect("bind");
    let jealous = jealous(7007);
    let left = TcpListener::bind("127.0.0.1:7008").expect("bind");
    let all = [
        ("IPv4", Connection::new(&here, "127.0.0.1:7005")),
        ("a second one", Connection::new(&here, "127.0.0.1:7005")),
        ("IPv6", Connection::new(&six, "[::1]:7005")),
        ("IPv4 in IPv6", Connection::new(&both, "127.0.0.1:7006")),
        ("a jealous one", Connection::new(&jealous, "127.0.0.1:7007")),
        ("another one", Connection::new(&left, "127.0.0.1:7008")),
    ];
    drop(left);
    all.iter().for_each(|(_, connection)| connection.fill());
    let set = &all[0].1.server;
    set.set_nodelay(true).expect("TCP_NODELAY");
    sockopt::set_socket_keepalive(set, true).expect("SO_KEEPALIVE");
    sockopt::set_tcp_keepidle(set, IDLE).expect("TCP_KEEPIDLE");
    set.set_read_timeout(Some(IDLE)).expect("SO_RCVTIMEO");
    Box::new(move || {
        let mut wrong = Vec::new();
        for (name, connection) in &all {
            wrong.extend(connection.look(name));
        }
        let (set, other) = (&all[0].1.server, &all[0].1.client);
        wrong.extend(same("TCP_NODELAY", set.nodelay().ok(), Some(true)));
        wrong.extend(same("TCP_NODELAY", other.nodelay().ok(), Some(false)));
        let alive = sockopt::socket_keepalive(set).ok();
        wrong.extend(same("SO_KEEPALIVE", alive, Some(true)));
        let idle = sockopt::tcp_keepidle(set).ok();
        wrong.extend(same("TCP_KEEPIDLE", idle, Some(IDLE)));
        let timeouts = [set, other].map(|it| it.read_timeout().ok().flatten());
        wrong.extend(same("SO_RCVTIMEO", timeouts, [Some(IDLE), None]));
        for (name, socket, reuse) in [
            ("one that listens", here.as_fd(), true),
            ("a jealous one", jealous.as_fd(), false),
            ("whom it accepted", all[4].1.server.as_fd(), false),
            ("its client", all[4].1.client.as_fd(), false),
        ] {
            let found = sockopt::socket_reuseaddr(socket).ok();
            wrong.extend(same(&format!("SO_REUSEADDR of {name}"), found, Some(reuse)));
        }
        // Who listens does so still.
        for (listener, to) in [
            (&here, "127.0.0.1:7005"),
            (&six, "[::1]:7005"),
            (&both, "[::1]:7006"),
            (&jealous, "127.0.0.1:7007"),
        ] {
            let new = Connection::new(listener, to);
            new.fill();
            wrong.extend(new.look(to));
            // It leaves nothing.
            sockopt::set_socket_linger(&new.client, Some(Duration::ZERO)).expect("SO_LINGER");
            drop(new.client);
        }
        wrong
    })
}

/// A server and its client are two processes, and much is on its way.
pub(crate) fn between_processes() -> Verify {
    loopback();
    let listener = TcpListener::bind("127.0.0.1:7005").expect("bind");
    let client = socket(AddressFamily::INET, SocketType::STREAM, None).expect("socket");
    // How far a window may open is settled when two meet.
    sockopt::set_socket_recv_buffer_size_force(&client, AMPLE).expect("SO_RCVBUFFORCE");
    connect(&client, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7005)).expect("connect");
    let mut client = TcpStream::from(client);
    let (mut server, _) = listener.accept().expect("accept");
    let (ours, theirs) = pair(SockType::Stream);
    let much: Vec<u8> = (0..MUCH).map(|at| at as u8).collect();
    server.write_all(&much).expect("write");
    sys::child(move || {
        loop {
            // Only when it is asked does it read.
            hear(&theirs, MsgFlags::empty());
            let mut bytes = vec![0; MUCH];
            let came = client.read_exact(&mut bytes).is_ok();
            let right = bytes.iter().enumerate().all(|(at, it)| *it == at as u8);
            tell(&client, &format!("{came} {right}"));
        }
    });
    Box::new(move || {
        tell(&ours, "read");
        let heard = hear(&server, MsgFlags::empty());
        server.write_all(&much).expect("write");
        same("much", heard, "true true".to_owned())
            .into_iter()
            .collect()
    })
}

/// What one end has said to be over, or both ends for themselves; whose other end is gone.
pub(crate) fn half_closed() -> Verify {
    loopback();
    let listener = TcpListener::bind("127.0.0.1:7005").expect("bind");
    let new = || Connection::new(&listener, "127.0.0.1:7005");
    let (by_client, by_server, deaf, gone) = (new(), new(), new(), new());
    tell(&by_client.client, "last words");
    tell(&by_client.server, "still here");
    by_client
        .client
        .shutdown(Shutdown::Write)
        .expect("shutdown");
    by_server
        .server
        .shutdown(Shutdown::Write)
        .expect("shutdown");
    deaf.client.shutdown(Shutdown::Read).expect("shutdown");
    let Connection { client, server, .. } = gone;
    tell(&client, "farewell");
    drop(client);
    [&by_client.server, &by_server.client, &server]
        .into_iter()
        .for_each(until_ended);
    Box::new(move || {
        let mut wrong = Vec::new();
        for (name, end, words) in [
            ("client", &by_client.server, "last words"),
            ("server", &by_server.client, ""),
            ("one that is gone", &server, "farewell"),
        ] {
            if !last_words(end, words) {
                wrong.push(format!("the last words of the {name} are others"));
            }
        }
        // The other way is open.
        let heard = hear(&by_client.client, NOW);
        wrong.extend(same("to the client", heard, "still here".to_owned()));
        tell(&by_client.server, "still here");
        tell(&by_server.client, "hello");
        let heard = hear(&by_server.server, MsgFlags::empty());
        wrong.extend(same("to the server", heard, "hello".to_owned()));
        wrong.extend(same("end", has_ended(&deaf.client), true));
        wrong.extend(same("end", has_ended(&deaf.server), false));
        tell(&deaf.client, "hello");
        let heard = hear(&deaf.server, MsgFlags::empty());
        wrong.extend(same("of a deaf one", heard, "hello".to_owned()));
        let (mut own, mut bytes) = (&by_client.client, [0; 1]);
        let written = own.write(b"more").map_err(|error| error.kind());
        wrong.extend(same(
            "writing",
            written,
            Err(std::io::ErrorKind::BrokenPipe),
        ));
        own = &by_client.server;
        wrong.extend(same("a byte", own.peek(&mut bytes).ok(), Some(1)));
        wrong
    })
}

/// One end does not take what the other sends.
pub(crate) fn full() -> Verify {
    loopback();
    let listener = TcpListener::bind("127.0.0.1:7005").expect("bind");
    let connection = Connection::new(&listener, "127.0.0.1:7005");
    connection.client.set_nonblocking(true).expect("fcntl");
    while (&connection.client).write(&[7; 4096]).is_ok() {}
    Box::new(move || {
        let Connection { addresses, .. } = &connection;
        same("ends", addresses.len(), 4).into_iter().collect()
    })
}

/// A byte that is urgent waits, or was taken out of those that wait.
pub(crate) fn urgent(taken: bool) -> Verify {
    loopback();
    let listener = TcpListener::bind("127.0.0.1:7005").expect("bind");
    let Connection { client, server, .. } = Connection::new(&listener, "127.0.0.1:7005");
    tell(&client, "before");
    let sent = rustix::net::send(&client, b"!", rustix::net::SendFlags::OOB);
    assert_eq!(sent, Ok(1));
    tell(&client, "behind");
    if taken {
        let taken = hear(&server, MsgFlags::MSG_OOB);
        assert_eq!(taken, "!");
    }
    Box::new(move || {
        let both = (&client, &server);
        same("peer", both.0.peer_addr().ok(), both.1.local_addr().ok())
            .into_iter()
            .collect()
    })
}

//! A socket in words: one line.
//!
//! Kind: pure. The input has passed [`Tasks::check`].

use super::words;
use crate::path::Escaped;
use crate::tasks::{
    InetSocket, KnownOption, Membership, Socket, SocketIndex, SocketState, Tasks, TcpConnection,
    UnixConnection, UnixSocket,
};
use std::net::{Ipv4Addr, Ipv6Addr};

pub(super) fn shown(tasks: &Tasks, index: SocketIndex) -> String {
    let socket = &tasks.sockets[index.at()];
    let family = format!("{:?}", socket.family).to_lowercase();
    let kind = format!("{:?}", socket.kind).to_lowercase();
    let state = match &socket.state {
        SocketState::Unix(unix) => of_unix(unix),
        SocketState::Netlink(it) => format!(
            ", protocol {}, port {}, groups {:?}",
            socket.protocol, it.port, it.groups
        ),
        SocketState::Inet(it) => of_inet(it),
        SocketState::Tcp(it) => of_tcp(it),
        SocketState::Packet(it) => format!(
            ", protocol {:#06x}, device {}",
            u16::from_be(it.protocol),
            it.device
        ),
    };
    let groups = tasks.memberships.iter().filter(|it| it.socket == index);
    let groups: String = groups.map(membership).collect();
    format!(
        "socket {}, {family} {kind}{state}{groups}{}",
        index.0,
        options(socket)
    )
}

fn membership(it: &Membership) -> String {
    let address = |bytes: &Vec<u8>| {
        let four = bytes.first_chunk().copied().map(Ipv4Addr::from);
        let six = bytes.first_chunk().copied().map(Ipv6Addr::from);
        match (six, four) {
            (Some(six), _) => six.to_string(),
            (None, Some(four)) => four.to_string(),
            (None, None) => "?".to_owned(),
        }
    };
    let mut text = format!(", in group {} of device {}", address(&it.group), it.device);
    if it.only || !it.sources.is_empty() {
        let sources: Vec<String> = it.sources.iter().map(address).collect();
        let which = if it.only { "only" } else { "but" };
        text += &format!(" ({which} from {})", sources.join(", "));
    }
    text
}

fn of_inet(inet: &InetSocket) -> String {
    let mut text = String::new();
    if !inet.own.is_empty() {
        text += &format!(", at {}", InetSocket::shown(&inet.own));
    }
    if !inet.peer.is_empty() {
        text += &format!(", to {}", InetSocket::shown(&inet.peer));
    }
    match inet.backlog {
        Some(backlog) => text + &format!(", listens for {backlog}"),
        None => text,
    }
}

fn of_tcp(tcp: &TcpConnection) -> String {
    let mut text = format!(
        ", at {}, to {}",
        InetSocket::shown(&tcp.own),
        InetSocket::shown(&tcp.peer)
    );
    text += &match tcp.other {
        Some(other) => format!(", with socket {}", other.0),
        None => ", whose peer is gone".to_owned(),
    };
    if tcp.sends_no_more {
        text += ", sends no more";
    }
    if tcp.receives_no_more {
        text += ", receives no more";
    }
    if !tcp.queue.is_empty() {
        text += &format!(", {}", words::count(tcp.queue.len(), "byte"));
    }
    text
}

fn of_unix(unix: &UnixSocket) -> String {
    use UnixConnection as C;
    let mut text = String::new();
    if let Some(name) = &unix.name {
        let removed = name.file.as_ref().is_some_and(|file| file.removed);
        let address = match name.address.split_first() {
            Some((0, rest)) => [b"@", rest].concat(),
            _ => name.address.clone(),
        };
        text += &format!(" \"{}\"", Escaped(&address));
        text += if removed { " (removed)" } else { "" };
    }
    text += &match &unix.connection {
        C::None => String::new(),
        C::Listening { pending, .. } => {
            let waiting = words::count(pending.len(), "waiting connection");
            format!(", listens with {waiting}")
        }
        C::Pair(peer) | C::Connected(peer) | C::Accepted { client: peer, .. } => {
            format!(", with socket {}", peer.0)
        }
        C::To(peer) => format!(", to socket {}", peer.0),
        C::Waiting => ", waits to be accepted".into(),
        C::Gone => ", whose peer is gone".into(),
    };
    if unix.sends_no_more {
        text += ", sends no more";
    }
    if unix.receives_no_more {
        text += ", receives no more";
    }
    if !unix.queue.is_empty() {
        text += &format!(", {}", words::count(unix.queue.len(), "message"));
    }
    text
}

/// The names of those that are not as they mostly are.
fn options(socket: &Socket) -> String {
    let known = socket.options.iter();
    let known = known.filter_map(|option| KnownOption::of(socket.family, option));
    let names: Vec<_> = known
        .filter(|it| it.usual.is_some())
        .map(|it| it.shown)
        .collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(" ({})", names.join(", ")),
    }
}

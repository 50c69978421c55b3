//! Sockets: names, options, peers, and what waits in them.
//!
//! Kind: pure.

use super::files::location;
use super::{TasksError, TasksPlace, TasksRule, at_most, in_range, value};
use crate::mounts::Mounts;
use crate::tasks::{
    KnownOption, Membership, NetlinkSocket, OpenTarget, Socket, SocketFamily, SocketIndex,
    SocketKind, SocketState, Tasks, TcpConnection, UnixConnection, UnixFile, UnixMessage, UnixName,
    UnixSocket,
};

use std::collections::HashSet;

/// `sun_path`.
const ADDRESS_LIMIT: usize = 108;
/// Families of generic netlink share one range of groups.
const GROUP_LIMIT: usize = 1 << 16;
const OPTION_LIMIT: usize = 256;
const MEMBERSHIP_LIMIT: usize = 1 << 20;
/// More than `igmp_max_msf` and `mld_max_msf` are by default.
const SOURCE_LIMIT: usize = 64;
const MESSAGE_LIMIT: usize = 1 << 20;
/// A socket's buffer is an `int`.
const DATA_LIMIT: usize = i32::MAX as usize;
/// `SCM_MAX_FD`.
const RIGHTS_LIMIT: usize = 253;
/// `IPPROTO_TCP`.
const TCP: u16 = 6;
const PID_LIMIT: u64 = 1 << 22;

pub(super) fn check(tasks: &Tasks, mounts: &Mounts) -> Result<(), TasksError> {
    let mut open = HashSet::new();
    for (at, file) in tasks.files.iter().enumerate() {
        if let OpenTarget::Socket(socket) = file.target
            && !open.insert(socket)
        {
            return Err(TasksRule::SocketTwice.at(TasksPlace::File(at)));
        }
    }
    for (at, socket) in tasks.sockets.iter().enumerate() {
        check_socket(tasks, mounts, at.into(), socket)
            .map_err(|rule| rule.at(TasksPlace::Socket(at)))?;
    }
    at_most("memberships", tasks.memberships.len(), MEMBERSHIP_LIMIT)
        .map_err(|rule| rule.at(TasksPlace::Record))?;
    if !tasks.memberships.is_sorted_by_key(|it| it.socket.at()) {
        return Err(TasksRule::Membership.at(TasksPlace::Record));
    }
    for it in &tasks.memberships {
        check_membership(tasks, it).map_err(|rule| rule.at(TasksPlace::Socket(it.socket.at())))?;
    }
    Ok(())
}

fn check_membership(tasks: &Tasks, it: &Membership) -> Result<(), TasksRule> {
    in_range("socket", it.socket.at(), tasks.sockets.len())?;
    let socket = &tasks.sockets[it.socket.at()];
    let multicast = match (&it.group[..], socket.family) {
        ([first, ..], SocketFamily::Inet | SocketFamily::Inet6) if it.group.len() == 4 => {
            (224..240).contains(first)
        }
        ([first, ..], SocketFamily::Inet6) if it.group.len() == 16 => *first == 0xff,
        _ => false,
    };
    let mut sources = it.sources.iter();
    let alike = sources.all(|source| source.len() == it.group.len());
    let number = i32::try_from(it.device).is_ok_and(|number| number > 0);
    at_most("sources of a group", it.sources.len(), SOURCE_LIMIT)?;
    let udp = socket.kind == SocketKind::Datagram && matches!(socket.state, SocketState::Inet(_));
    match udp && multicast && alike && number && !(it.only && it.sources.is_empty()) {
        true => Ok(()),
        false => Err(TasksRule::Membership),
    }
}

fn check_socket(
    tasks: &Tasks,
    mounts: &Mounts,
    at: SocketIndex,
    socket: &Socket,
) -> Result<(), TasksRule> {
    if let Some(namespace) = socket.net_namespace {
        in_range(
            "network namespace",
            namespace.at(),
            tasks.net_namespaces.len(),
        )?;
    }
    check_options(socket)?;
    match &socket.state {
        SocketState::Unix(unix) => {
            let kinds = [
                SocketKind::Stream,
                SocketKind::Datagram,
                SocketKind::SeqPacket,
            ];
            belongs(
                socket.family == SocketFamily::Unix
                    && kinds.contains(&socket.kind)
                    && socket.protocol <= 1,
            )?;
            check_unix(tasks, mounts, at, socket.kind, unix)
        }
        SocketState::Netlink(netlink) => {
            let kinds = [SocketKind::Datagram, SocketKind::Raw];
            let (family, number) = (SocketFamily::Netlink, socket.protocol < 32);
            belongs(socket.family == family && kinds.contains(&socket.kind) && number)?;
            check_netlink(netlink)
        }
        SocketState::Inet(inet) => {
            let length = length_of_address(socket.family)?;
            let tcp = (socket.kind, socket.protocol) == (SocketKind::Stream, TCP);
            let udp = socket.kind == SocketKind::Datagram && matches!(socket.protocol, 17 | 136);
            belongs(tcp || udp && inet.backlog.is_none())?;
            check_addresses(socket.family, length, [&inet.own, &inet.peer])
        }
        SocketState::Tcp(tcp) => {
            let length = length_of_address(socket.family)?;
            belongs((socket.kind, socket.protocol) == (SocketKind::Stream, TCP))?;
            check_addresses(socket.family, length, [&tcp.own, &tcp.peer])?;
            check_tcp(tasks, at, socket, tcp)
        }
        SocketState::Packet(packet) => {
            let kinds = [SocketKind::Datagram, SocketKind::Raw];
            belongs(socket.family == SocketFamily::Packet && kinds.contains(&socket.kind))?;
            value("number of a device", packet.device.into(), i32::MAX as u64)
        }
    }
}

fn length_of_address(family: SocketFamily) -> Result<usize, TasksRule> {
    match family {
        SocketFamily::Inet => Ok(16),
        SocketFamily::Inet6 => Ok(28),
        _ => Err(TasksRule::SocketKind),
    }
}

/// The other end is one, has the same addresses the other way round, and is in the same network namespace, which is
/// the container's own. A connection that both ends have shut down is none any more.
fn check_tcp(
    tasks: &Tasks,
    at: SocketIndex,
    socket: &Socket,
    tcp: &TcpConnection,
) -> Result<(), TasksRule> {
    at_most("bytes of a connection", tcp.queue.len(), DATA_LIMIT)?;
    let Some((own, peer)) = tcp.ends().filter(|it| it.0.1 != 0 && it.1.1 != 0) else {
        return Err(TasksRule::Length("an address of a socket"));
    };
    let fits = match tcp.other {
        None => !tcp.sends_no_more && own != peer,
        Some(index) => {
            in_range("socket", index.at(), tasks.sockets.len())?;
            let found = &tasks.sockets[index.at()];
            let SocketState::Tcp(other) = &found.state else {
                return Err(TasksRule::SocketPeer);
            };
            index != at
                && other.other == Some(at)
                && other.ends() == Some((peer, own))
                && found.net_namespace == socket.net_namespace
                && !(tcp.sends_no_more && other.sends_no_more)
        }
    };
    match fits && socket.net_namespace.is_some() {
        true => Ok(()),
        false => Err(TasksRule::SocketPeer),
    }
}

/// Addresses are of the socket's own family.
fn check_addresses(
    family: SocketFamily,
    length: usize,
    addresses: [&[u8]; 2],
) -> Result<(), TasksRule> {
    let good = |address: &[u8]| {
        address.is_empty()
            || address.len() == length && address.starts_with(&family.number().to_le_bytes())
    };
    match addresses.into_iter().all(good) {
        true => Ok(()),
        false => Err(TasksRule::Length("an address of a socket")),
    }
}

fn belongs(fits: bool) -> Result<(), TasksRule> {
    match fits {
        true => Ok(()),
        false => Err(TasksRule::SocketKind),
    }
}

fn check_options(socket: &Socket) -> Result<(), TasksRule> {
    at_most("options of a socket", socket.options.len(), OPTION_LIMIT)?;
    for option in &socket.options {
        let known = KnownOption::of(socket.family, option);
        if known.is_none_or(|it| !it.fits(&option.value)) {
            let (level, name) = (option.level, option.name);
            return Err(TasksRule::SocketOption { level, name });
        }
    }
    Ok(())
}

fn check_netlink(netlink: &NetlinkSocket) -> Result<(), TasksRule> {
    at_most(
        "groups of a netlink socket",
        netlink.groups.len(),
        GROUP_LIMIT,
    )?;
    let mut last = 0;
    for group in &netlink.groups {
        value(
            "group of a netlink socket",
            (*group).into(),
            GROUP_LIMIT as u64,
        )?;
        if *group <= last {
            return Err(TasksRule::SocketGroups);
        }
        last = *group;
    }
    Ok(())
}

fn check_unix(
    tasks: &Tasks,
    mounts: &Mounts,
    at: SocketIndex,
    kind: SocketKind,
    unix: &UnixSocket,
) -> Result<(), TasksRule> {
    if let Some(name) = &unix.name {
        check_name(mounts, name)?;
    }
    if let Some(peer) = &unix.peer_credentials {
        value("pid of a peer", peer.pid.into(), PID_LIMIT)?;
    }
    check_connection(tasks, at, kind, unix)?;
    at_most("messages of a socket", unix.queue.len(), MESSAGE_LIMIT)?;
    let data = unix.queue.iter().map(|it| it.data.len()).sum();
    at_most("bytes of messages", data, DATA_LIMIT)?;
    unix.queue
        .iter()
        .try_for_each(|message| check_message(tasks, message))
}

fn check_name(mounts: &Mounts, name: &UnixName) -> Result<(), TasksRule> {
    at_most("bytes of an address", name.address.len(), ADDRESS_LIMIT)?;
    let abstracted = name.address.first() == Some(&0);
    let nul = !abstracted && name.address.contains(&0);
    if name.address.is_empty() || nul || abstracted && name.file.is_some() {
        return Err(TasksRule::Name);
    }
    name.file
        .as_ref()
        .map_or(Ok(()), |file| check_unix_file(mounts, file))
}

fn check_unix_file(mounts: &Mounts, file: &UnixFile) -> Result<(), TasksRule> {
    location(mounts, &file.base)?;
    location(mounts, &file.place)?;
    value("mode", file.mode.into(), 0o7777)?;
    if file.place.path.is_root() {
        return Err(TasksRule::Name);
    }
    file.times
        .iter()
        .try_for_each(|(_, part)| value("part of a second", (*part).into(), 999_999_999))
}

/// Each is what the other takes it for.
fn check_connection(
    tasks: &Tasks,
    at: SocketIndex,
    kind: SocketKind,
    unix: &UnixSocket,
) -> Result<(), TasksRule> {
    use UnixConnection as C;
    let datagrams = kind == SocketKind::Datagram;
    let other = |index: SocketIndex| {
        in_range("socket", index.at(), tasks.sockets.len())?;
        let socket = &tasks.sockets[index.at()];
        match &socket.state {
            SocketState::Unix(other) if socket.kind == kind && index != at => Ok(other),
            _ => Err(TasksRule::SocketPeer),
        }
    };
    let good = match &unix.connection {
        C::None | C::Gone => true,
        C::Waiting => !datagrams,
        C::Listening { backlog, pending } => {
            value("backlog", (*backlog).into(), u32::MAX.into())?;
            at_most("waiting connections", pending.len(), tasks.sockets.len())?;
            for client in pending {
                if other(*client)?.connection != C::Waiting {
                    return Err(TasksRule::SocketPeer);
                }
            }
            !datagrams && unix.name.is_some() && unix.queue.is_empty()
        }
        C::Pair(peer) => other(*peer)?.connection == C::Pair(at),
        C::Accepted { client, listener } => {
            let listens = match listener {
                Some(index) => matches!(other(*index)?.connection, C::Listening { .. }),
                None => true,
            };
            let connected = other(*client)?.connection == C::Connected(at);
            !datagrams && unix.name.is_some() && listens && connected
        }
        C::Connected(peer) => {
            let accepted = &other(*peer)?.connection;
            !datagrams && matches!(accepted, C::Accepted { client, .. } if *client == at)
        }
        C::To(peer) => {
            other(*peer)?;
            datagrams
        }
    };
    match good {
        true => Ok(()),
        false => Err(TasksRule::SocketPeer),
    }
}

fn check_message(tasks: &Tasks, message: &UnixMessage) -> Result<(), TasksRule> {
    at_most(
        "descriptors of a message",
        message.files.len(),
        RIGHTS_LIMIT,
    )?;
    for file in &message.files {
        in_range("open file", file.at(), tasks.files.len())?;
    }
    if let Some(sender) = &message.sender {
        at_most("bytes of an address", sender.len(), ADDRESS_LIMIT)?;
    }
    match &message.credentials {
        Some(sender) => value("pid of a sender", sender.pid.into(), PID_LIMIT),
        None => Ok(()),
    }
}

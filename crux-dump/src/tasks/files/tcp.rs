//! Connections of TCP, both ends of which are within: they need neither repair mode nor a lock.
//!
//! Kind: effect where it asks a socket; who is whose other end is pure.
//!
//! As nobody runs, what one end has sent is either in the other's queue, which can be looked at (`MSG_PEEK`), or was not
//! sent for want of room. The latter cannot be looked at, and is an obstacle.

use super::diag::TcpFacts;
use super::sockets::{Found, SocketError, Sockets, obstacle};
use super::sys;
use crux_image::tasks::{
    Endpoint, InetSocket, SO_PEEK_OFF, SOL_SOCKET, SocketFamily, SocketIndex, SocketKind,
    TcpConnection,
};
use crux_mount::sys::SysError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

pub(super) const TCP: u16 = 6;
const TCP_INFO: u16 = 11;
const TCP_ULP: u16 = 31;
/// `TCP_FASTOPEN_CONNECT`, `IP_MULTICAST_TTL`, `IPV6_MULTICAST_IF`, `IPV6_MULTICAST_HOPS`.
const IDLE: [(u16, u16); 4] = [(TCP, 30), (0, 33), (41, 17), (41, 18)];
const IP_TRANSPARENT: (u16, u16) = (0, 19);
const IPV6_TRANSPARENT: (u16, u16) = (41, 75);
/// `TCP_*` of the kernel.
const ESTABLISHED: u8 = 1;
const FIN_WAIT2: u8 = 5;
const CLOSE: u8 = 7;
const CLOSE_WAIT: u8 = 8;
const LISTEN: u8 = 10;
const RCV_SHUTDOWN: u8 = 1;
const SEND_SHUTDOWN: u8 = 2;
/// How long what was sent may take to be acknowledged: an answer may be put off for 200 ms (`TCP_DELACK_MAX`).
const UNDERWAY: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// An end of a connection.
#[derive(Debug)]
pub(super) struct TcpEnd {
    own: Vec<u8>,
    peer: Vec<u8>,
    ends: Option<(Endpoint, Endpoint)>,
    facts: TcpFacts,
    /// How much of what it has sent is not in the other end's queue.
    unsent: usize,
    /// Where the other end is not one that was found: whether somebody outside of the container has it.
    of_outside: bool,
}

/// Whether it is an end of a connection, and not one that listens or has met nobody.
pub(super) fn is_connection(found: &Found) -> Result<bool, SysError> {
    let internet = matches!(found.family, SocketFamily::Inet | SocketFamily::Inet6);
    if !internet || (found.kind, found.protocol) != (SocketKind::Stream, TCP) {
        return Ok(false);
    }
    let info = sys::socket_option(found.fd.as_fd(), (TCP, TCP_INFO), 1)?;
    let state = info.and_then(|it| it.first().copied());
    Ok(state.is_some_and(|it| it != CLOSE && it != LISTEN))
}

/// Waits until what these have sent has arrived, or will not.
pub(super) fn settle(connections: &[&Found]) -> Result<(), SysError> {
    let end = Instant::now() + UNDERWAY;
    for found in connections {
        while sys::unreceived(found.fd.as_fd())? > 0 && Instant::now() < end {
            std::thread::sleep(LOOK_AGAIN);
        }
    }
    Ok(())
}

/// What is known of an end, when all has arrived. `foreign`: those in its network namespace that nobody of the
/// container has.
pub(super) fn end(
    found: &Found,
    facts: TcpFacts,
    foreign: &[TcpFacts],
) -> Result<TcpEnd, SysError> {
    let socket = found.fd.as_fd();
    let (own, peer) = (sys::socket_address(socket)?, sys::peer_address(socket)?);
    let ends = InetSocket::endpoint(&own).zip(InetSocket::endpoint(&peer));
    let (here, there) = facts.ports;
    Ok(TcpEnd {
        own,
        peer,
        ends,
        facts,
        unsent: sys::unreceived(socket)?,
        of_outside: foreign.iter().any(|it| it.ports == (there, here)),
    })
}

/// The record of an end; none where the other end is not within.
pub(super) fn record(
    sockets: &Sockets,
    found: &Found,
) -> Result<Option<TcpConnection>, SocketError> {
    let Some(tcp) = &found.tcp else {
        return Ok(None);
    };
    let other = other_end(sockets, found, tcp);
    let ended = match other {
        Some(index) => {
            let Some(there) = &sockets.found[index.at()].tcp else {
                return Ok(None);
            };
            let states = (tcp.facts.state, there.facts.state);
            if !matches!(
                states,
                (ESTABLISHED, ESTABLISHED) | (FIN_WAIT2, CLOSE_WAIT) | (CLOSE_WAIT, FIN_WAIT2)
            ) && tcp.unsent + there.unsent == 0
            {
                return Ok(None);
            }
            tcp.facts.state == CLOSE_WAIT
        }
        None if is_left(tcp) => true,
        None => return Ok(None),
    };
    refuse_what_is_set(found, tcp)?;
    Ok(Some(TcpConnection {
        own: tcp.own.clone(),
        peer: tcp.peer.clone(),
        other,
        sends_no_more: tcp.facts.shutdown & SEND_SHUTDOWN != 0,
        receives_no_more: tcp.facts.shutdown & RCV_SHUTDOWN != 0 && !ended,
        queue: unread(found.fd.as_fd(), tcp, ended)?,
    }))
}

/// Whether an option has no meaning for who is connected, and could not be set.
///
/// KERNEL: who is accepted has the limit of hops of the packet with which its client came as that for multicast, and who is
/// connected over IPv6 the device for it that it is connected by.
pub(super) fn is_idle(option: (u16, u16)) -> bool {
    IDLE.contains(&option)
}

fn other_end(sockets: &Sockets, found: &Found, tcp: &TcpEnd) -> Option<SocketIndex> {
    let (own, peer) = tcp.ends?;
    let mut all = sockets.found.iter();
    let meets = |it: &Found| {
        let ends = it.tcp.as_ref().and_then(|it| it.ends);
        ends == Some((peer, own)) && it.namespace == found.namespace && it.inode != found.inode
    };
    all.position(meets).map(SocketIndex::from)
}

/// Whether the other end was closed, and was within: at an address that leads nowhere else.
fn is_left(tcp: &TcpEnd) -> bool {
    let within = |((own, _), (peer, _)): (Endpoint, Endpoint)| peer.is_loopback() || own == peer;
    tcp.facts.state == CLOSE_WAIT && !tcp.of_outside && tcp.ends.is_some_and(within)
}

fn refuse_what_is_set(found: &Found, tcp: &TcpEnd) -> Result<(), SocketError> {
    let socket = found.fd.as_fd();
    let events = events(socket)?;
    if events.contains(PollFlags::PRI) {
        return obstacle("has urgent data (MSG_OOB), which cannot be dumped");
    }
    if events.contains(PollFlags::ERR) {
        return obstacle("is a TCP connection with an error that nobody has seen yet");
    }
    if tcp.unsent > 0 {
        let (own, peer) = (InetSocket::shown(&tcp.own), InetSocket::shown(&tcp.peer));
        return obstacle(format!(
            "is a TCP connection from {own} to {peer} with {} bytes for which the other end has no room, which cannot be dumped yet",
            tcp.unsent
        ));
    }
    if tcp.facts.keys {
        return obstacle("is a TCP connection with keys (TCP_MD5SIG), which cannot be dumped yet");
    }
    let layer = sys::socket_option(socket, (TCP, TCP_ULP), 16)?;
    if layer.is_some_and(|it| !it.is_empty()) {
        return obstacle(
            "is a TCP connection with a layer upon it (TCP_ULP), which cannot be dumped yet",
        );
    }
    let is_set = |option| found.options.iter().any(|it| (it.level, it.name) == option);
    if is_set(IP_TRANSPARENT) || is_set(IPV6_TRANSPARENT) {
        return obstacle(
            "is a TCP connection of an address of others (IP_TRANSPARENT), which cannot be dumped yet",
        );
    }
    if is_set((SOL_SOCKET, SO_PEEK_OFF)) {
        return obstacle(
            "is a TCP connection with an offset (SO_PEEK_OFF), which cannot be dumped yet",
        );
    }
    Ok(())
}

fn events(socket: BorrowedFd<'_>) -> Result<PollFlags, SysError> {
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::PRI)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now)).map_err(|errno| SysError::new("poll(socket)", errno))?;
    Ok(fds[0].revents())
}

/// All that waits. The end of the stream counts as a byte until somebody has been told of it.
///
/// KERNEL: one look does not go beyond an urgent byte, also where that has been taken out.
fn unread(socket: BorrowedFd<'_>, tcp: &TcpEnd, ended: bool) -> Result<Vec<u8>, SocketError> {
    let mut queue = vec![0; tcp.facts.unread + 1];
    let length = match sys::peek(socket, &mut queue) {
        Ok(peeked) => peeked.length,
        Err(error) if error.errno() == Errno::AGAIN => 0,
        Err(error) => return Err(error.into()),
    };
    queue.truncate(length);
    match tcp.facts.unread - length.min(tcp.facts.unread) {
        0 => Ok(queue),
        1 if ended => Ok(queue),
        _ => {
            obstacle("is a TCP connection with data behind an urgent byte, which cannot be dumped")
        }
    }
}

//! Sockets of IP: UDP, and TCP that listens or has not met anybody.
//!
//! Kind: effect. A connection of TCP that `tcp` does not record is an obstacle by its state.

use super::sockets::{Found, SocketError, Sockets, obstacle};
use super::sys::{self, GroupFilter};
use super::tcp::{self, TCP};
use crux_image::tasks::{InetSocket, SocketKind, SocketState};
use std::os::fd::AsFd as _;

const UDP: u16 = 17;
const UDPLITE: u16 = 136;
const TCP_INFO: u16 = 11;
/// `struct tcp_info`, up to `tcpi_segs_in`.
const INFO: usize = 144;
/// In it: `tcpi_unacked`, `tcpi_sacked`, `tcpi_segs_out`. Of one that listens, the first two are how many wait,
/// and may wait.
const UNACKED: usize = 24;
const SACKED: usize = 28;
const SEGMENTS_OUT: usize = 136;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;

/// `TCP_*` of the kernel.
const STATES: [(u8, &str); 10] = [
    (1, "established"),
    (2, "SYN_SENT"),
    (3, "SYN_RECV"),
    (4, "FIN_WAIT1"),
    (5, "FIN_WAIT2"),
    (6, "TIME_WAIT"),
    (8, "CLOSE_WAIT"),
    (9, "LAST_ACK"),
    (11, "CLOSING"),
    (12, "NEW_SYN_RECV"),
];

pub(super) fn record(sockets: &Sockets, found: &Found) -> Result<SocketState, SocketError> {
    if let Some(connection) = tcp::record(sockets, found)? {
        return Ok(SocketState::Tcp(connection));
    }
    let state = match (found.kind, found.protocol) {
        (SocketKind::Stream, TCP) => unconnected(found),
        (SocketKind::Datagram, UDP | UDPLITE) => addresses(found),
        (kind, protocol) => obstacle(format!(
            "is a socket of IP of type {kind:?} and protocol {protocol}, which cannot be dumped yet"
        )),
    };
    state.map(SocketState::Inet)
}

fn addresses(found: &Found) -> Result<InetSocket, SocketError> {
    if found
        .joined
        .iter()
        .any(|it| it.filter.count > GroupFilter::MOST)
    {
        return obstacle(format!(
            "is in a multicast group with more than {} sources, which cannot be dumped yet",
            GroupFilter::MOST
        ));
    }
    let own = sys::socket_address(found.fd.as_fd())?;
    let bound = own.get(2..4).is_some_and(|port| port != [0, 0]);
    Ok(InetSocket {
        own: if bound { own } else { Vec::new() },
        peer: sys::peer_address(found.fd.as_fd())?,
        backlog: None,
    })
}

fn unconnected(found: &Found) -> Result<InetSocket, SocketError> {
    let info = sys::socket_option(found.fd.as_fd(), (TCP, TCP_INFO), INFO)?;
    let info = info.unwrap_or_default();
    let word = |at: usize| {
        let word = info.get(at..).and_then(|rest| rest.first_chunk());
        word.map_or(0, |it| u32::from_ne_bytes(*it))
    };
    match info.first().copied().unwrap_or(0) {
        LISTEN if word(UNACKED) > 0 => obstacle(format!(
            "is a TCP socket with {} connections that nobody has accepted yet, which cannot be dumped yet",
            word(UNACKED)
        )),
        LISTEN => Ok(InetSocket {
            backlog: Some(word(SACKED)),
            ..addresses(found)?
        }),
        CLOSE if word(SEGMENTS_OUT) > 0 => {
            obstacle("is a TCP connection that has ended, which cannot be dumped yet")
        }
        CLOSE => addresses(found),
        state => {
            let name = STATES.iter().find(|(it, _)| *it == state);
            let name = name.map_or("?", |(_, name)| name);
            let own = InetSocket::shown(&sys::socket_address(found.fd.as_fd())?);
            let peer = InetSocket::shown(&sys::peer_address(found.fd.as_fd())?);
            obstacle(format!(
                "is a TCP connection from {own} to {peer} ({name}), which cannot be dumped yet"
            ))
        }
    }
}

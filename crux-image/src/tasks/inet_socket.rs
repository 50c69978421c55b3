//! Sockets of IP (ip(7), ipv6(7)): their addresses, and whether they listen.
//!
//! Kind: pure. Datagrams that wait in one are not kept: UDP loses some at any time.

use serde::{Deserialize, Serialize};

/// What a socket of IPv4 or IPv6 has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InetSocket {
    /// `struct sockaddr_in` or `sockaddr_in6`, as getsockname(2) gives it; empty: it is not bound.
    pub own: Vec<u8>,
    /// Likewise, whom it is connected to (getpeername(2)); empty: nobody.
    pub peer: Vec<u8>,
    /// Of one that listens, how many may wait.
    pub backlog: Option<u32>,
}

impl InetSocket {
    /// An address for people: `127.0.0.1:80`.
    #[must_use]
    pub fn shown(address: &[u8]) -> String {
        let port = address.get(2..4).and_then(|it| it.first_chunk());
        let port = port.map_or(0, |it| u16::from_be_bytes(*it));
        let six = address.get(8..24).and_then(|it| it.first_chunk::<16>());
        let four = address.get(4..8).and_then(|it| it.first_chunk::<4>());
        match (address.len(), six, four) {
            (28, Some(six), _) => format!("[{}]:{port}", std::net::Ipv6Addr::from(*six)),
            (_, _, Some(four)) => format!("{}:{port}", std::net::Ipv4Addr::from(*four)),
            _ => "nowhere".to_owned(),
        }
    }
}

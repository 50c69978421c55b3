//! Established connections of TCP (tcp(7)), both ends of which are in one network namespace of the container's.
//!
//! Kind: pure. As both ends are made anew, neither numbers of bytes nor windows are kept: only what has not been
//! received yet, and what either end has said to be over.

use super::{InetSocket, SocketIndex};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpConnection {
    /// `struct sockaddr_in` or `sockaddr_in6`, as getsockname(2) gives it.
    pub own: Vec<u8>,
    /// Likewise, the other end's (getpeername(2)).
    pub peer: Vec<u8>,
    /// The other end; none: it is closed.
    pub other: Option<SocketIndex>,
    /// Whether it has said that it sends no more (`SHUT_WR`).
    pub sends_no_more: bool,
    /// Whether it receives no more by its own will (`SHUT_RD`).
    pub receives_no_more: bool,
    /// What it has not received yet.
    pub queue: Vec<u8>,
}

/// An address and a port, whichever of the two families says them: those of IPv4 that are mapped into IPv6 are of IPv4.
pub type Endpoint = (IpAddr, u16);

impl InetSocket {
    /// What a `struct sockaddr_in` or `sockaddr_in6` says; none where it is neither.
    #[must_use]
    pub fn endpoint(address: &[u8]) -> Option<Endpoint> {
        let port = u16::from_be_bytes(*address.get(2..4)?.first_chunk()?);
        let ip = match address.len() {
            16 => IpAddr::from(Ipv4Addr::from(*address.get(4..)?.first_chunk::<4>()?)),
            28 => IpAddr::from(Ipv6Addr::from(*address.get(8..)?.first_chunk::<16>()?)),
            _ => return None,
        };
        Some((ip.to_canonical(), port))
    }
}

impl TcpConnection {
    /// Its own end and the other, where both are addresses.
    #[must_use]
    pub fn ends(&self) -> Option<(Endpoint, Endpoint)> {
        Some((
            InetSocket::endpoint(&self.own)?,
            InetSocket::endpoint(&self.peer)?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_mapped_are_those_of_ipv4() {
        let mut four = vec![2, 0, 0x1f, 0x90, 127, 0, 0, 1];
        four.resize(16, 0);
        let mut six = vec![10, 0, 0x1f, 0x90];
        six.resize(18, 0);
        six.extend([0xff, 0xff, 127, 0, 0, 1, 0, 0, 0, 0]);
        let wanted = Some((IpAddr::from(Ipv4Addr::LOCALHOST), 8080));
        assert_eq!(InetSocket::endpoint(&four), wanted);
        assert_eq!(InetSocket::endpoint(&six), wanted);
        assert_eq!(InetSocket::endpoint(&six[..27]), None);
        assert_eq!(InetSocket::endpoint(&[]), None);
    }
}

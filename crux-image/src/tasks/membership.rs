//! Memberships of sockets in multicast groups (`MCAST_JOIN_GROUP` of ip(7) and ipv6(7)).
//!
//! Kind: pure.

use super::SocketIndex;
use serde::{Deserialize, Serialize};

/// A group that a socket is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Which socket.
    pub socket: SocketIndex,
    /// On which device, by its index in the socket's network namespace.
    pub device: u32,
    /// The address: 4 bytes of IPv4, which sockets of IPv6 can be in as well, or 16 of IPv6.
    pub group: Vec<u8>,
    /// `MCAST_INCLUDE`: it hears only these sources, not all but these.
    pub only: bool,
    /// Addresses of that family.
    pub sources: Vec<Vec<u8>>,
}

impl Membership {
    /// `IPPROTO_IP` or `IPPROTO_IPV6`.
    #[must_use]
    pub fn level(&self) -> u16 {
        match self.group.len() {
            16 => 41,
            _ => 0,
        }
    }
}

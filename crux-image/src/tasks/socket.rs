//! Sockets (socket(7)): what all of them have. What a family adds is in a file of its own.
//!
//! Kind: pure. A socket that nobody has a descriptor of is recorded as well where others need it:
//! one that is on its way in a message, or whose peer it is.

use super::{InetSocket, NetNsIndex, NetlinkSocket, PacketSocket, TcpConnection, UnixSocket};
use serde::{Deserialize, Serialize};

/// A socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// `SO_DOMAIN`.
    pub family: SocketFamily,
    /// `SO_TYPE`.
    pub kind: SocketKind,
    /// `SO_PROTOCOL`.
    pub protocol: u16,
    /// Where it was made; none: the caller's network namespace.
    pub net_namespace: Option<NetNsIndex>,
    /// What was set of it, in the order in which it has to be set again.
    pub options: Vec<SocketOption>,
    /// What its family knows of it.
    pub state: SocketState,
}

/// Address families that can be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names of socket(2)")]
pub enum SocketFamily {
    Unix,
    Inet,
    Inet6,
    Netlink,
    Packet,
}

/// Types of sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names of socket(2)")]
pub enum SocketKind {
    Stream,
    Datagram,
    SeqPacket,
    Raw,
}

/// setsockopt(2): one of [`SOCKET_OPTIONS`](super::SOCKET_OPTIONS), as getsockopt(2) gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketOption {
    /// `SOL_*`, `IPPROTO_*`.
    pub level: u16,
    /// Its number in that level.
    pub name: u16,
    /// In the bytes of this machine.
    pub value: Vec<u8>,
}

/// What only one family knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SocketState {
    /// unix(7).
    Unix(UnixSocket),
    /// netlink(7).
    Netlink(NetlinkSocket),
    /// packet(7).
    Packet(PacketSocket),
    /// ip(7) and ipv6(7).
    Inet(InetSocket),
    /// tcp(7): an end of an established connection.
    Tcp(TcpConnection),
}

impl SocketFamily {
    /// `AF_*`.
    pub fn number(self) -> u16 {
        match self {
            Self::Unix => 1,
            Self::Inet => 2,
            Self::Inet6 => 10,
            Self::Netlink => 16,
            Self::Packet => 17,
        }
    }

    /// The family with a number.
    pub fn from_number(number: u32) -> Option<Self> {
        let all = [
            Self::Unix,
            Self::Inet,
            Self::Inet6,
            Self::Netlink,
            Self::Packet,
        ];
        all.into_iter().find(|it| u32::from(it.number()) == number)
    }
}

impl SocketKind {
    /// `SOCK_*`.
    pub fn number(self) -> u16 {
        match self {
            Self::Stream => 1,
            Self::Datagram => 2,
            Self::Raw => 3,
            Self::SeqPacket => 5,
        }
    }

    /// The type with a number.
    pub fn from_number(number: u32) -> Option<Self> {
        let all = [Self::Stream, Self::Datagram, Self::Raw, Self::SeqPacket];
        all.into_iter().find(|it| u32::from(it.number()) == number)
    }
}

impl Socket {
    /// The value of an option that is a number, if it was recorded.
    pub fn option(&self, level: u16, name: u16) -> Option<u32> {
        let mut options = self.options.iter();
        let found = options.find(|it| (it.level, it.name) == (level, name))?;
        Some(u32::from_le_bytes(*found.value.first_chunk()?))
    }
}

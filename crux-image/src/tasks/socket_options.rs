//! The options of sockets that an image may have: one list for who reads, checks, shows and sets them.
//!
//! Kind: pure, a table. An option that has the value of a new socket is not recorded.

use super::{SocketFamily, SocketOption};

/// An option of sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownOption {
    /// `SOL_*`, `IPPROTO_*`.
    pub level: u16,
    /// Its number in that level.
    pub name: u16,
    /// Its name, for people.
    pub shown: &'static str,
    /// How many bytes it has; of a filter, how many at most.
    pub length: usize,
    /// What a new socket has; none where that depends on the machine.
    pub usual: Option<i32>,
    /// Which sockets know it; none: all.
    pub family: Option<SocketFamily>,
}

/// `SOL_SOCKET`.
pub const SOL_SOCKET: u16 = 1;
/// `SO_REUSEADDR`.
pub const SO_REUSEADDR: u16 = 2;
/// `SO_SNDBUF`: the kernel doubles what is set.
pub const SO_SNDBUF: u16 = 7;
/// `SO_RCVBUF`: likewise.
pub const SO_RCVBUF: u16 = 8;
/// `SO_BINDTODEVICE`: a name, up to its first NUL.
pub const SO_BINDTODEVICE: u16 = 25;
/// `SO_ATTACH_FILTER`: instructions of eight bytes each (`struct sock_filter`).
pub const SO_ATTACH_FILTER: u16 = 26;
/// `SO_PEEK_OFF`.
pub const SO_PEEK_OFF: u16 = 42;
/// `SO_PASSCRED`.
pub const SO_PASSCRED: u16 = 16;

const fn number(name: u16, shown: &'static str, usual: i32) -> KnownOption {
    KnownOption {
        level: SOL_SOCKET,
        name,
        shown,
        length: 4,
        usual: Some(usual),
        family: None,
    }
}

const fn bytes(name: u16, shown: &'static str, length: usize) -> KnownOption {
    KnownOption {
        length,
        ..number(name, shown, 0)
    }
}

const fn netlink(name: u16, shown: &'static str) -> KnownOption {
    KnownOption {
        level: 270,
        ..only(SocketFamily::Netlink, number(name, shown, 0))
    }
}

const fn packet(name: u16, shown: &'static str) -> KnownOption {
    KnownOption {
        level: 263,
        ..only(SocketFamily::Packet, number(name, shown, 0))
    }
}

/// Of IPv4 and of IPv6.
const fn internet(level: u16, name: u16, shown: &'static str, usual: i32) -> KnownOption {
    KnownOption {
        level,
        ..only(SocketFamily::Inet, number(name, shown, usual))
    }
}

const fn ip(name: u16, shown: &'static str, usual: i32) -> KnownOption {
    internet(0, name, shown, usual)
}

const fn ipv6(name: u16, shown: &'static str, usual: i32) -> KnownOption {
    KnownOption {
        level: 41,
        ..only(SocketFamily::Inet6, number(name, shown, usual))
    }
}

const fn tcp(name: u16, shown: &'static str, usual: i32) -> KnownOption {
    internet(6, name, shown, usual)
}

const fn udp(name: u16, shown: &'static str) -> KnownOption {
    internet(17, name, shown, 0)
}

const fn only(family: SocketFamily, option: KnownOption) -> KnownOption {
    KnownOption {
        family: Some(family),
        ..option
    }
}

/// All of them, in the order in which they are set. What is recorded of an option that is none
/// of the socket's family was not asked for.
pub const SOCKET_OPTIONS: &[KnownOption] = &[
    number(1, "SO_DEBUG", 0),
    number(SO_REUSEADDR, "SO_REUSEADDR", 0),
    number(15, "SO_REUSEPORT", 0),
    number(5, "SO_DONTROUTE", 0),
    number(6, "SO_BROADCAST", 0),
    KnownOption {
        usual: None,
        ..number(SO_SNDBUF, "SO_SNDBUF", 0)
    },
    KnownOption {
        usual: None,
        ..number(SO_RCVBUF, "SO_RCVBUF", 0)
    },
    KnownOption {
        usual: None,
        ..number(72, "SO_BUF_LOCK", 0)
    },
    number(9, "SO_KEEPALIVE", 0),
    number(10, "SO_OOBINLINE", 0),
    number(11, "SO_NO_CHECK", 0),
    number(12, "SO_PRIORITY", 0),
    bytes(13, "SO_LINGER", 8),
    number(SO_PASSCRED, "SO_PASSCRED", 0),
    number(18, "SO_RCVLOWAT", 1),
    bytes(20, "SO_RCVTIMEO", 16),
    bytes(21, "SO_SNDTIMEO", 16),
    number(29, "SO_TIMESTAMP", 0),
    number(35, "SO_TIMESTAMPNS", 0),
    number(63, "SO_TIMESTAMP_NEW", 0),
    number(64, "SO_TIMESTAMPNS_NEW", 0),
    number(37, "SO_TIMESTAMPING", 0),
    number(34, "SO_PASSSEC", 0),
    number(36, "SO_MARK", 0),
    number(40, "SO_RXQ_OVFL", 0),
    number(41, "SO_WIFI_STATUS", 0),
    number(SO_PEEK_OFF, "SO_PEEK_OFF", -1),
    number(45, "SO_SELECT_ERR_QUEUE", 0),
    number(75, "SO_RCVMARK", 0),
    only(SocketFamily::Unix, number(76, "SO_PASSPIDFD", 0)),
    number(82, "SO_RCVPRIORITY", 0),
    only(SocketFamily::Unix, number(83, "SO_PASSRIGHTS", 1)),
    netlink(3, "NETLINK_PKTINFO"),
    netlink(4, "NETLINK_BROADCAST_ERROR"),
    netlink(5, "NETLINK_NO_ENOBUFS"),
    netlink(8, "NETLINK_LISTEN_ALL_NSID"),
    netlink(10, "NETLINK_CAP_ACK"),
    netlink(11, "NETLINK_EXT_ACK"),
    netlink(12, "NETLINK_GET_STRICT_CHK"),
    packet(8, "PACKET_AUXDATA"),
    packet(9, "PACKET_ORIGDEV"),
    packet(10, "PACKET_VERSION"),
    packet(12, "PACKET_RESERVE"),
    packet(14, "PACKET_LOSS"),
    packet(15, "PACKET_VNET_HDR"),
    packet(17, "PACKET_TIMESTAMP"),
    packet(20, "PACKET_QDISC_BYPASS"),
    packet(23, "PACKET_IGNORE_OUTGOING"),
    internet(SOL_SOCKET, 62, "SO_BINDTOIFINDEX", 0),
    internet(SOL_SOCKET, 60, "SO_ZEROCOPY", 0),
    ip(1, "IP_TOS", 0),
    ip(2, "IP_TTL", 64),
    ip(6, "IP_RECVOPTS", 0),
    ip(7, "IP_RETOPTS", 0),
    ip(8, "IP_PKTINFO", 0),
    ip(10, "IP_MTU_DISCOVER", 1),
    ip(11, "IP_RECVERR", 0),
    ip(12, "IP_RECVTTL", 0),
    ip(13, "IP_RECVTOS", 0),
    ip(15, "IP_FREEBIND", 0),
    ip(19, "IP_TRANSPARENT", 0),
    ip(20, "IP_RECVORIGDSTADDR", 0),
    ip(21, "IP_MINTTL", 0),
    ip(23, "IP_CHECKSUM", 0),
    ip(24, "IP_BIND_ADDRESS_NO_PORT", 0),
    ip(25, "IP_RECVFRAGSIZE", 0),
    ip(32, "IP_MULTICAST_IF", 0),
    ip(33, "IP_MULTICAST_TTL", 1),
    ip(34, "IP_MULTICAST_LOOP", 1),
    ip(49, "IP_MULTICAST_ALL", 1),
    ip(50, "IP_UNICAST_IF", 0),
    ip(51, "IP_LOCAL_PORT_RANGE", 0),
    ipv6(16, "IPV6_UNICAST_HOPS", 64),
    ipv6(17, "IPV6_MULTICAST_IF", 0),
    ipv6(18, "IPV6_MULTICAST_HOPS", 1),
    ipv6(19, "IPV6_MULTICAST_LOOP", 1),
    ipv6(23, "IPV6_MTU_DISCOVER", 1),
    ipv6(25, "IPV6_RECVERR", 0),
    ipv6(26, "IPV6_V6ONLY", 0),
    ipv6(29, "IPV6_MULTICAST_ALL", 1),
    ipv6(49, "IPV6_RECVPKTINFO", 0),
    ipv6(51, "IPV6_RECVHOPLIMIT", 0),
    ipv6(62, "IPV6_DONTFRAG", 0),
    ipv6(66, "IPV6_RECVTCLASS", 0),
    ipv6(67, "IPV6_TCLASS", 0),
    ipv6(73, "IPV6_MINHOPCOUNT", 0),
    ipv6(74, "IPV6_RECVORIGDSTADDR", 0),
    ipv6(75, "IPV6_TRANSPARENT", 0),
    ipv6(76, "IPV6_UNICAST_IF", 0),
    ipv6(78, "IPV6_FREEBIND", 0),
    tcp(1, "TCP_NODELAY", 0),
    tcp(3, "TCP_CORK", 0),
    tcp(4, "TCP_KEEPIDLE", 7200),
    tcp(5, "TCP_KEEPINTVL", 75),
    tcp(6, "TCP_KEEPCNT", 9),
    tcp(7, "TCP_SYNCNT", 6),
    tcp(8, "TCP_LINGER2", 60),
    tcp(9, "TCP_DEFER_ACCEPT", 0),
    tcp(10, "TCP_WINDOW_CLAMP", 0),
    KnownOption {
        length: 16,
        usual: None,
        ..tcp(13, "TCP_CONGESTION", 0)
    },
    tcp(18, "TCP_USER_TIMEOUT", 0),
    tcp(23, "TCP_FASTOPEN", 0),
    tcp(25, "TCP_NOTSENT_LOWAT", 0),
    tcp(27, "TCP_SAVE_SYN", 0),
    tcp(30, "TCP_FASTOPEN_CONNECT", 0),
    tcp(34, "TCP_FASTOPEN_NO_COOKIE", 0),
    tcp(36, "TCP_INQ", 0),
    udp(100, "UDP_ENCAP"),
    udp(101, "UDP_NO_CHECK6_TX"),
    udp(102, "UDP_NO_CHECK6_RX"),
    udp(103, "UDP_SEGMENT"),
    udp(104, "UDP_GRO"),
    bytes(SO_ATTACH_FILTER, "SO_ATTACH_FILTER", FILTER_LIMIT * 8),
    number(44, "SO_LOCK_FILTER", 0),
];

/// `BPF_MAXINSNS`.
pub const FILTER_LIMIT: usize = 4096;

impl KnownOption {
    /// The row of an option, if there is one for sockets of this family.
    pub fn of(family: SocketFamily, option: &SocketOption) -> Option<&'static Self> {
        let mut all = SOCKET_OPTIONS.iter();
        all.find(|it| (it.level, it.name) == (option.level, option.name) && it.is_for(family))
    }

    /// Whether a value may be one of it.
    pub fn fits(&self, value: &[u8]) -> bool {
        match (self.level, self.name) {
            (SOL_SOCKET, SO_ATTACH_FILTER) => {
                value.len() <= self.length && value.len().is_multiple_of(8) && !value.is_empty()
            }
            _ => value.len() == self.length,
        }
    }

    /// Whether sockets of this family have it.
    pub fn is_for(&self, family: SocketFamily) -> bool {
        let six = family == SocketFamily::Inet6;
        self.family
            .is_none_or(|it| it == family || six && it == SocketFamily::Inet)
    }

    /// Whether a new socket has this value.
    pub fn is_usual(&self, value: &[u8]) -> bool {
        match self.usual {
            None => false,
            Some(usual) if self.length == 4 => value == usual.to_le_bytes(),
            Some(_) => value.iter().all(|byte| *byte == 0),
        }
    }
}

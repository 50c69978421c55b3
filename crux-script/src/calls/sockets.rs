//! Calls on sockets, for restore.
//!
//! Kind: pure, a table. Families that crux does not know how to restore are not in it.

use super::kind::Kind::{Fd, Flags, In, Is, OneOf, Out, UpTo};
use super::kind::{Form, Names, Null, Size, form, input, names, room};
use super::rules;

const FAMILY: Names = names![AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET];
const TYPE: Names = names![
    SOCK_STREAM,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_SEQPACKET,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
];
const LEVEL: Names = names![
    SOL_SOCKET,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPPROTO_TCP,
    IPPROTO_UDP,
    SOL_NETLINK,
    SOL_PACKET
];
const MESSAGE: Names = names![
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    MSG_PEEK,
    MSG_CMSG_CLOEXEC,
    MSG_OOB
];
/// struct sockaddr_storage
const ADDRESS: u64 = 128;

pub(super) const FORMS: &[Form] = &[
    form(
        libc::SYS_socket,
        "socket",
        &[
            ("family", OneOf(FAMILY)),
            ("type", Flags(TYPE)),
            ("protocol", UpTo(255)),
        ],
    ),
    form(
        libc::SYS_socketpair,
        "socketpair",
        &[
            ("family", Is("AF_UNIX", libc::AF_UNIX as u64)),
            ("type", Flags(TYPE)),
            ("protocol", UpTo(0)),
            ("fds", room(8)),
        ],
    ),
    form(
        libc::SYS_bind,
        "bind",
        &[
            ("fd", Fd),
            ("address", In(Size::Argument(2), Null::Refused)),
            ("length", UpTo(ADDRESS)),
        ],
    ),
    form(
        libc::SYS_connect,
        "connect",
        &[
            ("fd", Fd),
            ("address", In(Size::Argument(2), Null::Refused)),
            ("length", UpTo(ADDRESS)),
        ],
    ),
    form(
        libc::SYS_listen,
        "listen",
        &[("fd", Fd), ("backlog", UpTo(u32::MAX as u64))],
    ),
    form(
        libc::SYS_accept4,
        "accept4",
        &[
            ("fd", Fd),
            ("address", UpTo(0)),
            ("length", UpTo(0)),
            ("flags", Flags(names![SOCK_CLOEXEC, SOCK_NONBLOCK])),
        ],
    ),
    form(
        libc::SYS_shutdown,
        "shutdown",
        &[
            ("fd", Fd),
            ("how", OneOf(names![SHUT_RD, SHUT_WR, SHUT_RDWR])),
        ],
    ),
    form(
        libc::SYS_setsockopt,
        "setsockopt",
        &[
            ("fd", Fd),
            ("level", OneOf(LEVEL)),
            ("option", UpTo(255)),
            ("value", In(Size::Argument(4), Null::Refused)),
            ("length", UpTo(65536)),
        ],
    )
    .also(rules::socket_filter),
    form(
        libc::SYS_getsockopt,
        "getsockopt",
        &[
            ("fd", Fd),
            ("level", OneOf(LEVEL)),
            ("option", UpTo(255)),
            ("value", Out(Size::Fixed(4), Null::Refused)),
            ("length", input(4)),
        ],
    )
    .also(rules::four_bytes),
    form(
        libc::SYS_sendto,
        "sendto",
        &[
            ("fd", Fd),
            ("message", In(Size::Argument(2), Null::Refused)),
            ("length", UpTo(1 << 20)),
            ("flags", Flags(MESSAGE)),
        ],
    ),
    form(
        libc::SYS_recvfrom,
        "recvfrom",
        &[
            ("fd", Fd),
            ("message", Out(Size::Argument(2), Null::Refused)),
            ("length", UpTo(1 << 20)),
            (
                "flags",
                Flags(names![MSG_TRUNC, MSG_DONTWAIT, MSG_PEEK, MSG_WAITALL]),
            ),
        ],
    ),
    form(
        libc::SYS_sendmsg,
        "sendmsg",
        &[
            ("fd", Fd),
            // struct msghdr
            ("message", input(56)),
            ("flags", Flags(MESSAGE)),
        ],
    )
    .also(rules::message),
    form(
        libc::SYS_recvmsg,
        "recvmsg",
        &[
            ("fd", Fd),
            ("message", input(56)),
            ("flags", Flags(MESSAGE)),
        ],
    )
    .also(rules::message),
];

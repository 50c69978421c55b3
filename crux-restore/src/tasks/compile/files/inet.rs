//! Sockets of IP: set up, bound, connected, listening.
//!
//! Kind: pure. The network is there by now. Addresses of IPv6 may not be ready for some moments, and others may be
//! away: while it is bound, a socket may have any address (`IP_FREEBIND`).

use super::connections::has_port;
use crate::tasks::compile::Compiler;
use crux_image::tasks::{
    InetSocket, ProcessIndex, SO_REUSEADDR, SOL_SOCKET, SocketFamily, SocketIndex, SocketKind,
};
use crux_script::{Call, arguments};

const IPPROTO_IP: u16 = 0;
const IPPROTO_IPV6: u16 = 41;
const IP_FREEBIND: u16 = 15;
const IPV6_FREEBIND: u16 = 78;

/// Whether connections are at the port of a socket that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    Own,
    Shared,
}

impl Compiler<'_> {
    pub(super) fn inet(
        &mut self,
        at: ProcessIndex,
        index: SocketIndex,
        inet: &InetSocket,
        port: Port,
    ) {
        let tasks = self.tasks;
        let socket = &tasks.sockets[index.at()];
        let fd = self.socket(at, socket);
        let number = self.numbers.socket(index);
        self.keep(at, fd, number);
        self.set_options(at, number, socket);
        if port == Port::Shared && has_port(socket) {
            let on = 1_u32.to_le_bytes();
            self.set_value(at, number, (SOL_SOCKET, SO_REUSEADDR), on);
        }
        if !inet.own.is_empty() {
            let freebind = match socket.family {
                SocketFamily::Inet6 => (IPPROTO_IPV6, IPV6_FREEBIND),
                _ => (IPPROTO_IP, IP_FREEBIND),
            };
            let wanted = socket.option(freebind.0, freebind.1).unwrap_or(0);
            self.set_value(at, number, freebind, 1_u32.to_le_bytes());
            self.with_address(at, libc::SYS_bind, number, &inet.own);
            self.set_value(at, number, freebind, wanted.to_le_bytes());
        }
        self.join_groups(at, index, number);
        if socket.kind == SocketKind::Datagram && !inet.peer.is_empty() {
            self.with_address(at, libc::SYS_connect, number, &inet.peer);
        }
        if let Some(backlog) = inet.backlog {
            let call = Call::new(libc::SYS_listen).with(arguments![number, backlog]);
            self.call(at, call);
        }
    }

    pub(super) fn with_address(
        &mut self,
        at: ProcessIndex,
        call: libc::c_long,
        number: u32,
        address: &[u8],
    ) {
        let length = address.len();
        let bytes = self.bytes(address.to_vec());
        self.call(at, Call::new(call).with(arguments![number, bytes, length]));
    }
}

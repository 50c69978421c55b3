//! Netlink and packet sockets: bound as they were.
//!
//! Kind: pure. Who is a member of a group has to be bound first.

use crate::tasks::compile::Compiler;
use crux_image::tasks::{NetlinkSocket, PacketSocket, ProcessIndex, Socket, SocketIndex};
use crux_script::{Call, arguments};

const SOL_NETLINK: u16 = 270;
const NETLINK_ADD_MEMBERSHIP: u16 = 1;

impl Compiler<'_> {
    pub(super) fn netlink_socket(
        &mut self,
        at: ProcessIndex,
        index: SocketIndex,
        netlink: &NetlinkSocket,
    ) {
        let tasks = self.tasks;
        let fd = self.socket(at, &tasks.sockets[index.at()]);
        let number = self.numbers.socket(index);
        self.keep(at, fd, number);
        let address = |(port, groups): (u32, u32)| {
            let words = [libc::AF_NETLINK as u32, port, groups];
            words
                .into_iter()
                .flat_map(u32::to_le_bytes)
                .collect::<Vec<u8>>()
        };
        if netlink.port != 0 {
            let bytes = self.bytes(address((netlink.port, 0)));
            let call = Call::new(libc::SYS_bind).with(arguments![number, bytes, 12_u32]);
            self.call(at, call);
        }
        for group in &netlink.groups {
            let option = (SOL_NETLINK, NETLINK_ADD_MEMBERSHIP);
            self.set_value(at, number, option, group.to_le_bytes());
        }
        if netlink.peer != (0, 0) {
            let bytes = self.bytes(address(netlink.peer));
            let call = Call::new(libc::SYS_connect).with(arguments![number, bytes, 12_u32]);
            self.call(at, call);
        }
    }

    pub(super) fn packet_socket(
        &mut self,
        at: ProcessIndex,
        index: SocketIndex,
        packet: &PacketSocket,
    ) {
        let tasks = self.tasks;
        let socket = &tasks.sockets[index.at()];
        // Nothing comes before it is bound.
        let silent = Socket {
            protocol: 0,
            ..socket.clone()
        };
        let fd = self.socket(at, &silent);
        let number = self.numbers.socket(index);
        self.keep(at, fd, number);
        self.set_options(at, number, socket);
        if (packet.protocol, packet.device) == (0, 0) {
            return;
        }
        let head = libc::AF_PACKET as u32 | u32::from(packet.protocol) << 16;
        let words = [head, packet.device, 0, 0, 0];
        let bytes = words.into_iter().flat_map(u32::to_le_bytes);
        let bytes = self.bytes(bytes.collect::<Vec<u8>>());
        let call = Call::new(libc::SYS_bind).with(arguments![number, bytes, 20_u32]);
        self.call(at, call);
    }
}

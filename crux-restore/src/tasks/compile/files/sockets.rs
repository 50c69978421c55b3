//! Sockets: what all families have.
//!
//! Kind: pure. Sockets that need each other are made by one process, which keeps them at their numbers
//! for itself and its descendants. What waits in them is sent when all processes are there, for senders
//! are named by their numbers; what was set of them comes after that, for it may forbid it.

use super::flags;
use super::inet::Port;
use crate::tasks::compile::{Compiler, users};
use crux_image::tasks::{
    FileIndex, OpenTarget, Process, ProcessIndex, SO_ATTACH_FILTER, SO_RCVBUF, SO_SNDBUF,
    SOL_SOCKET, Socket, SocketIndex, SocketOption, SocketState,
};
use crux_script::{Block, Call, LineId, arguments};

/// The same as `SO_SNDBUF` and `SO_RCVBUF`, beyond the limits of the machine.
const SO_SNDBUFFORCE: u16 = 32;
const SO_RCVBUFFORCE: u16 = 33;
const CAP_NET_ADMIN: u64 = 1 << 12;

impl Compiler<'_> {
    /// Makes the sockets that this process is to make.
    pub(super) fn sockets(&mut self, at: ProcessIndex, process: &Process) {
        for component in self.openers.sockets(at).to_vec() {
            for index in &component {
                let socket = &self.tasks.sockets[index.at()];
                if socket.net_namespace != process.net_namespace {
                    self.refuse(
                        process,
                        "a socket of another network namespace cannot be restored yet",
                    );
                }
            }
            let tasks = self.tasks;
            let (unix, others): (Vec<_>, Vec<_>) = component
                .into_iter()
                .partition(|index| matches!(tasks.sockets[index.at()].state, SocketState::Unix(_)));
            self.unix_sockets(at, process, &unix);
            let connected =
                |it: &SocketIndex| matches!(tasks.sockets[it.at()].state, SocketState::Tcp(_));
            let port = match others.iter().any(connected) {
                true => Port::Shared,
                false => Port::Own,
            };
            self.connections(at, &others);
            let all = others.clone();
            for index in others {
                match &tasks.sockets[index.at()].state {
                    SocketState::Unix(_) | SocketState::Tcp(_) => {}
                    SocketState::Netlink(netlink) => self.netlink_socket(at, index, netlink),
                    SocketState::Packet(packet) => self.packet_socket(at, index, packet),
                    SocketState::Inet(inet) => self.inet(at, index, inet, port),
                }
            }
            if port == Port::Shared {
                self.settle_ports(at, &all);
            }
        }
    }

    /// What waits in them, what was set of them, what was shut down: when all are there.
    pub(in crate::tasks::compile) fn fill_sockets(&mut self, at: ProcessIndex, process: &Process) {
        let tasks = self.tasks;
        for component in self.openers.sockets(at).to_vec() {
            for index in &component {
                if let SocketState::Unix(unix) = &tasks.sockets[index.at()].state {
                    self.fill_unix(at, process, *index, unix);
                }
            }
            for index in &component {
                if let SocketState::Unix(unix) = &tasks.sockets[index.at()].state {
                    self.shut_unix(at, *index, unix);
                }
            }
            for index in component {
                self.set(at, index);
            }
        }
    }

    /// A new socket, at whatever number is free.
    pub(super) fn socket(&mut self, at: ProcessIndex, socket: &Socket) -> LineId {
        let kind = i32::from(socket.kind.number()) | libc::SOCK_CLOEXEC;
        let call = Call::new(libc::SYS_socket).with(arguments![
            u32::from(socket.family.number()),
            kind,
            u32::from(socket.protocol)
        ]);
        self.call(at, call)
    }

    fn set(&mut self, at: ProcessIndex, index: SocketIndex) {
        let tasks = self.tasks;
        let number = self.numbers.socket(index);
        let socket = &tasks.sockets[index.at()];
        // Packets come from the moment on at which they are bound.
        if matches!(socket.state, SocketState::Unix(_) | SocketState::Netlink(_)) {
            self.set_options(at, number, socket);
        }
        let mut files = tasks.files.iter();
        if let Some(file) = files.find(|it| it.target == OpenTarget::Socket(index)) {
            let flags = flags(&file.flags) & libc::O_NONBLOCK;
            let call = Call::new(libc::SYS_fcntl).with(arguments![number, libc::F_SETFL, flags]);
            self.call(at, call);
        }
    }

    /// All that was set of it.
    pub(super) fn set_options(&mut self, at: ProcessIndex, number: u32, socket: &Socket) {
        for option in &socket.options {
            self.set_option(at, number, option);
        }
    }

    pub(super) fn set_option(&mut self, at: ProcessIndex, number: u32, option: &SocketOption) {
        let half = || {
            let value = option.value.first_chunk();
            value.map_or(0, |it| u32::from_le_bytes(*it) / 2)
        };
        match (option.level, option.name) {
            (SOL_SOCKET, name @ (SO_SNDBUF | SO_RCVBUF)) => {
                self.set_buffer(at, number, name, half());
            }
            (SOL_SOCKET, SO_ATTACH_FILTER) => self.set_filter(at, number, &option.value),
            (level, name) => self.set_value(at, number, (level, name), option.value.clone()),
        }
    }

    /// `struct sock_fprog`: how many instructions, and where they are.
    fn set_filter(&mut self, at: ProcessIndex, number: u32, filter: &[u8]) {
        let count = filter.len() as u64 / 8;
        let filter = self.bytes(filter);
        let program = Block::words(&[count]).then_pointer(filter.at(0));
        let program = self.arena.block(program);
        let call = Call::new(libc::SYS_setsockopt).with(arguments![
            number,
            u32::from(SOL_SOCKET),
            u32::from(SO_ATTACH_FILTER),
            program,
            16_u32
        ]);
        self.call(at, call);
    }

    /// `SO_SNDBUF` or `SO_RCVBUF`: the kernel doubles it.
    pub(super) fn set_buffer(&mut self, at: ProcessIndex, number: u32, name: u16, half: u32) {
        let name = match (self.forces_buffers(), name) {
            (true, SO_SNDBUF) => SO_SNDBUFFORCE,
            (true, _) => SO_RCVBUFFORCE,
            (false, name) => name,
        };
        self.set_value(at, number, (SOL_SOCKET, name), half.to_le_bytes());
    }

    /// Whether buffers may be beyond the limits of the machine.
    ///
    /// KERNEL: the capability of the first user namespace is asked for.
    pub(super) fn forces_buffers(&self) -> bool {
        self.machine.capabilities & CAP_NET_ADMIN != 0 && users::born(self.tasks).is_none()
    }

    pub(super) fn set_value(
        &mut self,
        at: ProcessIndex,
        number: u32,
        (level, name): (u16, u16),
        value: impl Into<Vec<u8>>,
    ) {
        let value = value.into();
        let length = value.len();
        let block = self.bytes(value);
        let call = Call::new(libc::SYS_setsockopt).with(arguments![
            number,
            u32::from(level),
            u32::from(name),
            block,
            length
        ]);
        self.call(at, call);
    }

    /// The description of a socket, if there is one.
    pub(super) fn file_of(&self, index: SocketIndex) -> Option<FileIndex> {
        let mut files = self.tasks.files.iter();
        let found = files.position(|it| it.target == OpenTarget::Socket(index));
        found.map(FileIndex::from)
    }
}

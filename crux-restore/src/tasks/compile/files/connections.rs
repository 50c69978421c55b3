//! Connections of TCP, both ends of which are within: they are made again, and what waits is sent again.
//!
//! Kind: pure. Both ends are made by one process, and before anybody listens at a port of theirs: who is accepted is so by
//! a listener of this connection's own, which its successor replaces. All sockets at a port let others be there
//! (`SO_REUSEADDR`) until all of them are.
//!
//! What an end does not take at once stays with the other, as before it has been received.

use crate::tasks::compile::Compiler;
use crux_image::tasks::{
    ProcessIndex, SO_RCVBUF, SO_REUSEADDR, SO_SNDBUF, SOL_SOCKET, Socket, SocketIndex, SocketKind,
    SocketState, TcpConnection,
};
use crux_script::{Block, Call, Expect, arguments};

const TCP: u16 = 6;
const TCP_NODELAY: u16 = 1;
const IPPROTO_IPV6: u16 = 41;
const IPV6_V6ONLY: u16 = 26;
const SO_RCVTIMEO: u16 = 20;
/// How much is sent, or waited for, at once.
const PIECE: usize = 1 << 20;
/// Of the buffer for sending, as long as what waits is sent.
const AMPLE: u32 = 64 << 20;
/// `struct timeval`: how long what is sent is waited for, where there is not room for all of it.
const LONGEST: [u64; 2] = [1, 0];
const ON: [u8; 4] = 1_u32.to_le_bytes();
const OFF: [u8; 4] = 0_u32.to_le_bytes();

/// A connection: the number of each end, and what is to come out of it.
struct Pair<'a> {
    ends: [u32; 2],
    states: [Option<&'a TcpConnection>; 2],
}

impl<'a> Compiler<'a> {
    fn connection(&self, index: SocketIndex) -> Option<(&'a Socket, &'a TcpConnection)> {
        let socket = &self.tasks.sockets[index.at()];
        match &socket.state {
            SocketState::Tcp(tcp) => Some((socket, tcp)),
            _ => None,
        }
    }

    /// Makes those among sockets that need each other.
    pub(super) fn connections(&mut self, at: ProcessIndex, component: &[SocketIndex]) {
        for index in component {
            let Some((socket, tcp)) = self.connection(*index) else {
                continue;
            };
            let number = self.numbers.socket(*index);
            match tcp.other {
                // By the one that stands first.
                Some(other) if other < *index => {}
                Some(other) => {
                    let Some((second, of_second)) = self.connection(other) else {
                        continue;
                    };
                    let mut pair = Pair {
                        ends: [number, self.numbers.socket(other)],
                        states: [Some(tcp), Some(of_second)],
                    };
                    // Who was accepted has mostly the lower port: others are taken from a range above.
                    let ports = tcp.ends().map(|(own, peer)| (own.1, peer.1));
                    if ports.is_some_and(|(own, peer)| own > peer) {
                        pair.ends.reverse();
                        pair.states.reverse();
                        self.meet(at, &pair.ends, second, of_second, (socket, tcp));
                    } else {
                        self.meet(at, &pair.ends, socket, tcp, (second, of_second));
                    }
                    self.send_again(at, &pair);
                }
                None => {
                    let helper = self.numbers.helper(*index);
                    let left = TcpConnection {
                        own: tcp.peer.clone(),
                        peer: tcp.own.clone(),
                        ..tcp.clone()
                    };
                    self.meet(at, &[number, helper], socket, tcp, (socket, &left));
                    let pair = Pair {
                        ends: [number, helper],
                        states: [Some(tcp), None],
                    };
                    self.send_again(at, &pair);
                }
            }
        }
    }

    /// The first end is accepted, the second connects.
    fn meet(
        &mut self,
        at: ProcessIndex,
        ends: &[u32; 2],
        socket: &Socket,
        tcp: &TcpConnection,
        (second, of_second): (&Socket, &TcpConnection),
    ) {
        let [accepted, client] = *ends;
        self.at_its_address(at, accepted, socket, tcp);
        let listen = Call::new(libc::SYS_listen).with(arguments![accepted, 1_u32]);
        self.call(at, listen);
        self.at_its_address(at, client, second, of_second);
        self.with_address(at, libc::SYS_connect, client, &of_second.peer);
        let nowhere = arguments![accepted, 0_u32, 0_u32, libc::SOCK_CLOEXEC];
        let fd = self.call(at, Call::new(libc::SYS_accept4).with(nowhere));
        self.keep(at, fd, accepted);
    }

    /// A new socket that is bound.
    fn at_its_address(
        &mut self,
        at: ProcessIndex,
        number: u32,
        socket: &Socket,
        tcp: &TcpConnection,
    ) {
        let fd = self.socket(at, socket);
        self.keep(at, fd, number);
        self.set_value(at, number, (SOL_SOCKET, SO_REUSEADDR), ON);
        // Who is bound cannot be told any more; who is accepted has it from its listener.
        if let Some(only) = socket.option(IPPROTO_IPV6, IPV6_V6ONLY) {
            let option = (IPPROTO_IPV6, IPV6_V6ONLY);
            self.set_value(at, number, option, only.to_le_bytes());
        }
        // How far a window may open is settled when two meet.
        if let Some(size) = socket.option(SOL_SOCKET, SO_RCVBUF) {
            self.set_buffer(at, number, SO_RCVBUF, size / 2);
        }
        self.with_address(at, libc::SYS_bind, number, &tcp.own);
    }

    /// What waits in either end is sent by the other, and who sends no more says so.
    fn send_again(&mut self, at: ProcessIndex, pair: &Pair<'_>) {
        let ways = [(0, 1), (1, 0)];
        for (to, from) in ways {
            let Some(tcp) = pair.states[to] else { continue };
            self.send_all(at, pair.ends[from], &tcp.queue);
        }
        for (to, from) in ways {
            match pair.states[from] {
                None => {
                    let call = Call::new(libc::SYS_close).with(arguments![pair.ends[from]]);
                    self.call(at, call);
                }
                Some(tcp) if tcp.sends_no_more => self.shut(at, pair.ends[from], libc::SHUT_WR),
                Some(_) => {}
            }
            let ended = pair.states[from].is_none_or(|it| it.sends_no_more);
            if let Some(tcp) = pair.states[to] {
                self.wait_for(at, pair.ends[to], tcp.queue.len() + usize::from(ended));
            }
        }
        for (end, tcp) in pair.ends.into_iter().zip(pair.states) {
            if tcp.is_some_and(|it| it.receives_no_more) {
                self.shut(at, end, libc::SHUT_RD);
            }
        }
    }

    fn send_all(&mut self, at: ProcessIndex, from: u32, queue: &[u8]) {
        if queue.is_empty() {
            return;
        }
        self.set_value(at, from, (TCP, TCP_NODELAY), ON);
        // Of its own, the kernel gives more than what is set without privilege.
        if self.forces_buffers() {
            self.set_buffer(at, from, SO_SNDBUF, AMPLE);
        }
        // Who cannot send fails, and does not wait.
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        for piece in queue.chunks(PIECE) {
            let (data, length) = (self.bytes(piece), piece.len() as u64);
            let call = Call::new(libc::SYS_sendto).with(arguments![from, data, length, flags]);
            self.call(at, call.exactly(length));
        }
    }

    /// Until so much has come, or the end: nobody is to see less than there was.
    fn wait_for(&mut self, at: ProcessIndex, end: u32, length: usize) {
        let length = length.min(PIECE);
        if length == 0 {
            return;
        }
        let longest: Vec<u8> = LONGEST.into_iter().flat_map(u64::to_le_bytes).collect();
        self.set_value(at, end, (SOL_SOCKET, SO_RCVTIMEO), longest);
        let room = self.arena.block(Block::room(length));
        let flags = libc::MSG_PEEK | libc::MSG_WAITALL | libc::MSG_TRUNC;
        let call = Call::new(libc::SYS_recvfrom).with(arguments![end, room, length, flags]);
        self.call(at, call.expect(Expect::Any));
        self.set_value(at, end, (SOL_SOCKET, SO_RCVTIMEO), vec![0; 16]);
    }

    fn shut(&mut self, at: ProcessIndex, number: u32, how: i32) {
        let call = Call::new(libc::SYS_shutdown).with(arguments![number, how]);
        self.call(at, call);
    }

    /// What was set of those at a port, when all of them are there.
    pub(super) fn settle_ports(&mut self, at: ProcessIndex, component: &[SocketIndex]) {
        let tasks = self.tasks;
        let sockets = component.iter().map(|it| (*it, &tasks.sockets[it.at()]));
        for (index, socket) in sockets.filter(|(_, socket)| has_port(socket)) {
            let number = self.numbers.socket(index);
            let reuse = socket.option(SOL_SOCKET, SO_REUSEADDR).unwrap_or(0);
            if matches!(socket.state, SocketState::Tcp(_)) {
                self.set_value(at, number, (TCP, TCP_NODELAY), OFF);
                let options = socket.options.iter();
                let later = options.filter(|it| (it.level, it.name) != (IPPROTO_IPV6, IPV6_V6ONLY));
                for option in later {
                    self.set_option(at, number, option);
                }
            }
            self.set_value(at, number, (SOL_SOCKET, SO_REUSEADDR), reuse.to_le_bytes());
        }
    }
}

/// Whether it is a socket of TCP, connected or not.
pub(super) fn has_port(socket: &Socket) -> bool {
    match socket.state {
        SocketState::Tcp(_) => true,
        SocketState::Inet(_) => socket.kind == SocketKind::Stream,
        _ => false,
    }
}

//! Sockets that need each other to be made, or to be filled: one process makes all of them.
//!
//! Kind: pure.

use super::connections::has_port;
use crux_image::tasks::{
    FileIndex, InetSocket, OpenTarget, SocketIndex, SocketState, Tasks, UnixConnection, UnixSocket,
};
use std::collections::{BTreeMap, HashMap};

/// Which sockets need each other.
#[derive(Debug)]
pub(super) struct Components {
    /// By [`SocketIndex`]: one before it that it needs, or that needs it; or itself.
    above: Vec<SocketIndex>,
}

impl Components {
    pub(super) fn new(tasks: &Tasks) -> Self {
        let all = (0..tasks.sockets.len()).map(SocketIndex::from);
        let mut components = Self {
            above: all.collect(),
        };
        let mut names = HashMap::new();
        for (at, socket) in tasks.sockets.iter().enumerate() {
            let at = SocketIndex::from(at);
            let SocketState::Unix(unix) = &socket.state else {
                continue;
            };
            for other in needed(unix) {
                components.join(at, other);
            }
            // Who sends is found by name, and one name is made after the other.
            let own = unix.name.iter().map(|name| &name.address);
            let senders = unix.queue.iter().filter_map(|it| it.sender.as_ref());
            for name in own.chain(senders) {
                let first = *names.entry(name).or_insert(at);
                components.join(at, first);
            }
        }
        components.join_at_ports(tasks);
        for (first, file) in components.on_their_way(tasks) {
            if let OpenTarget::Socket(other) = tasks.files[file.at()].target {
                components.join(first, other);
            }
        }
        components
    }

    /// Ends of connections of TCP, and all that are at a port of theirs: who listens there does so after they are.
    fn join_at_ports(&mut self, tasks: &Tasks) {
        let mut ports = HashMap::new();
        let sockets = || tasks.sockets.iter().enumerate();
        for (at, socket) in sockets() {
            if let SocketState::Tcp(tcp) = &socket.state {
                let at = SocketIndex::from(at);
                tcp.other.into_iter().for_each(|other| self.join(at, other));
                for address in [&tcp.own, &tcp.peer] {
                    let first = ports.entry((socket.net_namespace, port(address)));
                    let first = *first.or_insert(at);
                    self.join(at, first);
                }
            }
        }
        for (at, socket) in sockets() {
            if let SocketState::Inet(inet) = &socket.state
                && has_port(socket)
                && let Some(first) = ports.get(&(socket.net_namespace, port(&inet.own)))
            {
                self.join(at.into(), *first);
            }
        }
    }

    /// The first of those that need each other.
    pub(super) fn first(&self, mut at: SocketIndex) -> SocketIndex {
        while self.above[at.at()] != at {
            at = self.above[at.at()];
        }
        at
    }

    fn join(&mut self, one: SocketIndex, two: SocketIndex) {
        let (one, two) = (self.first(one), self.first(two));
        let (low, high) = (one.min(two), one.max(two));
        self.above[high.at()] = low;
    }

    /// All of them, each in the order of the record.
    pub(super) fn all(&self) -> impl Iterator<Item = Vec<SocketIndex>> {
        let mut all = BTreeMap::<SocketIndex, Vec<SocketIndex>>::new();
        for at in (0..self.above.len()).map(SocketIndex::from) {
            all.entry(self.first(at)).or_default().push(at);
        }
        all.into_values()
    }

    /// Descriptions that are on their way, and in which of them.
    pub(super) fn on_their_way(&self, tasks: &Tasks) -> Vec<(SocketIndex, FileIndex)> {
        let sockets = tasks.sockets.iter().enumerate();
        let files = sockets.flat_map(|(at, socket)| {
            let queue = match &socket.state {
                SocketState::Unix(unix) => &unix.queue[..],
                _ => &[],
            };
            let files = queue.iter().flat_map(|message| &message.files);
            files.map(move |file| (self.first(at.into()), *file))
        });
        files.collect()
    }
}

/// Of an address of IP.
fn port(address: &[u8]) -> Option<u16> {
    InetSocket::endpoint(address).map(|(_, port)| port)
}

fn needed(unix: &UnixSocket) -> Vec<SocketIndex> {
    let mut all: Vec<_> = unix.connection.peer().into_iter().collect();
    match &unix.connection {
        UnixConnection::Listening { pending, .. } => all.extend(pending),
        UnixConnection::Accepted { listener, .. } => all.extend(listener),
        _ => {}
    }
    all
}

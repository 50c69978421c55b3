//! Unix sockets: how they come to their names and to each other.
//!
//! Kind: pure. Who was accepted has the name of whom it was connected to: so a listener accepts it again,
//! one for the moment where the former is gone. `SO_PEERCRED` says who made two ends meet, when they do:
//! the process that makes them has those ids then, and its own number.

use crate::tasks::compile::{Compiler, users};
use crux_image::tasks::{
    Process, ProcessIndex, SO_SNDBUF, Socket, SocketCredentials, SocketIndex, SocketKind,
    SocketState, UnixConnection, UnixMessage, UnixSocket,
};
use crux_script::{Block, Call, arguments};
use std::collections::BTreeSet;

/// For as long as it is filled, a socket may send this much.
const AMPLE: u32 = 64 << 20;
const SCM_RIGHTS: u32 = 1;
const SCM_CREDENTIALS: u32 = 2;

/// What is no unix socket has no name, and talks to none.
static NOBODY: UnixSocket = UnixSocket {
    name: None,
    connection: UnixConnection::None,
    peer_credentials: None,
    receives_no_more: false,
    sends_no_more: false,
    queue: Vec::new(),
};

impl<'a> Compiler<'a> {
    fn unix(&self, index: SocketIndex) -> (&'a Socket, &'a UnixSocket) {
        let socket = &self.tasks.sockets[index.at()];
        match &socket.state {
            SocketState::Unix(unix) => (socket, unix),
            _ => (socket, &NOBODY),
        }
    }

    pub(super) fn unix_sockets(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        component: &[SocketIndex],
    ) {
        for index in component {
            self.begin(at, *index);
        }
        // A name that was given up comes before who has it now.
        let order = |index: &SocketIndex| {
            let file = self.unix(*index).1.name.as_ref();
            let file = file.and_then(|name| name.file.as_ref());
            (!file.is_some_and(|file| file.removed), *index)
        };
        let ordered: BTreeSet<_> = component.iter().map(order).collect();
        for (_, index) in ordered {
            self.name_and_meet(at, process, index, component);
        }
    }

    /// Makes it, or both of a pair; what is accepted is not there yet.
    fn begin(&mut self, at: ProcessIndex, index: SocketIndex) {
        let (socket, unix) = self.unix(index);
        let number = self.numbers.socket(index);
        match &unix.connection {
            UnixConnection::Pair(other) if index < *other => {
                let other = self.numbers.socket(*other);
                self.pair(at, socket, [number, other], unix.peer_credentials);
            }
            UnixConnection::Gone => {
                let other = self.numbers.helper(index);
                self.pair(at, socket, [number, other], unix.peer_credentials);
            }
            UnixConnection::Pair(_) | UnixConnection::Accepted { .. } => {}
            _ => {
                let fd = self.socket(at, socket);
                self.keep(at, fd, number);
            }
        }
    }

    fn pair(
        &mut self,
        at: ProcessIndex,
        socket: &Socket,
        numbers: [u32; 2],
        credentials: Option<SocketCredentials>,
    ) {
        let fds = self.arena.block(Block::room(8));
        let kind = i32::from(socket.kind.number()) | libc::SOCK_CLOEXEC;
        let call =
            Call::new(libc::SYS_socketpair).with(arguments![libc::AF_UNIX, kind, 0_u32, fds]);
        self.as_user(at, credentials, |it| {
            it.call(at, call);
        });
        // The lowest numbers are free.
        for (fd, number) in (0_u32..).zip(numbers) {
            let keep = Call::new(libc::SYS_dup3).with(arguments![fd, number, libc::O_CLOEXEC]);
            self.call(at, keep);
            self.call(at, Call::new(libc::SYS_close).with(arguments![fd]));
        }
    }

    /// Gives it its name, and has those come that need that.
    fn name_and_meet(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        index: SocketIndex,
        component: &[SocketIndex],
    ) {
        let (socket, unix) = self.unix(index);
        let Some(name) = &unix.name else { return };
        let number = self.numbers.socket(index);
        let named = match &unix.connection {
            UnixConnection::Accepted {
                listener: Some(_), ..
            } => return,
            UnixConnection::Accepted { client, .. } => {
                // Its listener is gone: one is made for this connection.
                let listener = self.numbers.helper(index);
                let fd = self.socket(at, socket);
                self.keep(at, fd, listener);
                let named = self.bind(at, process, listener, name);
                let of_client = self.unix(*client).1.peer_credentials;
                self.listen(at, listener, 1, of_client);
                self.accept(at, process, listener, index);
                self.call(at, Call::new(libc::SYS_close).with(arguments![listener]));
                named
            }
            UnixConnection::Listening { backlog, pending } => {
                let named = self.bind(at, process, number, name);
                self.listen(at, number, *backlog, unix.peer_credentials);
                for other in component {
                    if matches!(&self.unix(*other).1.connection, UnixConnection::Accepted { listener, .. } if *listener == Some(index))
                    {
                        self.accept(at, process, number, *other);
                    }
                }
                for client in pending {
                    let whose = self.holder(*client);
                    self.connect(at, self.numbers.socket(*client), &name.address, whose);
                }
                named
            }
            _ => {
                let named = self.bind(at, process, number, name);
                self.datagrams_to(at, index, component, &name.address);
                named
            }
        };
        if let Some(named) = named {
            self.leave(at, named);
        }
    }

    fn listen(
        &mut self,
        at: ProcessIndex,
        number: u32,
        backlog: u32,
        credentials: Option<SocketCredentials>,
    ) {
        let call = Call::new(libc::SYS_listen).with(arguments![number, backlog]);
        self.as_user(at, credentials, |it| {
            it.call(at, call);
        });
    }

    /// The client of an accepted socket connects, and is accepted as that.
    fn accept(&mut self, at: ProcessIndex, process: &Process, listener: u32, index: SocketIndex) {
        let (_, unix) = self.unix(index);
        let (Some(name), UnixConnection::Accepted { client, .. }) = (&unix.name, &unix.connection)
        else {
            self.refuse(process, "a socket was accepted without a name");
            return;
        };
        let number = self.numbers.socket(*client);
        self.connect(at, number, &name.address, unix.peer_credentials);
        let call = Call::new(libc::SYS_accept4).with(arguments![
            listener,
            0_u32,
            0_u32,
            libc::SOCK_CLOEXEC
        ]);
        let fd = self.call(at, call);
        self.keep(at, fd, self.numbers.socket(index));
    }

    fn connect(
        &mut self,
        at: ProcessIndex,
        number: u32,
        path: &[u8],
        credentials: Option<SocketCredentials>,
    ) {
        let address = address(path);
        let length = address.len();
        let block = self.bytes(address);
        let call = Call::new(libc::SYS_connect).with(arguments![number, block, length]);
        self.as_user(at, credentials, |it| {
            it.call(at, call);
        });
    }

    /// Who sends datagrams there, or has sent those that wait.
    fn datagrams_to(
        &mut self,
        at: ProcessIndex,
        index: SocketIndex,
        component: &[SocketIndex],
        path: &[u8],
    ) {
        let (socket, unix) = self.unix(index);
        if socket.kind != SocketKind::Datagram {
            return;
        }
        for other in component {
            if self.unix(*other).1.connection == UnixConnection::To(index) {
                self.connect(at, self.numbers.socket(*other), path, None);
            }
        }
        if unix.connection == UnixConnection::None && !unix.queue.is_empty() {
            let helper = self.numbers.helper(index);
            let fd = self.socket(at, socket);
            self.keep(at, fd, helper);
            self.connect(at, helper, path, None);
        }
    }

    /// Whose effective ids a socket's first owner has.
    fn holder(&self, index: SocketIndex) -> Option<SocketCredentials> {
        let file = self.file_of(index)?;
        let mut processes = self.tasks.processes.iter();
        let process = processes.find(|process| {
            let table = process
                .descriptors
                .map(|it| &self.tasks.descriptor_tables[it.at()]);
            table.is_some_and(|table| table.descriptors.iter().any(|it| it.file == file))
        })?;
        let leader = process.threads.first()?;
        Some(SocketCredentials {
            pid: process.first_pid(),
            uid: leader.credentials.uids[1],
            gid: leader.credentials.gids[1],
        })
    }

    /// Sends what waits in a socket.
    pub(super) fn fill_unix(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        index: SocketIndex,
        unix: &UnixSocket,
    ) {
        if !unix.queue.is_empty() {
            let from = match &unix.connection {
                UnixConnection::Listening { .. } | UnixConnection::Waiting => return,
                UnixConnection::None | UnixConnection::Gone => self.numbers.helper(index),
                other => other.peer().map_or(0, |peer| self.numbers.socket(peer)),
            };
            self.set_buffer(at, from, SO_SNDBUF, AMPLE);
            for message in &unix.queue {
                let from = self.sender(process, index, message).unwrap_or(from);
                self.send(at, from, message);
            }
        }
        let helped = !unix.queue.is_empty() && unix.connection == UnixConnection::None;
        if helped || unix.connection == UnixConnection::Gone {
            let helper = self.numbers.helper(index);
            self.call(at, Call::new(libc::SYS_close).with(arguments![helper]));
        }
    }

    /// The socket that a datagram names as its sender.
    fn sender(
        &mut self,
        process: &Process,
        index: SocketIndex,
        message: &UnixMessage,
    ) -> Option<u32> {
        let name = message.sender.as_ref()?;
        let (socket, unix) = self.unix(index);
        if socket.kind != SocketKind::Datagram {
            return None;
        }
        let mut all = (0..self.tasks.sockets.len()).map(SocketIndex::from);
        let found = all.find(|other| {
            let unix = self.unix(*other).1;
            let named = unix.name.as_ref().is_some_and(|it| it.address == *name);
            named && unix.connection.peer() == Some(index)
        });
        let peer = unix.connection.peer();
        match found {
            Some(found) if peer.is_none_or(|peer| peer == found) => {
                Some(self.numbers.socket(found))
            }
            _ => {
                let what = "a datagram waits of a socket with a name that is not connected to where it waits, which cannot be restored yet";
                self.refuse(process, what);
                None
            }
        }
    }

    fn send(&mut self, at: ProcessIndex, from: u32, message: &UnixMessage) {
        let (data, length) = (self.bytes(message.data.clone()), message.data.len() as u64);
        let vector = Block::default().then_pointer(data.at(0)).then(&[length]);
        let vector = self.arena.block(vector);
        let control = self.control(message);
        let head = Block::words(&[0, 0]).then_pointer(vector.at(0)).then(&[1]);
        let head = match control.len() as u64 {
            0 => head.then(&[0, 0, 0]),
            length => {
                let control = self.bytes(control);
                head.then_pointer(control.at(0)).then(&[length, 0])
            }
        };
        let head = self.arena.block(head);
        // Who cannot send fails, and does not wait.
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let call = Call::new(libc::SYS_sendmsg).with(arguments![from, head, flags]);
        self.call(at, call.exactly(length));
    }

    /// `SCM_RIGHTS` and `SCM_CREDENTIALS` (cmsg(3)).
    fn control(&self, message: &UnixMessage) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut part = |kind: u32, words: Vec<u32>| {
            let length = 16 + words.len() as u64 * 4;
            bytes.extend(length.to_le_bytes());
            bytes.extend((libc::SOL_SOCKET as u32).to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend(words.into_iter().flat_map(u32::to_le_bytes));
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        };
        if !message.files.is_empty() {
            let files = message.files.iter();
            part(SCM_RIGHTS, files.map(|it| self.numbers.file(*it)).collect());
        }
        if let Some(sender) = message.credentials.filter(|it| it.pid != 0) {
            part(SCM_CREDENTIALS, vec![sender.pid, sender.uid, sender.gid]);
        }
        bytes
    }

    /// What is shut down of a connection its other end has shut down for it.
    pub(super) fn shut_unix(&mut self, at: ProcessIndex, index: SocketIndex, unix: &UnixSocket) {
        let (socket, _) = self.unix(index);
        let alone = socket.kind == SocketKind::Datagram;
        let ends = [
            (unix.sends_no_more, libc::SHUT_WR),
            (alone && unix.receives_no_more, libc::SHUT_RD),
        ];
        let connected =
            unix.connection.peer().is_some() || unix.connection == UnixConnection::Waiting;
        for (_, how) in ends.into_iter().filter(|(set, _)| *set && connected) {
            let number = self.numbers.socket(index);
            let call = Call::new(libc::SYS_shutdown).with(arguments![number, how]);
            self.call(at, call);
        }
    }

    /// Does something with the effective ids that the other end is to see.
    fn as_user(
        &mut self,
        at: ProcessIndex,
        credentials: Option<SocketCredentials>,
        work: impl FnOnce(&mut Self),
    ) {
        // Who is born in a user namespace is its root.
        let (uid, gid) = match users::born(self.tasks) {
            Some(_) => (0, 0),
            None => (self.machine.uid, self.machine.gid),
        };
        let Some(wanted) = credentials.filter(|it| (it.uid, it.gid) != (uid, gid)) else {
            return work(self);
        };
        /// `SECBIT_NO_SETUID_FIXUP`: the sets of capabilities stay.
        const KEEP: u32 = 1 << 2;
        let same = u32::MAX;
        let prctl =
            |option: i32, value: u32| Call::new(libc::SYS_prctl).with(arguments![option, value]);
        self.call(at, prctl(libc::PR_SET_SECUREBITS, KEEP));
        let ids = |call: libc::c_long, id: u32| Call::new(call).with(arguments![same, id, same]);
        self.call(at, ids(libc::SYS_setresgid, wanted.gid));
        self.call(at, ids(libc::SYS_setresuid, wanted.uid));
        work(self);
        self.call(at, ids(libc::SYS_setresuid, uid));
        self.call(at, ids(libc::SYS_setresgid, gid));
        self.call(at, prctl(libc::PR_SET_SECUREBITS, 0));
        // Whose ids change cannot be looked at by who traces it.
        self.call(at, prctl(libc::PR_SET_DUMPABLE, 1));
    }
}

/// `struct sockaddr_un`, as long as it has to be.
pub(super) fn address(path: &[u8]) -> Vec<u8> {
    let mut bytes = (libc::AF_UNIX as u16).to_le_bytes().to_vec();
    bytes.extend(path);
    // A path of the full length has no NUL.
    if path.first() != Some(&0) && path.len() < 108 {
        bytes.push(0);
    }
    bytes
}

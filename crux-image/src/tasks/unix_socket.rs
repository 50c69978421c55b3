//! Unix sockets (unix(7)).
//!
//! Kind: pure.

use super::{FileIndex, Location, SocketIndex};
use serde::{Deserialize, Serialize};

/// What is particular to a unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnixSocket {
    /// Its name. One that was accepted has that of whom it was connected to.
    pub name: Option<UnixName>,
    /// Whom it talks to.
    pub connection: UnixConnection,
    /// `SO_PEERCRED`: who made the other end, or, of one that listens, who made it listen.
    pub peer_credentials: Option<SocketCredentials>,
    /// Whether it has shut down receiving itself (`SHUT_RD`).
    pub receives_no_more: bool,
    /// Whether it has shut down sending itself (`SHUT_WR`).
    pub sends_no_more: bool,
    /// What it has not received yet: messages in their order; of a stream, pieces that
    /// were sent with the same credentials, and descriptors before the first byte.
    pub queue: Vec<UnixMessage>,
}

/// A name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnixName {
    /// `sun_path`: without the NUL at its end, or, abstract, with the NUL at its beginning.
    pub address: Vec<u8>,
    /// The file with that name; none where it is abstract, or is another socket's.
    pub file: Option<UnixFile>,
}

/// The file that bind(2) made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnixFile {
    /// The directory in which the address leads to the file: a root, or a working directory.
    pub base: Location,
    /// Where the file is.
    pub place: Location,
    /// Whether it has been removed since, so that its place may be another's.
    pub removed: bool,
    /// Mode bits.
    pub mode: u32,
    /// Owner, as its user namespace has it.
    pub uid: u32,
    /// Owner.
    pub gid: u32,
    /// Times of access and modification: seconds, nanoseconds.
    pub times: [(i64, u32); 2],
}

/// Whom a unix socket talks to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnixConnection {
    /// Nobody.
    None,
    /// It accepts connections.
    Listening {
        /// listen(2).
        backlog: u32,
        /// Those that wait to be accepted, the first first.
        pending: Vec<SocketIndex>,
    },
    /// The other of two that were made together.
    Pair(SocketIndex),
    /// It was accepted from `listener`, if that is still there, when `client` connected.
    Accepted {
        /// The other end.
        client: SocketIndex,
        /// Where it was accepted.
        listener: Option<SocketIndex>,
    },
    /// It has connected, and was accepted as this one.
    Connected(SocketIndex),
    /// It has connected, and waits to be accepted.
    Waiting,
    /// Datagrams go to this one.
    To(SocketIndex),
    /// The other end is gone.
    Gone,
}

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnixMessage {
    /// What it says.
    pub data: Vec<u8>,
    /// Descriptors that it brings (`SCM_RIGHTS`).
    pub files: Vec<FileIndex>,
    /// Who has sent it (`SCM_CREDENTIALS`), where that was asked for.
    pub credentials: Option<SocketCredentials>,
    /// The name of the socket that has sent it, of a datagram.
    pub sender: Option<Vec<u8>>,
}

/// `struct ucred`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketCredentials {
    /// In the first pid namespace; 0: nobody of it.
    pub pid: u32,
    /// As the user namespace of the first process has it.
    pub uid: u32,
    /// Likewise.
    pub gid: u32,
}

impl UnixConnection {
    /// The other end, if that is one of the image.
    pub fn peer(&self) -> Option<SocketIndex> {
        match self {
            Self::Pair(peer)
            | Self::Accepted { client: peer, .. }
            | Self::Connected(peer)
            | Self::To(peer) => Some(*peer),
            Self::None | Self::Listening { .. } | Self::Waiting | Self::Gone => None,
        }
    }
}

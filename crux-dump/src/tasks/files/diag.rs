//! What the kernel tells of sockets in no other way: the peers of unix sockets, who waits to be accepted, what
//! is shut down; what packet sockets have (sock_diag(7)).
//!
//! Kind: effect where it asks; what the answers mean is pure. A socket of netlink stays in the network
//! namespace in which it was made: this thread goes there for a moment, and comes back.

use crux_mount::sys::SysError;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};

/// What is known of a unix socket; others are named by their inode numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct UnixFacts {
    /// `TCP_*`: 1 is connected, 10 listens.
    pub(super) state: u8,
    /// The other end; 0: one that nobody has a descriptor of.
    pub(super) peer: Option<u64>,
    /// Those that wait to be accepted, the first first; 0 as above.
    pub(super) waiting: Vec<u64>,
    /// Of one that listens: how many may wait.
    pub(super) backlog: u32,
    /// `RCV_SHUTDOWN`, `SEND_SHUTDOWN`.
    pub(super) shutdown: u8,
    /// Device and inode number of the file that it is bound to, as the kernel has them.
    pub(super) file: Option<(u32, u32)>,
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST|NLM_F_DUMP`.
const DUMP: u16 = 0x301;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `UDIAG_SHOW_VFS|PEER|ICONS|RQLEN`.
const SHOW: u32 = 0x02 | 0x04 | 0x08 | 0x10;
const HEADER: usize = 16;
/// `struct unix_diag_msg`, and behind it attributes.
const MESSAGE: usize = 16;
/// `struct inet_diag_msg`, likewise.
const INET_MESSAGE: usize = 72;

/// All unix sockets of a network namespace, by inode number. `home` is the caller's.
pub(super) fn unix_sockets(
    namespace: BorrowedFd<'_>,
    home: BorrowedFd<'_>,
) -> Result<HashMap<u64, UnixFacts>, SysError> {
    let mut found = HashMap::new();
    let mut note = |body: &[u8]| {
        found.insert(word(body, 4).into(), facts(body));
    };
    // In whatever state, of whatever number.
    let question = [u32::MAX, 0, SHOW];
    ask(namespace, home, libc::AF_UNIX as u8, question, &mut note)?;
    Ok(found)
}

/// Packet sockets that have more than their options say, by inode number: in words.
pub(super) fn packet_sockets(
    namespace: BorrowedFd<'_>,
    home: BorrowedFd<'_>,
) -> Result<HashMap<u64, &'static str>, SysError> {
    let mut found = HashMap::new();
    let mut note = |body: &[u8]| {
        for (kind, value) in attributes(body, MESSAGE) {
            let what = match kind {
                1 if !value.is_empty() => "a membership (PACKET_ADD_MEMBERSHIP)",
                2 | 3 => "a ring",
                4 => "a fanout group",
                _ => continue,
            };
            found.insert(word(body, 4).into(), what);
        }
    };
    // `PACKET_SHOW_MCLIST|RING_CFG|FANOUT`, of whatever number.
    let question = [0, 0x02 | 0x04 | 0x08, u32::MAX];
    ask(namespace, home, libc::AF_PACKET as u8, question, &mut note)?;
    Ok(found)
}

/// What is known of an end of a connection of TCP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TcpFacts {
    /// `TCP_*`.
    pub(super) state: u8,
    /// `RCV_SHUTDOWN`, `SEND_SHUTDOWN`.
    pub(super) shutdown: u8,
    /// How many bytes have not been received yet, urgent ones and the end of the stream among them.
    pub(super) unread: usize,
    /// Its own port and the other end's.
    pub(super) ports: (u16, u16),
    /// Whether it has keys (TCP-MD5), as far as the asker may know.
    pub(super) keys: bool,
}

/// Sockets of TCP of a network namespace that somebody has, by inode number.
pub(super) fn tcp_sockets(
    namespace: BorrowedFd<'_>,
    home: BorrowedFd<'_>,
) -> Result<HashMap<u64, TcpFacts>, SysError> {
    let mut found = HashMap::new();
    let mut note = |body: &[u8]| {
        if body.len() >= INET_MESSAGE {
            found.insert(word(body, 68).into(), tcp_facts(body));
        }
    };
    for family in [libc::AF_INET, libc::AF_INET6] {
        ask_for(namespace, home, &tcp_request(family as u8), &mut note)?;
    }
    found.remove(&0);
    Ok(found)
}

/// `struct inet_diag_req_v2`: family, protocol, nothing more; in whatever state, of whatever address.
fn tcp_request(family: u8) -> Vec<u8> {
    let mut body = vec![family, libc::IPPROTO_TCP as u8, 0, 0];
    body.extend(u32::MAX.to_le_bytes());
    body.extend([0; 40]);
    body.extend([0xff; 8]);
    with_header(&body)
}

fn tcp_facts(body: &[u8]) -> TcpFacts {
    let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    let mut facts = TcpFacts {
        state: body[1],
        unread: word(body, 56) as usize,
        ports: (port(4), port(6)),
        ..TcpFacts::default()
    };
    for (kind, value) in attributes(body, INET_MESSAGE) {
        match kind {
            8 => facts.shutdown = value.first().copied().unwrap_or(0),
            18 => facts.keys = true,
            _ => {}
        }
    }
    facts
}

/// Has the kernel tell of all sockets of a family: `note` gets each message.
fn ask(
    namespace: BorrowedFd<'_>,
    home: BorrowedFd<'_>,
    family: u8,
    question: [u32; 3],
    note: &mut dyn FnMut(&[u8]),
) -> Result<(), SysError> {
    ask_for(namespace, home, &request(family, question), note)
}

/// The same, of a request that is complete.
fn ask_for(
    namespace: BorrowedFd<'_>,
    home: BorrowedFd<'_>,
    request: &[u8],
    note: &mut dyn FnMut(&[u8]),
) -> Result<(), SysError> {
    let family = request.get(HEADER).copied().unwrap_or(0);
    let failed = |errno| SysError::new(format!("read(SOCK_DIAG, {family})"), errno);
    let socket = netlink_in(namespace, home)?;
    write(&socket, request).map_err(failed)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = read(&socket, &mut buffer).map_err(failed)?;
        if parse(&buffer[..count], note).map_err(failed)? == Rest::End {
            return Ok(());
        }
    }
}

fn netlink_in(namespace: BorrowedFd<'_>, home: BorrowedFd<'_>) -> Result<OwnedFd, SysError> {
    let made = there(namespace, home, || {
        socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )
    })?;
    made.map_err(|errno| SysError::new("socket(AF_NETLINK, NETLINK_SOCK_DIAG)", errno))
}

/// Does something in a network namespace, and comes back `home`.
pub(super) fn there<T>(
    namespace: BorrowedFd<'_>,
    home: BorrowedFd<'_>,
    job: impl FnOnce() -> T,
) -> Result<T, SysError> {
    let inode = |fd: BorrowedFd<'_>| {
        let stat = rustix::fs::fstat(fd).map_err(|errno| SysError::new("fstat(ns/net)", errno));
        stat.map(|stat| stat.st_ino)
    };
    let go = |fd: BorrowedFd<'_>| {
        let went = move_into_link_name_space(fd, Some(LinkNameSpaceType::Network));
        went.map_err(|errno| SysError::new("setns(CLONE_NEWNET)", errno))
    };
    let elsewhere = inode(namespace)? != inode(home)?;
    if elsewhere {
        go(namespace)?;
    }
    let done = job();
    if elsewhere {
        go(home)?;
    }
    Ok(done)
}

/// `struct unix_diag_req` and `struct packet_diag_req` are alike: family, protocol, three words, a cookie.
fn request(family: u8, question: [u32; 3]) -> Vec<u8> {
    let mut body = vec![family, 0, 0, 0];
    body.extend(question.into_iter().flat_map(u32::to_le_bytes));
    body.extend([0xff; 8]);
    with_header(&body)
}

/// Behind a `struct nlmsghdr`.
fn with_header(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend(((HEADER + body.len()) as u32).to_le_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_le_bytes());
    bytes.extend(DUMP.to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

#[derive(Debug, PartialEq, Eq)]
enum Rest {
    More,
    End,
}

fn parse(mut bytes: &[u8], note: &mut dyn FnMut(&[u8])) -> Result<Rest, Errno> {
    while bytes.len() >= HEADER {
        let length = word(bytes, 0) as usize;
        let kind = word(bytes, 4) as u16;
        let body = bytes.get(HEADER..length).ok_or(Errno::IO)?;
        match kind {
            NLMSG_DONE => return Ok(Rest::End),
            NLMSG_ERROR => {
                let errno = (word(body, 0) as i32).wrapping_neg();
                return Err(Errno::from_raw_os_error(errno));
            }
            _ if body.len() >= MESSAGE => note(body),
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Ok(Rest::More)
}

fn facts(body: &[u8]) -> UnixFacts {
    let mut facts = UnixFacts {
        state: body[2],
        ..UnixFacts::default()
    };
    for (kind, value) in attributes(body, MESSAGE) {
        match kind {
            1 => facts.file = Some((word(value, 4), word(value, 0))),
            2 => facts.peer = Some(word(value, 0).into()),
            3 => {
                let inodes = value.chunks_exact(4);
                facts.waiting = inodes.map(|it| word(it, 0).into()).collect();
            }
            4 => facts.backlog = word(value, 4),
            6 => facts.shutdown = value.first().copied().unwrap_or(0),
            _ => {}
        }
    }
    facts
}

/// Kind and value of each (`struct nlattr`).
fn attributes(body: &[u8], message: usize) -> Vec<(u32, &[u8])> {
    let (mut all, mut rest) = (Vec::new(), body.get(message..).unwrap_or(&[]));
    while rest.len() >= 4 {
        let head = word(rest, 0);
        let length = (head & 0xffff) as usize;
        let Some(value) = rest.get(4..length) else {
            break;
        };
        all.push((head >> 16 & 0x3fff, value));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    all
}

/// Little-endian; 0 where there is none.
fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |it| u32::from_le_bytes(*it))
}

/// The network namespace of the caller.
pub(super) fn home() -> Result<OwnedFd, SysError> {
    let (path, flags) = ("/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC);
    let opened = openat(CWD, path, flags, Mode::empty());
    opened.map_err(|errno| SysError::new(format!("openat({path:?})"), errno))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn the_kernel_knows_the_peer_of_a_socket() {
        let (one, two) = std::os::unix::net::UnixStream::pair().unwrap();
        let home = home().unwrap();
        let all = unix_sockets(home.as_fd(), home.as_fd()).unwrap();
        let inode = |fd: &dyn std::os::fd::AsFd| rustix::fs::fstat(fd.as_fd()).unwrap().st_ino;
        assert_eq!(all[&inode(&one)].peer, Some(inode(&two)));
        assert_eq!(all[&inode(&two)].state, 1);
    }

    #[test]
    fn the_kernel_knows_what_a_connection_has_not_received() {
        use std::io::Write as _;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        client.write_all(b"four").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        // The end has come when the rest has.
        let end = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::WAITALL;
        rustix::net::recv(&server, &mut [0; 5][..], end).unwrap();
        let home = home().unwrap();
        let all = tcp_sockets(home.as_fd(), home.as_fd()).unwrap();
        let inode = |fd: &dyn std::os::fd::AsFd| rustix::fs::fstat(fd.as_fd()).unwrap().st_ino;
        let (client, server) = (all[&inode(&client)], all[&inode(&server)]);
        assert_eq!((server.unread, server.shutdown, server.keys), (5, 1, false));
        assert_eq!((client.unread, client.shutdown), (0, 2));
        assert_eq!(client.ports, (server.ports.1, server.ports.0));
    }

    #[test]
    fn answers_that_end_early_are_no_panic() {
        let mut note = |_: &[u8]| {};
        assert_eq!(parse(&[0; 15], &mut note), Ok(Rest::More));
        assert_eq!(parse(&[255; 16], &mut note), Err(Errno::IO));
        assert_eq!(facts(&[0; 18]), UnixFacts::default());
    }
}

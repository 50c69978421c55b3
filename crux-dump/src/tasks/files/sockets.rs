//! Sockets: each is looked at through a copy of a descriptor (pidfd_getfd(2)), and recorded once.
//!
//! Kind: effect. What all families have is here; what is particular to one is in its own file. All
//! sockets are found before any descriptor is recorded, for what is on its way in one, and who is at
//! the other end, is known only when all are.

use super::diag::{self, UnixFacts};
use super::groups::{self, Joined};
use super::queue::{self, Waiting};
use super::sys;
use super::tcp::{self, TcpEnd};
use super::{FilesError, Seen, unix};
use crate::tasks::users::Ids;
use crate::tasks::{Target, TaskCause};
use crux_image::tasks::{
    KnownOption, SO_ATTACH_FILTER, SO_RCVBUF, SO_SNDBUF, SOCKET_OPTIONS, SOL_SOCKET, Socket,
    SocketFamily, SocketIndex, SocketKind, SocketOption, SocketState, UnixName,
};
use crux_mount::sys::SysError;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

const SO_TYPE: u16 = 3;
const SO_PROTOCOL: u16 = 38;
const SO_DOMAIN: u16 = 39;

/// Why a socket is not recorded.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    /// It cannot be restored.
    #[error("{0}")]
    Obstacle(String),
    /// A call failed.
    #[error(transparent)]
    Call(#[from] SysError),
}

impl SocketError {
    /// As the cause of an obstacle; a call that failed is none.
    pub(super) fn cause(self) -> Result<TaskCause, SysError> {
        match self {
            Self::Obstacle(what) => Ok(TaskCause::Other(what)),
            Self::Call(error) => Err(error),
        }
    }
}

pub(super) fn obstacle<T>(what: impl Into<String>) -> Result<T, SocketError> {
    Err(SocketError::Obstacle(what.into()))
}

/// A socket that somebody of the container has, or that is on its way to somebody.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) inode: u64,
    /// A copy of the descriptor.
    pub(super) fd: OwnedFd,
    /// Who has it: a position among the processes, if it is not on its way only.
    pub(super) holder: Option<usize>,
    /// That process, and the number of the descriptor.
    pub(super) seen_at: (u32, u32),
    pub(super) family: SocketFamily,
    pub(super) kind: SocketKind,
    pub(super) protocol: u16,
    /// Inode number of its network namespace.
    pub(super) namespace: u64,
    pub(super) options: Vec<SocketOption>,
    /// What waits in it, of a unix socket.
    pub(super) queue: Vec<Waiting>,
    /// Of a unix socket.
    pub(super) unix: UnixFacts,
    /// Of a packet socket: what it has that cannot be recorded, in words.
    pub(super) packet: Option<&'static str>,
    /// Of a socket of UDP: the multicast groups that it is in.
    pub(super) joined: Vec<Joined>,
    /// Of an end of a connection of TCP.
    pub(super) tcp: Option<TcpEnd>,
}

/// The sockets of a container.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) found: Vec<Found>,
    by_inode: HashMap<u64, SocketIndex>,
    home: OwnedFd,
    namespaces: HashMap<u64, OwnedFd>,
}

impl Sockets {
    pub(super) fn new() -> Result<Self, SysError> {
        Ok(Self {
            found: Vec::new(),
            by_inode: HashMap::new(),
            home: diag::home()?,
            namespaces: HashMap::new(),
        })
    }

    /// The socket that a descriptor leads to, if it is one that can be recorded.
    pub(super) fn index(&self, seen: &Seen) -> Option<SocketIndex> {
        self.by_inode.get(&seen.stat.st_ino).copied()
    }

    /// The socket with an inode number.
    pub(super) fn with_inode(&self, inode: u64) -> Option<SocketIndex> {
        self.by_inode.get(&inode).copied()
    }

    /// Looks at a socket, unless it was. `holder` is the process's position.
    pub(super) fn note(
        &mut self,
        target: &Target,
        holder: Option<usize>,
        seen: &Seen,
    ) -> Result<Option<SocketIndex>, FilesError> {
        if !is_socket(seen) || self.by_inode.contains_key(&seen.stat.st_ino) {
            return Ok(None);
        }
        let failed = |error| FilesError::Process {
            pid: target.pid,
            error,
        };
        let fd = copy(target.pid, seen.number).map_err(failed)?;
        let Some(found) = self
            .look(fd, (target.pid, seen.number), seen.stat.st_ino)
            .map_err(failed)?
        else {
            return Ok(None);
        };
        let index = SocketIndex::from(self.found.len());
        self.by_inode.insert(found.inode, index);
        self.found.push(Found { holder, ..found });
        Ok(Some(index))
    }

    fn look(
        &mut self,
        fd: OwnedFd,
        seen_at: (u32, u32),
        inode: u64,
    ) -> Result<Option<Found>, SysError> {
        let socket = fd.as_fd();
        let Some(family) = SocketFamily::from_number(number(socket, SO_DOMAIN)?) else {
            return Ok(None);
        };
        // TRUST: others are refused until they can be recorded.
        let Some(kind) = SocketKind::from_number(number(socket, SO_TYPE)?) else {
            return Ok(None);
        };
        let protocol = number(socket, SO_PROTOCOL)? as u16;
        let queue = match family {
            SocketFamily::Unix => queue::look(socket, kind)?,
            _ => Vec::new(),
        };
        Ok(Some(Found {
            inode,
            holder: None,
            seen_at,
            family,
            kind,
            protocol,
            namespace: self.namespace(socket)?,
            options: options(socket, family)?,
            queue,
            unix: UnixFacts::default(),
            packet: None,
            joined: Vec::new(),
            tcp: None,
            fd,
        }))
    }

    fn namespace(&mut self, socket: BorrowedFd<'_>) -> Result<u64, SysError> {
        let namespace = sys::socket_namespace(socket)?;
        let stat = rustix::fs::fstat(&namespace);
        let inode = stat
            .map_err(|errno| SysError::new("fstat(ns/net)", errno))?
            .st_ino;
        self.namespaces.entry(inode).or_insert(namespace);
        Ok(inode)
    }

    /// Asks the kernel who is at the other end of those that were found.
    pub(super) fn find_peers(&mut self) -> Result<(), SysError> {
        let namespaces = std::mem::take(&mut self.namespaces);
        for (inode, namespace) in &namespaces {
            let here = self.found.iter_mut().filter(|it| it.namespace == *inode);
            let here: Vec<_> = here.collect();
            let ask = |family| here.iter().any(|it| it.family == family);
            let mut unix = match ask(SocketFamily::Unix) {
                true => diag::unix_sockets(namespace.as_fd(), self.home.as_fd())?,
                false => HashMap::new(),
            };
            let mut packet = match ask(SocketFamily::Packet) {
                true => diag::packet_sockets(namespace.as_fd(), self.home.as_fd())?,
                false => HashMap::new(),
            };
            let groups = match here.iter().any(|it| may_join(it)) {
                true => groups::listened_to(namespace.as_fd(), self.home.as_fd())?,
                false => Vec::new(),
            };
            for found in here {
                if may_join(found) {
                    let six = found.family == SocketFamily::Inet6;
                    found.joined = groups::joined(found.fd.as_fd(), six, &groups)?;
                }
                found.unix = unix.remove(&found.inode).unwrap_or_default();
                found.packet = packet.remove(&found.inode);
            }
            self.find_ends(*inode, namespace.as_fd())?;
        }
        Ok(())
    }
}

impl Sockets {
    /// Asks what connections of TCP have not received, when all has arrived.
    fn find_ends(&mut self, inode: u64, namespace: BorrowedFd<'_>) -> Result<(), SysError> {
        let mut connections = Vec::new();
        for (at, found) in self.found.iter().enumerate() {
            if found.namespace == inode && tcp::is_connection(found)? {
                connections.push(at);
            }
        }
        if connections.is_empty() {
            return Ok(());
        }
        let waited: Vec<_> = connections.iter().map(|at| &self.found[*at]).collect();
        tcp::settle(&waited)?;
        let mut all = diag::tcp_sockets(namespace, self.home.as_fd())?;
        let facts = connections
            .iter()
            .map(|at| all.remove(&self.found[*at].inode));
        let facts: Vec<_> = facts.map(Option::unwrap_or_default).collect();
        let foreign: Vec<_> = all.into_values().collect();
        for (at, facts) in connections.into_iter().zip(facts) {
            self.found[at].tcp = Some(tcp::end(&self.found[at], facts, &foreign)?);
            let options = &mut self.found[at].options;
            options.retain(|it| !tcp::is_idle((it.level, it.name)));
        }
        Ok(())
    }

    /// Leaves out those whose other end is outside of the container.
    pub(super) fn leave_out_those_of_outside(&mut self) {
        let outside: HashSet<u64> = self
            .found
            .iter()
            .filter(|it| unix::is_of_outside(self, it))
            .map(|it| it.inode)
            .collect();
        self.found.retain(|it| !outside.contains(&it.inode));
        let all = self.found.iter().enumerate();
        self.by_inode = all.map(|(at, it)| (it.inode, at.into())).collect();
    }
}

/// Whether a socket can be in multicast groups.
fn may_join(found: &Found) -> bool {
    let ip = matches!(found.family, SocketFamily::Inet | SocketFamily::Inet6);
    ip && found.kind == SocketKind::Datagram
}

/// Whether a descriptor leads to a socket.
pub(super) fn is_socket(seen: &Seen) -> bool {
    seen.path.starts_with(b"socket:[")
}

/// Whether a socket is a unix socket: one that is not recorded has its other end outside.
pub(super) fn is_unix(target: &Target, seen: &Seen) -> bool {
    let socket = copy(target.pid, seen.number);
    socket.is_ok_and(|socket| number(socket.as_fd(), SO_DOMAIN).is_ok_and(|it| it == 1))
}

/// Why a socket is none that can be recorded, in words.
pub(super) fn why_not(target: &Target, seen: &Seen) -> String {
    let socket = copy(target.pid, seen.number);
    let number = socket.and_then(|socket| number(socket.as_fd(), SO_DOMAIN));
    let name = match number {
        Ok(1) => return "is a unix socket whose other end is outside of the container".to_owned(),
        Ok(2) => "INET",
        Ok(10) => "INET6",
        Ok(15) => "key",
        Ok(29) => "CAN",
        Ok(30) => "TIPC",
        Ok(31) => "bluetooth",
        Ok(38) => "alg",
        Ok(40) => "vsock",
        Ok(43) => "SMC",
        Ok(44) => "XDP",
        Ok(other) => {
            return format!("is a socket of family {other}, which cannot be dumped yet");
        }
        Err(_) => return "is a socket that does not say what it is".to_owned(),
    };
    format!("is a socket of family {name}, which cannot be dumped yet")
}

/// How the container counts what the kernel has told the dumper of sockets.
pub(in crate::tasks) struct Numbers<'a> {
    /// Numbers of processes in the first pid namespace, by those that the dumper sees.
    pub(in crate::tasks) pids: &'a HashMap<u32, u32>,
    /// Ids in the first process's user namespace.
    pub(in crate::tasks) ids: Ids<'a>,
}

impl Numbers<'_> {
    /// Of all that a socket says of processes and users.
    pub(in crate::tasks) fn translate(&self, socket: &mut Socket) {
        let SocketState::Unix(unix) = &mut socket.state else {
            return;
        };
        let told = unix
            .queue
            .iter_mut()
            .filter_map(|it| it.credentials.as_mut());
        for sender in told.chain(&mut unix.peer_credentials) {
            sender.pid = self.pids.get(&sender.pid).copied().unwrap_or(0);
            sender.uid = self.ids.uid(sender.uid).unwrap_or(OVERFLOW);
            sender.gid = self.ids.gid(sender.gid).unwrap_or(OVERFLOW);
        }
        if let Some(UnixName {
            file: Some(file), ..
        }) = &mut unix.name
        {
            file.uid = self.ids.uid(file.uid).unwrap_or(OVERFLOW);
            file.gid = self.ids.gid(file.gid).unwrap_or(OVERFLOW);
        }
    }
}

/// `overflowuid`: whom a namespace does not know.
const OVERFLOW: u32 = 65_534;

fn copy(pid: u32, descriptor: u32) -> Result<OwnedFd, SysError> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(SysError::new("pidfd_open", Errno::SRCH))?;
    let process = pidfd_open(pid, PidfdFlags::empty());
    let process = process.map_err(|errno| SysError::new("pidfd_open", errno))?;
    let copy = pidfd_getfd(process, descriptor as i32, PidfdGetfdFlags::empty());
    copy.map_err(|errno| SysError::new("pidfd_getfd", errno))
}

fn number(socket: BorrowedFd<'_>, name: u16) -> Result<u32, SysError> {
    let value = sys::socket_option(socket, (SOL_SOCKET, name), 4)?;
    let word = value.and_then(|value| value.first_chunk().map(|it| u32::from_le_bytes(*it)));
    word.ok_or_else(|| SysError::new(format!("getsockopt({name})"), Errno::NOPROTOOPT))
}

/// The options that are not as a new socket has them.
fn options(socket: BorrowedFd<'_>, family: SocketFamily) -> Result<Vec<SocketOption>, SysError> {
    let mut all = Vec::new();
    for known in SOCKET_OPTIONS.iter().filter(|it| it.is_for(family)) {
        if (known.level, known.name) == (SOL_SOCKET, SO_ATTACH_FILTER) {
            all.extend(filter(socket)?);
            continue;
        }
        let value = sys::socket_option(socket, (known.level, known.name), known.length)?;
        if let Some(value) = value.filter(|it| is_recorded(known, it)) {
            all.push(SocketOption {
                level: known.level,
                name: known.name,
                value,
            });
        }
    }
    Ok(all)
}

/// Its filter, if it has one.
fn filter(socket: BorrowedFd<'_>) -> Result<Option<SocketOption>, SysError> {
    let value = sys::socket_filter(socket)?;
    let option = SocketOption {
        level: SOL_SOCKET,
        name: SO_ATTACH_FILTER,
        value,
    };
    Ok(Some(option).filter(|it| !it.value.is_empty()))
}

fn is_recorded(known: &KnownOption, value: &[u8]) -> bool {
    value.len() == known.length && !known.is_usual(value)
        || matches!(
            (known.level, known.name),
            (SOL_SOCKET, SO_SNDBUF | SO_RCVBUF)
        )
}

//! Unix sockets: their names, and whom they talk to.
//!
//! Kind: effect where it asks a socket; who is whose peer is pure.

use super::queue::path_of;
use super::sockets::{Found, SocketError, Sockets, obstacle};
use super::sys;
use crate::tasks::Places;
use crux_image::path::{Escaped, RelPath};
use crux_image::tasks::{
    FsContext, Location, SOL_SOCKET, SocketCredentials, SocketFamily, SocketIndex, SocketKind,
    UnixConnection, UnixFile, UnixMessage, UnixName, UnixSocket,
};
use crux_mount::sys::SysError;
use rustix::fs::{CWD, fstat, readlinkat};
use std::os::fd::{AsFd as _, AsRawFd as _};

const SO_PEERCRED: u16 = 17;
/// `TCP_LISTEN`.
const LISTENS: u8 = 10;
/// `SHUTDOWN_MASK`: what a connection is whose other end is gone.
const SHUT: u8 = 3;

/// Whether its other end is somebody's outside of the container.
pub(super) fn is_of_outside(sockets: &Sockets, found: &Found) -> bool {
    if found.family != SocketFamily::Unix {
        return false;
    }
    match found.unix.peer {
        None => false,
        Some(0) if found.kind == SocketKind::Datagram => false,
        Some(0) => found.unix.shutdown != SHUT && listener(sockets, found).is_none(),
        Some(inode) => sockets.with_inode(inode).is_none(),
    }
}

/// Where it waits to be accepted.
fn listener(sockets: &Sockets, client: &Found) -> Option<SocketIndex> {
    let mut all = sockets.found.iter();
    let waits = |it: &Found| it.unix.waiting.contains(&client.inode);
    all.position(waits).map(SocketIndex::from)
}

/// The record of one, but for what waits in it.
pub(super) fn record(
    sockets: &Sockets,
    index: SocketIndex,
    places: &Places,
    context: &FsContext,
    queue: Vec<UnixMessage>,
) -> Result<UnixSocket, SocketError> {
    let found = &sockets.found[index.at()];
    let facts = &found.unix;
    if found.kind == SocketKind::Stream && sys::has_urgent(found.fd.as_fd()) {
        return obstacle("has urgent data (MSG_OOB), which cannot be dumped");
    }
    let connection = connection(sockets, index)?;
    Ok(UnixSocket {
        name: name(found, places, context, &connection)?,
        peer_credentials: peer_credentials(found)?,
        receives_no_more: facts.shutdown & 1 != 0,
        sends_no_more: facts.shutdown & 2 != 0,
        queue,
        connection,
    })
}

fn connection(sockets: &Sockets, index: SocketIndex) -> Result<UnixConnection, SocketError> {
    use UnixConnection as C;
    let found = &sockets.found[index.at()];
    let facts = &found.unix;
    let peer = facts.peer.and_then(|inode| sockets.with_inode(inode));
    if facts.state == LISTENS {
        return Ok(C::Listening {
            backlog: facts.backlog,
            pending: pending(sockets, found)?,
        });
    }
    let Some(peer) = peer else {
        return Ok(match facts.peer {
            None => C::None,
            Some(_) if listener(sockets, found).is_some() => C::Waiting,
            Some(_) => C::Gone,
        });
    };
    let other = &sockets.found[peer.at()];
    let mutual = other.unix.peer == Some(found.inode);
    let (named, other_named) = (is_named(found)?, is_named(other)?);
    if found.kind == SocketKind::Datagram {
        return match (mutual, named, other_named) {
            (true, _, false) | (true, false, _) => Ok(C::Pair(peer)),
            (_, _, true) => Ok(C::To(peer)),
            (false, _, false) => {
                obstacle("sends to a socket without a name, which cannot be dumped yet")
            }
        };
    }
    if !mutual {
        return obstacle(
            "is connected to one that is connected to another, which cannot be dumped",
        );
    }
    let accepted = match (named, other_named) {
        (false, false) => return Ok(C::Pair(peer)),
        (named, other_named) if named != other_named => named,
        _ => match (accepted_at(sockets, found), accepted_at(sockets, other)) {
            (Some(_), None) => true,
            (None, Some(_)) => false,
            // TRUST: who is accepted is mostly made later, and inodes are mostly numbered in that order.
            _ => found.inode > other.inode,
        },
    };
    Ok(match accepted {
        true => C::Accepted {
            client: peer,
            listener: accepted_at(sockets, found),
        },
        false => C::Connected(peer),
    })
}

/// The one that listens under the name that an accepted one has.
fn accepted_at(sockets: &Sockets, accepted: &Found) -> Option<SocketIndex> {
    let address = |it: &Found| sys::socket_address(it.fd.as_fd()).ok();
    let name = address(accepted);
    let listens = |it: &Found| {
        it.family == SocketFamily::Unix
            && it.unix.state == LISTENS
            && it.kind == accepted.kind
            && it.unix.file == accepted.unix.file
            && it.namespace == accepted.namespace
            && address(it) == name
    };
    let found = sockets.found.iter().position(listens);
    found.map(SocketIndex::from)
}

fn pending(sockets: &Sockets, listener: &Found) -> Result<Vec<SocketIndex>, SocketError> {
    let mut clients = Vec::new();
    for inode in &listener.unix.waiting {
        let client = match sockets.with_inode(*inode) {
            Some(client) => client,
            None if *inode == 0 => {
                return obstacle(
                    "has a connection waiting to be accepted whose other end is closed, which cannot be dumped yet",
                );
            }
            None => {
                return obstacle(
                    "has a connection waiting to be accepted from outside the container",
                );
            }
        };
        // Nobody has a descriptor with which it could be looked at.
        if sys::unreceived(sockets.found[client.at()].fd.as_fd())? > 0 {
            return obstacle(
                "has a connection waiting to be accepted in which data waits already, which cannot be dumped",
            );
        }
        clients.push(client);
    }
    Ok(clients)
}

fn is_named(found: &Found) -> Result<bool, SysError> {
    let address = sys::socket_address(found.fd.as_fd())?;
    Ok(path_of(&address).is_some())
}

fn name(
    found: &Found,
    places: &Places,
    context: &FsContext,
    connection: &UnixConnection,
) -> Result<Option<UnixName>, SocketError> {
    let Some(address) = path_of(&sys::socket_address(found.fd.as_fd())?) else {
        return Ok(None);
    };
    let others = matches!(
        connection,
        UnixConnection::Accepted {
            listener: Some(_),
            ..
        }
    );
    let file = match address.first() {
        Some(0) => None,
        _ if others => None,
        _ => Some(file(found, places, context, &address)?),
    };
    Ok(Some(UnixName { address, file }))
}

fn file(
    found: &Found,
    places: &Places,
    context: &FsContext,
    address: &[u8],
) -> Result<UnixFile, SocketError> {
    let file = sys::unix_file(found.fd.as_fd())?;
    let stat = fstat(&file).map_err(|errno| SysError::new("fstat(SIOCUNIXFILE)", errno))?;
    let mount = crux_mount::sys::statx(&file)?.mount;
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    let path = readlinkat(CWD, &link, Vec::new());
    let path = path.map_err(|errno| SysError::new(format!("readlinkat({link:?})"), errno))?;
    let removed = stat.st_nlink == 0;
    let path = path.as_bytes();
    let path = match removed {
        true => path.strip_suffix(super::DELETED).unwrap_or(path),
        false => path,
    };
    let Some(place) = places.locate(mount, path) else {
        return obstacle(format!(
            "is bound to \"{}\", which is not in the container's mounts",
            Escaped(path)
        ));
    };
    let last = |path: &[u8]| path.rsplit(|byte| *byte == b'/').next().map(<[u8]>::to_vec);
    if last(place.path.as_bytes()) != last(address) {
        return obstacle(format!(
            "is bound to \"{}\", which was renamed to \"{}\" since: that cannot be dumped yet",
            Escaped(address),
            Escaped(path)
        ));
    }
    Ok(UnixFile {
        base: base(address, &place, context),
        place,
        removed,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        times: [
            (stat.st_atime, stat.st_atime_nsec as u32),
            (stat.st_mtime, stat.st_mtime_nsec as u32),
        ],
    })
}

/// Where the address leads to the place. It may lead there through symlinks: whether it does, a
/// restore notices.
fn base(address: &[u8], place: &Location, context: &FsContext) -> Location {
    if address.starts_with(b"/") {
        return context.root.clone();
    }
    let path = place.path.as_bytes();
    let rest = path.strip_suffix(address);
    let rest = rest.and_then(|it| it.strip_suffix(b"/").or(it.is_empty().then_some(it)));
    match rest.and_then(|rest| RelPath::new(rest).ok()) {
        Some(path) => Location {
            path,
            ..place.clone()
        },
        None => context.working.clone(),
    }
}

fn peer_credentials(found: &Found) -> Result<Option<SocketCredentials>, SysError> {
    let option = (SOL_SOCKET, SO_PEERCRED);
    let value = sys::socket_option(found.fd.as_fd(), option, 12)?.unwrap_or_default();
    let word = |at: usize| {
        let word = value.get(at..).and_then(|rest| rest.first_chunk());
        word.map_or(u32::MAX, |it| u32::from_le_bytes(*it))
    };
    Ok((word(4) != u32::MAX).then(|| SocketCredentials {
        pid: word(0),
        uid: word(4),
        gid: word(8),
    }))
}

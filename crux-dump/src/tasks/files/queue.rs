//! What waits in a unix socket, looked at without taking it away (`MSG_PEEK`).
//!
//! Kind: effect.
//!
//! KERNEL: of a stream one look goes on until the end of a piece that brings descriptors, and does not tell
//! where that piece begins: they come with the first byte that was seen.
//!
//! RACE: to see what is behind the first message its peek offset is moved (`SO_PEEK_OFF`) and put back. If the
//! dumper dies in between, a task that itself looks without taking sees later messages first.

use super::sys::{self, Peeked};
use crux_image::tasks::{SO_PEEK_OFF, SOL_SOCKET, SocketKind};
use crux_mount::sys::SysError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::os::fd::{BorrowedFd, OwnedFd};

/// More than a buffer for sending has, unless it was forced.
const ROOM: usize = 16 << 20;

/// A message, or a piece of a stream.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) data: Vec<u8>,
    /// Copies of the descriptors that it brings.
    pub(super) files: Vec<OwnedFd>,
    pub(super) credentials: Option<[u32; 3]>,
    /// The path of its sender's address.
    pub(super) sender: Option<Vec<u8>>,
}

/// All that waits.
pub(super) fn look(socket: BorrowedFd<'_>, kind: SocketKind) -> Result<Vec<Waiting>, SysError> {
    let mut buffer = vec![0; ROOM];
    let before = sys::socket_option(socket, (SOL_SOCKET, SO_PEEK_OFF), 4)?;
    let before = before.and_then(|value| value.first_chunk().map(|it| i32::from_le_bytes(*it)));
    let before = before.unwrap_or(-1);
    if before >= 0 {
        sys::set_peek_offset(socket, 0)?;
    }
    let found = all(socket, kind, &mut buffer);
    if before >= 0 || !found.as_ref().is_ok_and(Vec::is_empty) {
        sys::set_peek_offset(socket, before)?;
    }
    found
}

fn all(
    socket: BorrowedFd<'_>,
    kind: SocketKind,
    buffer: &mut [u8],
) -> Result<Vec<Waiting>, SysError> {
    let mut found = Vec::new();
    let mut offset = 0;
    while let Some(peeked) = next(socket, kind, buffer)? {
        if peeked.truncated {
            return Err(SysError::new("recvmsg(MSG_PEEK)", Errno::MSGSIZE));
        }
        let length = peeked.length;
        found.push(Waiting {
            data: buffer[..length].to_vec(),
            files: peeked.files,
            credentials: peeked.credentials,
            sender: path_of(&peeked.sender),
        });
        offset += length as i32;
        sys::set_peek_offset(socket, offset)?;
    }
    Ok(found)
}

/// The next message; none where there is no more, or no connection.
fn next(
    socket: BorrowedFd<'_>,
    kind: SocketKind,
    buffer: &mut [u8],
) -> Result<Option<Peeked>, SysError> {
    match sys::peek(socket, buffer) {
        // The end of a stream.
        Ok(peeked) if peeked.length == 0 && kind == SocketKind::Stream => Ok(None),
        Ok(peeked) if peeked.length == 0 && kind == SocketKind::SeqPacket && has_ended(socket)? => {
            Ok(None)
        }
        Ok(peeked) => Ok(Some(peeked)),
        Err(error) => match error.errno() {
            Errno::AGAIN | Errno::INVAL | Errno::NOTCONN => Ok(None),
            _ => Err(error),
        },
    }
}

fn has_ended(socket: BorrowedFd<'_>) -> Result<bool, SysError> {
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::RDHUP)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now)).map_err(|errno| SysError::new("poll(socket)", errno))?;
    Ok(fds[0].revents().contains(PollFlags::RDHUP))
}

/// `sun_path` of an address: without the NUL at its end, or abstract; none where it is empty.
pub(super) fn path_of(address: &[u8]) -> Option<Vec<u8>> {
    let path = address.get(2..)?;
    match path.first()? {
        0 => Some(path.to_vec()),
        _ => path.split(|byte| *byte == 0).next().map(<[u8]>::to_vec),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    #[test]
    fn messages_keep_their_ends_and_stay_where_they_are() {
        let (one, two) = UnixDatagram::pair().unwrap();
        for message in ["a", "", "ccc"] {
            one.send(message.as_bytes()).unwrap();
        }
        let found = look(two.as_fd(), SocketKind::Datagram).unwrap();
        let data: Vec<_> = found.iter().map(|it| it.data.as_slice()).collect();
        assert_eq!(data, [&b"a"[..], b"", b"ccc"]);
        let mut buffer = [0; 9];
        assert_eq!(two.recv(&mut buffer).unwrap(), 1);
    }

    #[test]
    fn a_stream_is_one_piece_where_nothing_comes_with_it() {
        let (mut one, mut two) = UnixStream::pair().unwrap();
        one.write_all(b"abc").unwrap();
        one.write_all(b"def").unwrap();
        let found = look(two.as_fd(), SocketKind::Stream).unwrap();
        assert_eq!((found.len(), found[0].data.as_slice()), (1, &b"abcdef"[..]));
        let mut buffer = [0; 6];
        two.read_exact(&mut buffer).unwrap();
        assert!(look(two.as_fd(), SocketKind::Stream).unwrap().is_empty());
        drop(one);
        assert!(look(two.as_fd(), SocketKind::Stream).unwrap().is_empty());
    }

    #[test]
    fn a_piece_ends_behind_what_brings_descriptors() {
        use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
        let (mut one, two) = UnixStream::pair().unwrap();
        one.write_all(b"head").unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let mut space = [std::mem::MaybeUninit::uninit(); 64];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let files = [file.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&files)));
        let data = [std::io::IoSlice::new(b"body")];
        sendmsg(&one, &data, &mut control, SendFlags::empty()).unwrap();
        one.write_all(b"tail").unwrap();
        let found = look(two.as_fd(), SocketKind::Stream).unwrap();
        let shown: Vec<_> = found
            .iter()
            .map(|it| (it.data.as_slice(), it.files.len()))
            .collect();
        assert_eq!(shown, [(&b"headbody"[..], 1), (b"tail", 0)]);
    }

    #[test]
    fn the_path_of_an_address_ends_at_its_nul_unless_it_is_abstract() {
        assert_eq!(path_of(b"\x01\0/a\0"), Some(b"/a".to_vec()));
        assert_eq!(path_of(b"\x01\0\0a\0"), Some(b"\0a\0".to_vec()));
        assert_eq!(path_of(b"\x01\0"), None);
    }
}

//! Typed, bounded messages between two processes.
//!
//! Kind: effect. A message is a head (how many bytes, how many descriptors) and
//! chunks. Whoever receives says how much may come, and memory grows only with what came.

use crux_image::codec::{self, CodecError};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Bytes in one chunk: well below any socket's buffer.
const CHUNK: usize = 32 << 10;
/// Descriptors in one chunk; the kernel allows 253 (`SCM_MAX_FD`).
const BATCH: usize = 200;
/// Bytes of a head.
const HEAD: usize = 16;
/// The first byte of a chunk: a chunk of descriptors alone is not empty.
const MARK: u8 = b'+';

/// One end.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    patience: Option<Duration>,
}

/// How much a message may hold.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// Bytes of the record.
    pub bytes: u64,
    /// Descriptors that come along.
    pub descriptors: usize,
}

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other side has gone.
    #[error("it ended early")]
    Ended,
    /// The other side does nothing.
    #[error("it did not answer within {} seconds", .0.as_secs_f32())]
    Silent(Duration),
    /// More than was asked for.
    #[error("it sent {bytes} bytes and {descriptors} descriptors, more than its turn allows")]
    TooMuch {
        /// Bytes announced.
        bytes: u64,
        /// Descriptors announced.
        descriptors: u64,
    },
    /// No message at all.
    #[error("it answered out of turn")]
    Malformed,
    /// A message of another type.
    #[error("it answered out of turn: {0}")]
    Codec(#[from] CodecError),
    /// A system call.
    #[error("{call}: {}", std::io::Error::from(*.errno))]
    Call {
        /// Its name.
        call: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
}

/// Which side did not carry a record.
#[derive(Debug)]
pub enum CarryError {
    /// The one that it comes from.
    From(ChannelError),
    /// The one that it is for.
    To(ChannelError),
}

/// A message of which the head has come.
struct Incoming<'a> {
    channel: &'a Channel,
    deadline: Option<Instant>,
    length: u64,
    descriptors: u64,
    came: u64,
    found: Vec<OwnedFd>,
    buffer: Vec<u8>,
}

fn only_bytes(bytes: u64) -> Bound {
    Bound {
        bytes,
        descriptors: 0,
    }
}

impl Incoming<'_> {
    /// The next piece of the record; none where all has come, descriptors too.
    fn next(&mut self) -> Result<Option<&[u8]>, ChannelError> {
        if self.came == self.length && self.found.len() as u64 == self.descriptors {
            return Ok(None);
        }
        let size = self.channel.take(&mut self.buffer, &mut self.found)?;
        let piece = &self.buffer[1..size];
        self.came += piece.len() as u64;
        let over = self.came > self.length || self.found.len() as u64 > self.descriptors;
        if self.buffer[0] != MARK || over {
            return Err(ChannelError::Malformed);
        }
        if self
            .deadline
            .is_some_and(|deadline| Instant::now() > deadline)
        {
            let patience = self.channel.patience;
            return Err(ChannelError::Silent(patience.unwrap_or_default()));
        }
        Ok(Some(piece))
    }
}

impl Channel {
    /// Two ends. The first waits for the other no longer than `patience`.
    pub fn pair(patience: Duration) -> Result<(Self, Self), ChannelError> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|errno| ChannelError::Call {
            call: "socketpair(AF_UNIX)",
            errno,
        })?;
        for timeout in [Timeout::Recv, Timeout::Send] {
            set_socket_timeout(&ours, timeout, Some(patience)).map_err(|errno| {
                ChannelError::Call {
                    call: "setsockopt(SO_RCVTIMEO)",
                    errno,
                }
            })?;
        }
        let end = |socket, patience| Self { socket, patience };
        Ok((end(ours, Some(patience)), end(theirs, None)))
    }

    /// How long the other side may take from here on; none: as long as it likes.
    pub fn wait_for(&mut self, patience: Option<Duration>) -> Result<(), ChannelError> {
        self.patience = patience;
        set_socket_timeout(&self.socket, Timeout::Recv, patience).map_err(|errno| {
            ChannelError::Call {
                call: "setsockopt(SO_RCVTIMEO)",
                errno,
            }
        })
    }

    /// Sends a record.
    pub fn send<T: Serialize>(
        &self,
        record: &T,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        self.send_bytes(&codec::encode(record), descriptors)
    }

    /// Receives a record.
    pub fn receive<T: DeserializeOwned>(
        &self,
        bound: Bound,
    ) -> Result<(T, Vec<OwnedFd>), ChannelError> {
        let (bytes, descriptors) = self.receive_bytes(bound)?;
        Ok((codec::decode(&bytes, bound.bytes)?, descriptors))
    }

    /// Sends a record that is encoded.
    pub fn send_bytes(
        &self,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        self.send_head(bytes.len() as u64, descriptors.len() as u64)?;
        let (mut bytes, mut descriptors) = (bytes, descriptors);
        while !bytes.is_empty() || !descriptors.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK));
            let (along, others) = descriptors.split_at(descriptors.len().min(BATCH));
            self.transmit(&[MARK], now, along)?;
            (bytes, descriptors) = (later, others);
        }
        Ok(())
    }

    /// Receives a record without looking at it.
    pub fn receive_bytes(&self, bound: Bound) -> Result<(Vec<u8>, Vec<OwnedFd>), ChannelError> {
        let mut incoming = self.incoming(bound, self.deadline())?;
        let mut bytes = Vec::new();
        while let Some(piece) = incoming.next()? {
            bytes.extend_from_slice(piece);
        }
        Ok((bytes, incoming.found))
    }

    /// Ends a row of records that were sent one after the other: with an empty one.
    pub fn send_end(&self) -> Result<(), ChannelError> {
        self.send_bytes(&[], &[])
    }

    /// Receives the next record of a row that may have `left` bytes more; none after the last.
    pub fn receive_next<T: DeserializeOwned>(
        &self,
        left: &mut u64,
    ) -> Result<Option<T>, ChannelError> {
        let (bytes, _) = self.receive_bytes(only_bytes(*left))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let record = codec::decode(&bytes, *left)?;
        *left -= bytes.len() as u64;
        Ok(Some(record))
    }

    /// Carries a record of at most so many bytes on to whoever is at the other side of `to`, piece by piece as it
    /// comes, without looking at it.
    pub fn carry(&self, to: &Self, bytes: u64) -> Result<(), CarryError> {
        self.carry_one(to, bytes, self.deadline()).map(drop)
    }

    /// Carries a row of records that have at most so many bytes together, and have come when the patience for one turn
    /// is over.
    pub fn carry_row(&self, to: &Self, bytes: u64) -> Result<(), CarryError> {
        let deadline = self.deadline();
        let mut left = bytes;
        loop {
            match self.carry_one(to, left, deadline)? {
                0 => return Ok(()),
                length => left -= length,
            }
        }
    }

    /// How long the record was.
    fn carry_one(
        &self,
        to: &Self,
        bytes: u64,
        deadline: Option<Instant>,
    ) -> Result<u64, CarryError> {
        let incoming = self.incoming(only_bytes(bytes), deadline);
        let mut incoming = incoming.map_err(CarryError::From)?;
        to.send_head(incoming.length, 0).map_err(CarryError::To)?;
        while let Some(piece) = incoming.next().map_err(CarryError::From)? {
            to.transmit(&[MARK], piece, &[]).map_err(CarryError::To)?;
        }
        Ok(incoming.length)
    }

    fn deadline(&self) -> Option<Instant> {
        self.patience.map(|patience| Instant::now() + patience)
    }

    /// The head of a message, and whatever follows until `deadline`.
    fn incoming(
        &self,
        bound: Bound,
        deadline: Option<Instant>,
    ) -> Result<Incoming<'_>, ChannelError> {
        let mut buffer = vec![0; CHUNK + 1];
        let mut found = Vec::new();
        let (length, descriptors) = self.head(&mut buffer, &mut found)?;
        if length > bound.bytes || descriptors > bound.descriptors as u64 {
            return Err(ChannelError::TooMuch {
                bytes: length,
                descriptors,
            });
        }
        Ok(Incoming {
            channel: self,
            deadline,
            length,
            descriptors,
            came: 0,
            found,
            buffer,
        })
    }

    fn send_head(&self, bytes: u64, descriptors: u64) -> Result<(), ChannelError> {
        let mut head = [0; HEAD];
        head[..8].copy_from_slice(&bytes.to_le_bytes());
        head[8..].copy_from_slice(&descriptors.to_le_bytes());
        self.transmit(&head, &[], &[])
    }

    fn head(
        &self,
        buffer: &mut [u8],
        found: &mut Vec<OwnedFd>,
    ) -> Result<(u64, u64), ChannelError> {
        let size = self.take(buffer, found)?;
        let words = buffer[..size].as_chunks::<8>().0;
        match words {
            [bytes, descriptors] if size == HEAD && found.is_empty() => {
                Ok((u64::from_le_bytes(*bytes), u64::from_le_bytes(*descriptors)))
            }
            _ => Err(ChannelError::Malformed),
        }
    }

    fn transmit(
        &self,
        first: &[u8],
        second: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let parts = [IoSlice::new(first), IoSlice::new(second)];
        loop {
            match sendmsg(&self.socket, &parts, &mut control, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed("sendmsg", errno)),
            }
        }
    }

    /// One packet; never an empty one.
    fn take(&self, buffer: &mut [u8], found: &mut Vec<OwnedFd>) -> Result<usize, ChannelError> {
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(buffer)];
            match recvmsg(
                &self.socket,
                &mut parts,
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Ok(received) => break received,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed("recvmsg", errno)),
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = message {
                found.extend(more);
            }
        }
        match received.bytes {
            0 => Err(ChannelError::Ended),
            _ if received
                .flags
                .intersects(ReturnFlags::CTRUNC | ReturnFlags::TRUNC) =>
            {
                Err(ChannelError::Malformed)
            }
            bytes => Ok(bytes),
        }
    }

    fn failed(&self, call: &'static str, errno: Errno) -> ChannelError {
        match (errno, self.patience) {
            (Errno::PIPE | Errno::CONNRESET, _) => ChannelError::Ended,
            (Errno::AGAIN, Some(patience)) => ChannelError::Silent(patience),
            _ => ChannelError::Call { call, errno },
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Bound = Bound {
        bytes: 1 << 20,
        descriptors: 300,
    };

    /// Patience that no load of the machine uses up.
    fn pair() -> (Channel, Channel) {
        Channel::pair(Duration::from_secs(60)).unwrap()
    }

    #[test]
    fn records_and_descriptors_arrive_in_pieces() {
        let (ours, theirs) = pair();
        let record: Vec<u32> = (0..10_000).collect();
        theirs.send(&record, &[theirs.as_fd(); 250]).unwrap();
        let (got, descriptors) = ours.receive::<Vec<u32>>(BOUND).unwrap();
        assert_eq!((got, descriptors.len()), (record, 250));
    }

    #[test]
    fn more_than_the_bound_is_refused_unread() {
        let (ours, theirs) = pair();
        let bound = Bound {
            bytes: 3,
            descriptors: 0,
        };
        theirs.send(&7u32, &[]).unwrap();
        let refused = ours.receive::<u32>(bound);
        assert!(matches!(
            refused,
            Err(ChannelError::TooMuch { bytes: 4, .. })
        ));
        let (ours, theirs) = pair();
        theirs.send(&(), &[theirs.as_fd()]).unwrap();
        let refused = ours.receive::<()>(bound);
        assert!(matches!(refused, Err(ChannelError::TooMuch { .. })));
    }

    #[test]
    fn what_is_carried_on_arrives_as_it_was_sent() {
        let ((ours, theirs), (near, far)) = (pair(), pair());
        for length in [0, 1, CHUNK, 3 * CHUNK + 1] {
            let record = vec![7u8; length];
            theirs.send(&record, &[]).unwrap();
            ours.carry(&near, BOUND.bytes).unwrap();
            assert_eq!(far.receive::<Vec<u8>>(BOUND).unwrap().0, record);
        }
        theirs.send_bytes(&[], &[]).unwrap();
        ours.carry(&near, BOUND.bytes).unwrap();
        assert_eq!(far.receive_bytes(BOUND).unwrap().0, []);
    }

    #[test]
    fn a_row_of_records_is_carried_on_to_its_end() {
        let ((ours, theirs), (near, far)) = (pair(), pair());
        for record in [7u32, 8, 9] {
            theirs.send(&record, &[]).unwrap();
        }
        theirs.send_end().unwrap();
        ours.carry_row(&near, 12).unwrap();
        let mut left = 12;
        for record in [Some(7u32), Some(8), Some(9), None] {
            assert_eq!(far.receive_next(&mut left).unwrap(), record);
        }
        assert_eq!(left, 0);
    }

    #[test]
    fn a_row_has_one_bound_and_one_deadline() {
        let ((ours, theirs), (near, _far)) = (pair(), pair());
        for record in [7u32, 8, 9] {
            theirs.send(&record, &[]).unwrap();
        }
        let refused = ours.carry_row(&near, 11);
        assert!(matches!(
            refused,
            Err(CarryError::From(ChannelError::TooMuch { bytes: 4, .. }))
        ));
        let (ours, theirs) = Channel::pair(Duration::from_millis(20)).unwrap();
        let sender = std::thread::spawn(move || {
            // Until the other side has had enough.
            while theirs.send(&7u32, &[]).is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let silent = ours.carry_row(&near, 1 << 20);
        assert!(matches!(
            silent,
            Err(CarryError::From(ChannelError::Silent(_)))
        ));
        drop(ours);
        sender.join().unwrap();
    }

    #[test]
    fn what_cannot_be_carried_on_says_whose_fault_it_is() {
        let ((ours, theirs), (near, far)) = (pair(), pair());
        theirs.send(&7u32, &[]).unwrap();
        let refused = ours.carry(&near, 3);
        assert!(matches!(
            refused,
            Err(CarryError::From(ChannelError::TooMuch { bytes: 4, .. }))
        ));
        let (ours, theirs) = pair();
        theirs.send(&7u32, &[theirs.as_fd()]).unwrap();
        let refused = ours.carry(&near, BOUND.bytes);
        assert!(matches!(
            refused,
            Err(CarryError::From(ChannelError::TooMuch { .. }))
        ));
        let (ours, theirs) = pair();
        theirs.send(&7u32, &[]).unwrap();
        drop(far);
        let refused = ours.carry(&near, BOUND.bytes);
        assert!(matches!(refused, Err(CarryError::To(ChannelError::Ended))));
    }

    #[test]
    fn one_that_hangs_or_ends_is_told_apart() {
        let (ours, theirs) = Channel::pair(Duration::from_millis(20)).unwrap();
        assert!(matches!(
            ours.receive::<()>(BOUND),
            Err(ChannelError::Silent(_))
        ));
        drop(theirs);
        assert!(matches!(
            ours.receive::<()>(BOUND),
            Err(ChannelError::Ended)
        ));
    }

    #[test]
    fn another_type_is_out_of_turn() {
        let (ours, theirs) = pair();
        theirs.send(&1u8, &[]).unwrap();
        assert!(matches!(
            ours.receive::<u64>(BOUND),
            Err(ChannelError::Codec(_))
        ));
    }
}

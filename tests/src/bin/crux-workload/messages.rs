//! What comes along with messages: descriptors, and who has sent them.
//!
//! Kind: effect.

use super::sockets::{NOW, hear, pair, tell};
use super::{Verify, same, sys};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockType, getsockopt, recvmsg, sendmsg,
    setsockopt, sockopt,
};
use nix::unistd::{pipe, seteuid};
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

fn send_with(to: &impl AsFd, words: &str, files: &[i32]) {
    let rights = [ControlMessage::ScmRights(files)];
    let data = [IoSlice::new(words.as_bytes())];
    let number = to.as_fd().as_raw_fd();
    let sent = sendmsg::<()>(number, &data, &rights, NOW, None);
    assert_eq!(sent, Ok(words.len()), "sendmsg");
}

/// The words, the descriptors, and pid and uid of who has sent them.
fn receive(
    from: &impl AsFd,
    room: usize,
    flags: MsgFlags,
) -> (String, Vec<OwnedFd>, Option<(i32, u32)>) {
    let mut buffer = vec![0; room];
    let mut control = nix::cmsg_space!([i32; 9], nix::libc::ucred);
    let mut data = [IoSliceMut::new(&mut buffer)];
    let number = from.as_fd().as_raw_fd();
    let (mut files, mut sender) = (Vec::new(), None);
    let length = match recvmsg::<()>(number, &mut data, Some(&mut control), flags | NOW) {
        Err(errno) => return (errno.to_string(), files, None),
        Ok(message) => {
            for part in message.cmsgs().expect("whole") {
                match part {
                    ControlMessageOwned::ScmRights(numbers) => {
                        files.extend(numbers.into_iter().map(sys::own));
                    }
                    ControlMessageOwned::ScmCredentials(it) => sender = Some((it.pid(), it.uid())),
                    _ => {}
                }
            }
            message.bytes
        }
    };
    let words = String::from_utf8_lossy(&buffer[..length]).into_owned();
    (words, files, sender)
}

/// Descriptors on their way: of a pipe, of a file that nobody else has, and of a socket in itself.
pub(crate) fn descriptors() -> Verify {
    std::fs::write("/tmp/sent", "0123456789").expect("write");
    let (from, to) = pair(SockType::Stream);
    let (reads, writes) = pipe().expect("pipe");
    let mut writes = File::from(writes);
    let mut lone = File::open("/tmp/sent").expect("open");
    lone.read_exact(&mut [0; 4]).expect("read");
    let send = move |reads: &OwnedFd, lone: &File| {
        tell(&from, "head");
        send_with(&from, "body", &[reads.as_raw_fd(), lone.as_raw_fd()]);
        tell(&from, "tail");
    };
    send(&reads, &lone);
    drop((reads, lone));
    let (one, itself) = pair(SockType::Datagram);
    send_with(&one, "self", &[itself.as_raw_fd()]);
    Box::new(move || {
        let mut wrong = Vec::new();
        let (words, files, _) = receive(&to, 99, MsgFlags::empty());
        wrong.extend(same(
            "with them",
            (words, files.len()),
            ("headbody".into(), 2),
        ));
        let (words, others, _) = receive(&to, 99, MsgFlags::empty());
        wrong.extend(same("behind", (words, others.len()), ("tail".into(), 0)));
        let mut files = files.into_iter();
        let (Some(reads), Some(lone)) = (files.next(), files.next()) else {
            return wrong;
        };
        let mut buffer = [0; 3];
        let written = writes.write_all(b"abc");
        wrong.extend(written.err().map(|error| format!("write: {error}")));
        let mut reads = File::from(reads);
        let read = reads.read_exact(&mut buffer);
        wrong.extend(read.err().map(|error| format!("read: {error}")));
        wrong.extend(same("the pipe", buffer, *b"abc"));
        let lone = File::from(lone);
        let offset = std::io::Seek::stream_position(&mut &lone).unwrap_or(0);
        wrong.extend(same("the file's offset", offset, 4));
        send(&OwnedFd::from(reads), &lone);
        let (words, files, _) = receive(&itself, 9, MsgFlags::MSG_PEEK);
        wrong.extend(same("itself", (words, files.len()), ("self".into(), 1)));
        if let Some(same_one) = files.first() {
            wrong.extend(same(
                "the same",
                hear(same_one, NOW | MsgFlags::MSG_PEEK),
                "self".into(),
            ));
        }
        wrong
    })
}

/// Who has sent a message, and who has made the other end.
pub(crate) fn credentials() -> Verify {
    let (ours, theirs) = pair(SockType::Datagram);
    setsockopt(&ours, sockopt::PassCred, &true).expect("SO_PASSCRED");
    let child = sys::child(|| {
        seteuid(7.into()).expect("seteuid");
        send_with(&theirs, "child", &[]);
        loop {
            nix::unistd::pause();
        }
    });
    while receive(&ours, 9, MsgFlags::MSG_PEEK).0 != "child" {
        std::thread::yield_now();
    }
    seteuid(1000.into()).expect("seteuid");
    let (foreign, _foreign) = pair(SockType::SeqPacket);
    seteuid(0.into()).expect("seteuid");
    Box::new(move || {
        let mut wrong = Vec::new();
        let (words, _, sender) = receive(&ours, 9, MsgFlags::MSG_PEEK);
        wrong.extend(same("the message", words, "child".into()));
        // The kernel tells of the real uid.
        wrong.extend(same("its sender", sender, Some((child, 0))));
        let peer = getsockopt(&foreign, sockopt::PeerCredentials);
        wrong.extend(same("SO_PEERCRED", peer.map(|it| it.uid()), Ok(1000)));
        let _ = &_foreign;
        wrong
    })
}

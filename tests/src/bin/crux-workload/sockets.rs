//! Unix sockets.
//!
//! Kind: effect.

use super::{Verify, same, sys};
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, getsockopt, recv, send, setsockopt,
    shutdown, socketpair, sockopt,
};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::time::Duration;

pub(crate) fn pair(kind: SockType) -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).expect("socketpair")
}

pub(crate) fn tell(to: &impl AsFd, words: &str) {
    let sent = send(
        to.as_fd().as_raw_fd(),
        words.as_bytes(),
        MsgFlags::MSG_DONTWAIT,
    );
    assert_eq!(sent, Ok(words.len()), "send");
}

pub(crate) fn hear(from: &impl AsFd, flags: MsgFlags) -> String {
    let mut buffer = [0; 256];
    match recv(from.as_fd().as_raw_fd(), &mut buffer, flags) {
        Ok(length) => String::from_utf8_lossy(&buffer[..length]).into_owned(),
        Err(errno) => errno.to_string(),
    }
}

pub(crate) const NOW: MsgFlags = MsgFlags::MSG_DONTWAIT;

/// Ends of pairs with data in them, in this process and in a child.
pub(crate) fn pairs() -> Verify {
    let (stream, packets, datagrams) = (
        pair(SockType::Stream),
        pair(SockType::SeqPacket),
        pair(SockType::Datagram),
    );
    let messages = ["one", "", "three"];
    let fill = move |stream: &OwnedFd, packets: &OwnedFd, datagrams: &OwnedFd| {
        tell(stream, "waiting");
        messages.iter().for_each(|words| tell(datagrams, words));
        ["p", "qq"].iter().for_each(|words| tell(packets, words));
    };
    fill(&stream.0, &packets.0, &datagrams.0);
    // The other way round as well.
    tell(&stream.1, "back");
    let (ours, theirs) = pair(SockType::Stream);
    // Made by one who has nothing of it any more.
    let (inherited, other) = pair(SockType::Stream);
    sys::child(move || {
        let _kept = &other;
        loop {
            let words = hear(&theirs, MsgFlags::empty()).to_uppercase();
            let maker = getsockopt(&inherited, sockopt::PeerCredentials).map_or(0, |it| it.pid());
            tell(&theirs, &format!("{words} of {maker}"));
        }
    });
    Box::new(move || {
        let mut wrong = Vec::new();
        wrong.extend(same("stream", hear(&stream.1, NOW), "waiting".into()));
        wrong.extend(same("back", hear(&stream.0, NOW), "back".into()));
        tell(&stream.1, "back");
        for words in messages {
            wrong.extend(same("datagram", hear(&datagrams.1, NOW), words.into()));
        }
        for words in ["p", "qq"] {
            wrong.extend(same("packet", hear(&packets.1, NOW), words.into()));
        }
        fill(&stream.0, &packets.0, &datagrams.0);
        tell(&ours, "child");
        let heard = hear(&ours, MsgFlags::empty());
        wrong.extend(same("the child", heard, "CHILD of 1".into()));
        wrong
    })
}

/// What was shut down, whose peer is gone, and what was set.
pub(crate) fn settings() -> Verify {
    let (half, other) = pair(SockType::Stream);
    tell(&half, "last");
    shutdown(half.as_raw_fd(), Shutdown::Write).expect("shutdown");
    let (left, gone) = pair(SockType::Stream);
    tell(&gone, "left");
    drop(gone);
    let (set, _set) = pair(SockType::Datagram);
    setsockopt(&set, sockopt::PassCred, &true).expect("SO_PASSCRED");
    setsockopt(&set, sockopt::SndBuf, &50_000).expect("SO_SNDBUF");
    setsockopt(&set, sockopt::ReuseAddr, &true).expect("SO_REUSEADDR");
    let stream = std::os::unix::net::UnixStream::from(pair(SockType::Stream).0);
    let patience = Some(Duration::from_millis(12_340));
    stream.set_read_timeout(patience).expect("SO_RCVTIMEO");
    stream.set_nonblocking(true).expect("O_NONBLOCK");
    let look = |of: &OwnedFd| hear(of, NOW | MsgFlags::MSG_PEEK);
    Box::new(move || {
        let mut wrong = Vec::new();
        wrong.extend(same("half-closed", look(&other), "last".into()));
        tell(&other, "up");
        wrong.extend(same("its other way", hear(&half, NOW), "up".into()));
        let sent = send(half.as_raw_fd(), b"x", MsgFlags::MSG_NOSIGNAL);
        wrong.extend(same("its end", sent, Err(nix::Error::EPIPE)));
        wrong.extend(same("left over", look(&left), "left".into()));
        let sent = send(left.as_raw_fd(), b"x", MsgFlags::MSG_NOSIGNAL);
        wrong.extend(same("nobody", sent, Err(nix::Error::EPIPE)));
        wrong.extend(same(
            "SO_PASSCRED",
            getsockopt(&set, sockopt::PassCred),
            Ok(true),
        ));
        wrong.extend(same(
            "SO_SNDBUF",
            getsockopt(&set, sockopt::SndBuf),
            Ok(100_000),
        ));
        wrong.extend(same(
            "SO_REUSEADDR",
            getsockopt(&set, sockopt::ReuseAddr),
            Ok(true),
        ));
        wrong.extend(same(
            "SO_RCVTIMEO",
            stream.read_timeout().ok(),
            Some(patience),
        ));
        let flags = nix::fcntl::fcntl(&stream, nix::fcntl::FcntlArg::F_GETFL).unwrap_or(0);
        let wanted = nix::libc::O_NONBLOCK;
        wrong.extend(same("O_NONBLOCK", flags & wanted, wanted));
        let (pid, uid) =
            getsockopt(&set, sockopt::PeerCredentials).map_or((0, 1), |it| (it.pid(), it.uid()));
        wrong.extend(same("SO_PEERCRED", (pid, uid), (1, 0)));
        wrong
    })
}

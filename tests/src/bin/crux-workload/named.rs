//! Unix sockets with names: those that listen, those that were accepted, and those that get datagrams.
//!
//! Kind: effect.

use super::sockets::{NOW, hear, tell};
use super::{Verify, same, sys};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept, bind, connect, getpeername,
    getsockname, listen, socket,
};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown};

const PATH: &str = "/tmp/d/listens";

fn new(kind: SockType) -> OwnedFd {
    socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None).expect("socket")
}

fn named(kind: SockType, path: &str) -> OwnedFd {
    let made = new(kind);
    bind(made.as_raw_fd(), &address(path)).expect("bind");
    made
}

pub(crate) fn listener(path: &str) -> OwnedFd {
    let made = named(SockType::Stream, path);
    listen(&made, Backlog::new(5).expect("a backlog")).expect("listen");
    made
}

/// Abstract where it begins with an at sign.
fn address(path: &str) -> UnixAddr {
    match path.strip_prefix('@') {
        Some(name) => UnixAddr::new_abstract(name.as_bytes()).expect("an address"),
        None => UnixAddr::new(path).expect("an address"),
    }
}

pub(crate) fn connected(path: &str) -> OwnedFd {
    let made = new(SockType::Stream);
    connect(made.as_raw_fd(), &address(path)).expect("connect");
    made
}

fn accepted(from: &OwnedFd) -> OwnedFd {
    let number = accept(from.as_raw_fd()).expect("accept");
    sys::own(number)
}

/// Who is connected by name finds himself connected, and who comes later comes in.
pub(crate) fn streams() -> Verify {
    std::fs::create_dir_all("/tmp/d").expect("mkdir");
    let listens = listener(PATH);
    std::fs::set_permissions(PATH, PermissionsExt::from_mode(0o640)).expect("chmod");
    chown(PATH, Some(3), Some(4)).expect("chown");
    let time = std::fs::metadata(PATH).map(|it| it.mtime_nsec());
    let client = connected(PATH);
    let server = accepted(&listens);
    let mut waiting = vec![connected(PATH), connected(PATH)];
    // A name that was given up, and that another has now.
    let former = listener("/tmp/again");
    let (one, two) = (connected("/tmp/again"), accepted(&former));
    std::fs::remove_file("/tmp/again").expect("unlink");
    let now = listener("/tmp/again");
    // One whose listener is gone, and its name as well.
    let (left, right) = {
        let gone = listener("/tmp/gone");
        let ends = (connected("/tmp/gone"), accepted(&gone));
        std::fs::remove_file("/tmp/gone").expect("unlink");
        ends
    };
    let hidden = listener("@crux hidden");
    let (inner, outer) = (connected("@crux hidden"), accepted(&hidden));
    tell(&client, "first");
    Box::new(move || {
        let mut wrong = Vec::new();
        wrong.extend(same("accepted", hear(&server, NOW), "first".into()));
        tell(&client, "first");
        for client in std::mem::take(&mut waiting) {
            let server = accepted(&listens);
            tell(&server, "welcome");
            wrong.extend(same("waiting", hear(&client, NOW), "welcome".into()));
            waiting.push(connected(PATH));
        }
        let later = connected("/tmp/again");
        tell(&accepted(&now), "now");
        wrong.extend(same("whose name it is", hear(&later, NOW), "now".into()));
        for (name, from, to) in [
            ("former", &one, &two),
            ("gone", &left, &right),
            ("hidden", &inner, &outer),
        ] {
            tell(from, name);
            wrong.extend(same("a word", hear(to, NOW), name.into()));
        }
        for (socket, path) in [
            (&client, PATH),
            (&one, "/tmp/again"),
            (&left, "/tmp/gone"),
            (&inner, "@crux hidden"),
        ] {
            let peer = getpeername::<UnixAddr>(socket.as_raw_fd());
            wrong.extend(same("its peer's name", peer, Ok(address(path))));
        }
        let own = getsockname::<UnixAddr>(server.as_raw_fd());
        wrong.extend(same("its own name", own, Ok(address(PATH))));
        wrong.extend(same(
            "removed",
            std::path::Path::new("/tmp/gone").exists(),
            false,
        ));
        let file = std::fs::metadata(PATH);
        let found = file
            .as_ref()
            .map(|it| (it.mode() & 0o777, it.uid(), it.gid()))
            .ok();
        wrong.extend(same("its file", found, Some((0o640, 3, 4))));
        wrong.extend(same(
            "its time",
            file.map(|it| it.mtime_nsec()).ok(),
            time.as_ref().ok().copied(),
        ));
        wrong
    })
}

/// Datagrams find who has a name, relative to a directory too.
pub(crate) fn datagrams() -> Verify {
    std::fs::create_dir_all("/tmp/d").expect("mkdir");
    std::env::set_current_dir("/tmp/d").expect("chdir");
    let relative = named(SockType::Datagram, "gets");
    let hidden = named(SockType::Datagram, "@gets");
    std::env::set_current_dir("/").expect("chdir");
    let client = new(SockType::Datagram);
    connect(client.as_raw_fd(), &address("@gets")).expect("connect");
    let (left, right) = (
        named(SockType::Datagram, "/tmp/left"),
        named(SockType::Datagram, "/tmp/right"),
    );
    connect(left.as_raw_fd(), &address("/tmp/right")).expect("connect");
    connect(right.as_raw_fd(), &address("/tmp/left")).expect("connect");
    let widow = new(SockType::Datagram);
    {
        let _gone = named(SockType::Datagram, "@gone");
        connect(widow.as_raw_fd(), &address("@gone")).expect("connect");
    }
    let fill = {
        let (left, client) = (left.as_raw_fd(), client.as_raw_fd());
        move || {
            let stranger = new(SockType::Datagram);
            connect(stranger.as_raw_fd(), &address("/tmp/d/gets")).expect("connect");
            for words in ["a", "bb"] {
                tell(&stranger, words);
            }
            for (from, words) in [(left, "l"), (client, "c")] {
                let sent = nix::sys::socket::send(from, words.as_bytes(), NOW);
                assert_eq!(sent, Ok(1), "send");
            }
        }
    };
    fill();
    Box::new(move || {
        let mut wrong = Vec::new();
        for (what, from, words) in [
            ("first", &relative, "a"),
            ("second", &relative, "bb"),
            ("of a pair", &right, "l"),
            ("hidden", &hidden, "c"),
        ] {
            wrong.extend(same(what, hear(from, NOW), words.into()));
        }
        let peer = getpeername::<UnixAddr>(widow.as_raw_fd());
        wrong.extend(same("whose peer is gone", peer.is_ok(), true));
        let name = getsockname::<UnixAddr>(relative.as_raw_fd());
        wrong.extend(same("its name", name, Ok(address("gets"))));
        let _ = (&client, &left);
        fill();
        wrong
    })
}

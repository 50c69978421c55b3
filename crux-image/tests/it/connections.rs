//! Connections of TCP in records of tasks.
//!
//! Kind: pure.

use super::{task_record, vivid};
use crux_image::tasks::*;

fn tcp(tasks: &mut Tasks, at: usize) -> &mut TcpConnection {
    match &mut tasks.sockets[at].state {
        SocketState::Tcp(tcp) => tcp,
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn both_ends_or_one_that_was_left_are_a_connection() {
    let mut tasks = task_record::connected();
    tasks.check(&vivid::mounts()).unwrap();
    tasks.sockets.truncate(1);
    let left = tcp(&mut tasks, 0);
    (left.other, left.sends_no_more) = (None, false);
    tasks.check(&vivid::mounts()).unwrap();
}

#[test]
fn ends_that_do_not_meet_are_no_connection() {
    const PEER: &str = "the other end of a socket";
    type Change = fn(&mut Tasks);
    let cases: [(Change, &str); 10] = [
        (|t| tcp(t, 0).other = Some(SocketIndex(0)), PEER),
        (|t| tcp(t, 0).other = None, PEER),
        (|t| tcp(t, 0).peer[3] = 9, PEER),
        (|t| tcp(t, 1).sends_no_more = true, PEER),
        (|t| t.sockets[0].net_namespace = None, PEER),
        (
            |t| t.sockets[1].state = SocketState::Inet(InetSocket::default()),
            PEER,
        ),
        (|t| tcp(t, 0).other = Some(SocketIndex(7)), "names socket 7"),
        (|t| tcp(t, 0).own.truncate(15), "an address of a socket"),
        (|t| tcp(t, 0).own[3] = 0, "an address of a socket"),
        (
            |t| t.sockets[0].kind = SocketKind::Datagram,
            "family, type and protocol",
        ),
    ];
    for (at, (change, words)) in cases.into_iter().enumerate() {
        let mut tasks = task_record::connected();
        change(&mut tasks);
        let said = tasks.check(&vivid::mounts()).expect_err(words).to_string();
        assert!(said.contains(words), "case {at}: {said}");
    }
}

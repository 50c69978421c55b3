//! Memberships in multicast groups in records of tasks.
//!
//! Kind: pure.

use super::{task_record, vivid};
use crux_image::tasks::*;

#[test]
fn what_no_socket_can_be_in_is_no_membership() {
    const MEMBERSHIP: &str = "a membership is in no multicast group";
    type Change = fn(&mut Tasks);
    let cases: [(Change, &str); 9] = [
        (
            |t| t.memberships[0].socket = SocketIndex(9),
            "names socket 9",
        ),
        (|t| t.memberships[0].group = vec![10, 0, 0, 1], MEMBERSHIP),
        (|t| t.memberships[0].group.clear(), MEMBERSHIP),
        (|t| t.memberships[0].group = [0xff; 16].into(), MEMBERSHIP),
        (|t| t.memberships[0].device = 0, MEMBERSHIP),
        (|t| t.memberships[0].sources.clear(), MEMBERSHIP),
        (|t| t.memberships[0].sources[0].push(0), MEMBERSHIP),
        (
            |t| {
                t.sockets[0].kind = SocketKind::Stream;
                t.sockets[0].protocol = 6;
            },
            MEMBERSHIP,
        ),
        (
            |t| {
                t.sockets.push(t.sockets[0].clone());
                t.memberships.push(t.memberships[0].clone());
                t.memberships[0].socket = SocketIndex(1);
            },
            MEMBERSHIP,
        ),
    ];
    for (at, (change, words)) in cases.into_iter().enumerate() {
        let mut tasks = task_record::locked();
        change(&mut tasks);
        let said = tasks.check(&vivid::mounts()).expect_err(words).to_string();
        assert!(said.contains(words), "case {at}: {said}");
    }
}

#[test]
fn a_socket_of_ipv6_is_in_groups_of_both() {
    let mut tasks = task_record::locked();
    tasks.sockets[0].family = SocketFamily::Inet6;
    tasks.memberships.push(Membership {
        group: [0xff; 16].into(),
        sources: Vec::new(),
        only: false,
        ..tasks.memberships[0].clone()
    });
    tasks.check(&vivid::mounts()).unwrap();
}

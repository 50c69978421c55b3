//! Netlink and packet sockets.
//!
//! Kind: effect.

use super::sockets::NOW;
use super::{Verify, named, same, sys};
use nix::libc;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname, recv, send,
    socket,
};
use std::os::fd::{AsRawFd as _, OwnedFd};

const PORT: u32 = 4711;
/// `RTMGRP_LINK|RTMGRP_IPV4_ROUTE`.
const GROUPS: u32 = 0x41;
/// A group beyond those of an address: `RTNLGRP_STATS`.
const HIGH_GROUP: u32 = 36;
/// Classic BPF that accepts everything: `BPF_RET|BPF_K`.
const ACCEPT: [u64; 1] = [0xffff_ffff_0000_0006];

fn new(protocol: SockProtocol) -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    let made = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol);
    made.expect("socket(AF_NETLINK)")
}

/// `RTM_GETLINK`.
fn get_links() -> Vec<u8> {
    let mut request = vec![0_u8; 32];
    request[0] = 32;
    request[4] = 18;
    // `NLM_F_REQUEST|NLM_F_DUMP`.
    request[6..8].copy_from_slice(&0x301_u16.to_le_bytes());
    request
}

/// Whether something is answered.
fn asks(route: &OwnedFd) -> bool {
    let request = get_links();
    let mut buffer = vec![0; 32 << 10];
    let sent = send(route.as_raw_fd(), &request, NOW);
    let heard = sent.and_then(|_| recv(route.as_raw_fd(), &mut buffer, NOW));
    // All of it, or the next dump finds an answer that waits.
    while recv(route.as_raw_fd(), &mut buffer, NOW).is_ok() {}
    heard.is_ok_and(|length| length > 16)
}

/// Ports, groups, options and filters.
pub(crate) fn netlink() -> Verify {
    let route = new(SockProtocol::NetlinkRoute);
    bind(route.as_raw_fd(), &NetlinkAddr::new(PORT, GROUPS)).expect("bind");
    sys::set_option(&route, 270, 1, HIGH_GROUP).expect("NETLINK_ADD_MEMBERSHIP");
    sys::set_option(&route, 270, 11, 1).expect("NETLINK_EXT_ACK");
    let events = new(SockProtocol::NetlinkKObjectUEvent);
    bind(events.as_raw_fd(), &NetlinkAddr::new(0, 1)).expect("bind");
    sys::attach_filter(&events, &ACCEPT).expect("SO_ATTACH_FILTER");
    let name = |of: &OwnedFd| getsockname::<NetlinkAddr>(of.as_raw_fd());
    let before = name(&events);
    assert!(asks(&route), "no answer");
    Box::new(move || {
        let mut wrong = Vec::new();
        let found = name(&route).map(|it| (it.pid(), it.groups()));
        wrong.extend(same("port and groups", found, Ok((PORT, GROUPS))));
        let mut bits = [0; 8];
        let found = sys::option(&route, 270, 9, &mut bits);
        let high = bits[(HIGH_GROUP as usize - 1) / 8] >> ((HIGH_GROUP - 1) % 8) & 1;
        wrong.extend(same("memberships", (found.is_some(), high), (true, 1)));
        let mut number = [0; 4];
        sys::option(&route, 270, 11, &mut number);
        wrong.extend(same("NETLINK_EXT_ACK", number, [1, 0, 0, 0]));
        wrong.extend(same("it answers", asks(&route), true));
        wrong.extend(same("port of events", name(&events), before));
        wrong.extend(same("filter", sys::filter_length(&events), 1));
        wrong
    })
}

/// What a packet socket is bound to, and its filter.
pub(crate) fn packet() -> Verify {
    const ETH_P_IP: u16 = 0x0800;
    let number = sys::packet_socket(ETH_P_IP.to_be(), 1);
    sys::attach_filter(&number, &ACCEPT).expect("SO_ATTACH_FILTER");
    sys::set_option(&number, libc::SOL_PACKET, 8, 1).expect("PACKET_AUXDATA");
    // Of the file, each word but addresses, references and inode: type, protocol, device.
    let look = || {
        let text = std::fs::read_to_string("/proc/self/net/packet").unwrap_or_default();
        let line = text.lines().nth(1).unwrap_or_default();
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        words.get(2..5).map(<[String]>::to_vec).unwrap_or_default()
    };
    Box::new(move || {
        let mut wrong = Vec::new();
        let wanted = ["3", "0800", "1"].map(str::to_owned).to_vec();
        wrong.extend(same("what it is bound to", look(), wanted));
        wrong.extend(same("filter", sys::filter_length(&number), 1));
        let mut value = [0; 4];
        sys::option(&number, libc::SOL_PACKET, 8, &mut value);
        wrong.extend(same("PACKET_AUXDATA", value, [1, 0, 0, 0]));
        wrong
    })
}

/// Sockets of which each has something that cannot be dumped.
pub(crate) fn refused() -> Verify {
    let route = new(SockProtocol::NetlinkRoute);
    let request = get_links();
    send(route.as_raw_fd(), &request, NOW).expect("send");
    let packet = sys::packet_socket(0x0800_u16.to_be(), 1);
    // `struct packet_mreq`: device, `PACKET_MR_PROMISC`.
    let membership = [1, 1, 0, 0];
    sys::set_words(&packet, libc::SOL_PACKET, 1, &membership).expect("PACKET_ADD_MEMBERSHIP");
    let listens = named::listener("/tmp/listens");
    let client = named::connected("/tmp/listens");
    super::sockets::tell(&client, "early");
    let renamed = named::listener("/tmp/before");
    std::fs::rename("/tmp/before", "/tmp/after").expect("rename");
    Box::new(move || {
        let _ = (&route, &packet, &listens, &client, &renamed);
        Vec::new()
    })
}

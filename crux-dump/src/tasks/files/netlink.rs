//! Netlink and packet sockets.
//!
//! Kind: effect. What a netlink socket was told of changes (multicast) and has not read yet is lost, as it is where
//! somebody is too slow; an answer that waits is an obstacle, for nobody would give it again.

use super::sockets::{Found, SocketError, obstacle};
use super::sys;
use crux_image::tasks::{NetlinkSocket, PacketSocket};
use rustix::io::Errno;
use std::os::fd::AsFd as _;

const SOL_NETLINK: u16 = 270;
const NETLINK_LIST_MEMBERSHIPS: u16 = 9;
/// Bytes of a bit for each group.
const GROUPS: usize = 8 << 10;
/// Those whose sockets have nothing that cannot be read: `NETLINK_ROUTE`, `SOCK_DIAG`, `XFRM`, `AUDIT`,
/// `KOBJECT_UEVENT`, `GENERIC`.
const KNOWN: [u16; 6] = [0, 4, 6, 9, 15, 16];

pub(super) fn netlink(found: &Found) -> Result<NetlinkSocket, SocketError> {
    let socket = found.fd.as_fd();
    if !KNOWN.contains(&found.protocol) {
        return obstacle(format!(
            "is a netlink socket of protocol {}, which cannot be dumped yet",
            found.protocol
        ));
    }
    let mut buffer = vec![0; 64 << 10];
    match sys::peek(socket, &mut buffer) {
        Ok(first) if word(&first.sender, 8) == 0 => {
            return obstacle(
                "is a netlink socket in which an answer waits, which cannot be dumped",
            );
        }
        // ENOBUFS: something was lost already.
        Err(error) if !matches!(error.errno(), Errno::AGAIN | Errno::NOBUFS) => {
            return Err(error.into());
        }
        _ => {}
    }
    let own = sys::socket_address(socket)?;
    let peer = sys::peer_address(socket)?;
    let option = (SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS);
    let bits = sys::socket_option(socket, option, GROUPS)?.unwrap_or_default();
    let set = |group: &u32| bits[(group - 1) as usize / 8] >> ((group - 1) % 8) & 1 == 1;
    Ok(NetlinkSocket {
        port: word(&own, 4),
        groups: (1..=bits.len() as u32 * 8).filter(set).collect(),
        peer: (word(&peer, 4), word(&peer, 8)),
    })
}

pub(super) fn packet(found: &Found) -> Result<PacketSocket, SocketError> {
    if let Some(what) = found.packet {
        return obstacle(format!(
            "is a packet socket with {what}, which cannot be dumped yet"
        ));
    }
    let own = sys::socket_address(found.fd.as_fd())?;
    Ok(PacketSocket {
        protocol: (word(&own, 0) >> 16) as u16,
        device: word(&own, 4),
    })
}

/// 0 where there is none.
fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |it| u32::from_le_bytes(*it))
}

//! Memberships in multicast groups.
//!
//! Kind: pure. Devices are there by now, with their old numbers.

use crate::tasks::compile::Compiler;
use crux_image::tasks::{Membership, ProcessIndex, SocketIndex};

const MCAST_JOIN_GROUP: u16 = 42;
const MCAST_MSFILTER: u16 = 48;
const MCAST_EXCLUDE: u32 = 0;
const MCAST_INCLUDE: u32 = 1;
/// `struct sockaddr_storage`
const ADDRESS: usize = 128;

impl Compiler<'_> {
    /// Joins the groups that a socket is in: each, and then what it hears there.
    pub(super) fn join_groups(&mut self, at: ProcessIndex, index: SocketIndex, number: u32) {
        let all = &self.tasks.memberships;
        let first = all.partition_point(|it| it.socket.at() < index.at());
        let own = all[first..].iter().take_while(|it| it.socket == index);
        for it in own {
            self.set_value(at, number, (it.level(), MCAST_JOIN_GROUP), request(it));
            if it.only || !it.sources.is_empty() {
                self.set_value(at, number, (it.level(), MCAST_MSFILTER), filter(it));
            }
        }
    }
}

/// `struct group_req`: the device, and at the next word the group.
fn request(it: &Membership) -> Vec<u8> {
    let mut bytes = it.device.to_le_bytes().to_vec();
    bytes.extend([0; 4]);
    bytes.extend(address(&it.group));
    bytes
}

/// `struct group_filter`: the same, then the mode, how many sources there are, and those.
fn filter(it: &Membership) -> Vec<u8> {
    let mode = match it.only {
        true => MCAST_INCLUDE,
        false => MCAST_EXCLUDE,
    };
    let mut bytes = request(it);
    bytes.extend(mode.to_le_bytes());
    bytes.extend((it.sources.len() as u32).to_le_bytes());
    bytes.extend(it.sources.iter().flat_map(|source| address(source)));
    bytes
}

/// `struct sockaddr_in` or `sockaddr_in6`, with the room of the longest.
fn address(ip: &[u8]) -> Vec<u8> {
    let (family, before) = match ip.len() {
        16 => (libc::AF_INET6, 6),
        _ => (libc::AF_INET, 2),
    };
    let mut bytes = (family as u16).to_le_bytes().to_vec();
    bytes.extend(std::iter::repeat_n(0, before));
    bytes.extend(ip);
    bytes.resize(ADDRESS, 0);
    bytes
}

//! Netlink sockets (netlink(7)).
//!
//! Kind: pure.

use serde::{Deserialize, Serialize};

/// What is particular to a netlink socket. Messages that wait in it are none of the record: the kernel tells
/// whoever is too slow that some are lost, and so it may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetlinkSocket {
    /// `nl_pid` of its own address; 0: it has none.
    pub port: u32,
    /// The multicast groups that it is a member of, in order, from 1.
    pub groups: Vec<u32>,
    /// Port and bits of groups of the address that it is connected to; zeros: the kernel.
    pub peer: (u32, u32),
}

//! Packet sockets (packet(7)).
//!
//! Kind: pure.

use serde::{Deserialize, Serialize};

/// What is particular to a packet socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketSocket {
    /// What it gets, as bind(2) takes it (`sll_protocol`, in network order); 0: nothing.
    pub protocol: u16,
    /// The number of the device that it is bound to; 0: all.
    pub device: u32,
}

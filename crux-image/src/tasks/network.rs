//! What is in a network namespace: devices, addresses, routes, rules, neighbours and sysctls.
//!
//! Kind: pure. Numbers, headers and attributes are as rtnetlink(7) has them, which is an interface of
//! Linux: they go back to the kernel as they are, those that are in a closed list (`check/network.rs`).

use super::NetNsIndex;
use serde::{Deserialize, Serialize};

/// The contents of a network namespace that is the container's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Which.
    pub namespace: NetNsIndex,
    /// Its devices, in the order of their indexes.
    pub devices: Vec<NetDevice>,
    /// `struct ifaddrmsg`: addresses, in the order in which they were given.
    pub addresses: Vec<NetEntry>,
    /// `struct rtmsg`: routes that the kernel does not make by itself.
    pub routes: Vec<NetEntry>,
    /// `struct fib_rule_hdr`: policy rules. All of them: those that a new namespace has as well.
    pub rules: Vec<NetEntry>,
    /// `struct ndmsg`: neighbours that are permanent, and proxies.
    pub neighbours: Vec<NetEntry>,
    /// What is otherwise than in a new namespace.
    pub sysctls: Vec<NetSysctl>,
}

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetDevice {
    /// Its number in the namespace.
    pub index: u32,
    /// Its name.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: NetDeviceKind,
    /// Its hardware address.
    pub hardware: Vec<u8>,
    /// The largest packet.
    pub mtu: u32,
    /// The length of its transmit queue.
    pub queue: u32,
    /// `IFF_*`, those that somebody has set.
    pub flags: u32,
    /// The index of the device that it is a port of, or 0.
    pub master: u32,
    /// `IFLA_BRPORT_*`, of a port of a bridge.
    pub port: Vec<NetAttribute>,
    /// `IFLA_GROUP`.
    pub group: u32,
    /// `IFLA_IFALIAS`; empty if it has none.
    pub alias: Vec<u8>,
}

/// What kind of device it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetDeviceKind {
    /// `lo`: every namespace has one, with index 1.
    Loopback,
    /// `dummy`.
    Dummy,
    /// `bridge`, with `IFLA_BR_*`.
    Bridge(Vec<NetAttribute>),
    /// An end of a pair (veth(4)).
    Veth(VethPeer),
}

/// The other end of a pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VethPeer {
    /// In a namespace of the container, with this index.
    Inside(NetNsIndex, u32),
    /// In the caller's namespace: the operator grants it a name and a bridge.
    Outside(OutsideEnd),
}

/// The end of a pair that is in the namespace of whoever dumps or restores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutsideEnd {
    /// Its name.
    pub name: Vec<u8>,
    /// The name of the bridge that it is a port of; empty for none.
    pub bridge: Vec<u8>,
    /// Its hardware address.
    pub hardware: Vec<u8>,
    /// The largest packet.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
}

/// A header and the attributes that follow it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetEntry {
    /// The struct.
    pub header: Vec<u8>,
    /// What follows.
    pub attributes: Vec<NetAttribute>,
}

/// `struct rtattr`: a type, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetAttribute {
    /// The type.
    pub kind: u16,
    /// The bytes.
    pub value: Vec<u8>,
}

/// A file beneath `/proc/sys/net`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetSysctl {
    /// Its path from there: `ipv4/ip_forward`.
    pub name: Vec<u8>,
    /// What is in it, without the end of the line.
    pub value: Vec<u8>,
}

impl Network {
    /// The name by which the operator grants the outer end of a device. In other namespaces than the first
    /// process's it ends in the namespace's position.
    #[must_use]
    pub fn grant(&self, device: &NetDevice) -> String {
        let name = String::from_utf8_lossy(&device.name);
        match self.namespace.at() {
            0 => format!("veth:{name}"),
            at => format!("veth:{name}:{at}"),
        }
    }
}

impl NetEntry {
    /// The attribute of a type.
    #[must_use]
    pub fn attribute(&self, kind: u16) -> Option<&[u8]> {
        let mut all = self.attributes.iter();
        all.find(|it| it.kind == kind).map(|it| it.value.as_slice())
    }
}

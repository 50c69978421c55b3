//! Devices: made with their indexes and names, then set up, then ports of others.
//!
//! Kind: pure. `RTM_NEWLINK` of rtnetlink(7).

use super::Message;
use super::message::{NEW, Nest};
use crate::tasks::compile::Compiler;
use crate::tasks::compile::namespaces::Kind;
use crux_image::path::Escaped;
use crux_image::tasks::{
    NetDevice, NetDeviceKind, NetNsIndex, Network, OutsideEnd, Process, ProcessIndex, VethPeer,
};
use crux_script::LineId;

const RTM_NEWLINK: u16 = 16;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_TXQLEN: u16 = 13;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_PID: u16 = 19;
const IFLA_IFALIAS: u16 = 20;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_GROUP: u16 = 27;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_SLAVE_KIND: u16 = 4;
const INFO_SLAVE_DATA: u16 = 5;
const VETH_INFO_PEER: u16 = 1;
const IFF_UP: u32 = 1;
/// `IFF_BROADCAST` and the like are the device's own.
const SETTABLE: u32 = 4 | 0x20 | 0x80 | 0x100 | 0x200 | 0x1000 | 0x8000;

pub(super) fn is_up(device: &NetDevice) -> bool {
    device.flags & IFF_UP != 0
}

/// Puts a device into operation.
pub(super) fn up(index: u32) -> Message {
    Message::new(RTM_NEWLINK, 0, &header(index, IFF_UP, IFF_UP))
}

/// `struct ifinfomsg`
fn header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..].copy_from_slice(&change.to_ne_bytes());
    bytes
}

fn new(device: &NetDevice, info: Nest) -> Message {
    Message::new(RTM_NEWLINK, NEW, &header(device.index, 0, 0))
        .text(IFLA_IFNAME, &device.name)
        .with(IFLA_ADDRESS, &device.hardware)
        .with(IFLA_LINKINFO, &info.0)
}

fn kind(name: &[u8]) -> Nest {
    Nest::default().with(INFO_KIND, name)
}

/// What the other end of a pair is made with: `struct ifinfomsg` and attributes.
fn peer(index: u32, name: &[u8], hardware: &[u8]) -> Nest {
    Nest(header(index, 0, 0).to_vec())
        .with(IFLA_IFNAME, &[name, b"\0"].concat())
        .with(IFLA_ADDRESS, hardware)
}

fn pair(peer: Nest) -> Nest {
    let data = Nest::default().with(VETH_INFO_PEER, &peer.0);
    kind(b"veth").with(INFO_DATA, &data.0)
}

/// Ports, and all that is set once the devices are there.
pub(super) fn settings(network: &Network) -> Vec<Message> {
    let mut all = Vec::new();
    for device in network.devices.iter().filter(|it| it.master != 0) {
        let change = || Message::new(RTM_NEWLINK, 0, &header(device.index, 0, 0));
        all.push(change().number(IFLA_MASTER, device.master));
        let data = Nest::default().all(&device.port);
        let info = Nest::default()
            .with(INFO_SLAVE_KIND, b"bridge")
            .with(INFO_SLAVE_DATA, &data.0);
        all.push(change().with(IFLA_LINKINFO, &info.0));
    }
    all.extend(network.devices.iter().map(of_itself));
    all
}

fn of_itself(device: &NetDevice) -> Message {
    let flags = device.flags & SETTABLE;
    let mut message = Message::new(RTM_NEWLINK, 0, &header(device.index, flags, SETTABLE))
        .number(IFLA_MTU, device.mtu)
        .number(IFLA_TXQLEN, device.queue)
        .number(IFLA_GROUP, device.group);
    if !device.alias.is_empty() {
        message = message.with(IFLA_IFALIAS, &device.alias);
    }
    message
}

impl Compiler<'_> {
    pub(super) fn devices(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        network: &Network,
        socket: LineId,
    ) {
        for device in &network.devices {
            let message = match &device.kind {
                NetDeviceKind::Loopback => continue,
                NetDeviceKind::Dummy => new(device, kind(b"dummy")),
                NetDeviceKind::Bridge(data) => {
                    let data = Nest::default().all(data);
                    new(device, kind(b"bridge").with(INFO_DATA, &data.0))
                }
                NetDeviceKind::Veth(VethPeer::Inside(namespace, index)) => {
                    match self.inner(process, network, device, (*namespace, *index)) {
                        Some(message) => message,
                        None => continue,
                    }
                }
                NetDeviceKind::Veth(VethPeer::Outside(end)) => {
                    self.outer(at, process, network, device, end);
                    continue;
                }
            };
            self.tell(at, socket.into(), &message);
        }
    }

    /// A pair with both ends in the container: the first of them that is made makes the other.
    fn inner(
        &mut self,
        process: &Process,
        network: &Network,
        device: &NetDevice,
        (namespace, index): (NetNsIndex, u32),
    ) -> Option<Message> {
        let mut networks = self.tasks.networks.iter();
        let there = networks.position(|it| it.namespace == namespace);
        let others = there.map_or(&[][..], |at| &self.tasks.networks[at].devices);
        let Some(other) = others.iter().find(|it| it.index == index) else {
            let name = Escaped(&device.name);
            let what = format!("the other end of its network device {name} is not in the image");
            self.refuse(process, what);
            return None;
        };
        let mut peer = peer(other.index, &other.name, &other.hardware);
        if namespace != network.namespace {
            let mut networks = self.tasks.networks.iter();
            let here = networks.position(|it| it.namespace == network.namespace);
            if there < here {
                return None;
            }
            let fd = self.numbers.kept(Kind::Net, Some(namespace.at()));
            peer = peer.with(IFLA_NET_NS_FD, &fd.to_ne_bytes());
        } else if other.index < device.index {
            return None;
        }
        Some(new(device, pair(peer)))
    }

    /// A pair whose other end is the caller's: made from there, where the operator said what it is to be.
    fn outer(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        network: &Network,
        device: &NetDevice,
        end: &OutsideEnd,
    ) {
        let Some(granted) = self.machine.ends.get(&network.grant(device)).cloned() else {
            let name = Escaped(&device.name);
            let what = format!("the outer end of its network device {name} is not granted");
            return self.refuse(process, what);
        };
        // The first task has no descriptor of the namespace that it is born in: there its own number serves.
        let inner = peer(device.index, &device.name, &device.hardware);
        let inner = match process.net_namespace == Some(network.namespace) {
            true => inner.with(IFLA_NET_NS_PID, &process.own_pid().to_ne_bytes()),
            false => {
                let fd = self.numbers.kept(Kind::Net, Some(network.namespace.at()));
                inner.with(IFLA_NET_NS_FD, &fd.to_ne_bytes())
            }
        };
        let flags = if end.up { IFF_UP } else { 0 };
        let mut message = Message::new(RTM_NEWLINK, NEW, &header(0, flags, flags))
            .text(IFLA_IFNAME, &granted.name)
            .with(IFLA_ADDRESS, &end.hardware)
            .number(IFLA_MTU, end.mtu)
            .with(IFLA_LINKINFO, &pair(inner).0);
        if !granted.bridge.is_empty() {
            let Some(index) = self.machine.links.get(&granted.bridge) else {
                let (name, bridge) = (Escaped(&device.name), Escaped(&granted.bridge));
                let what = format!(
                    "the outer end of its network device {name} is to be a port of {bridge}, which is not here"
                );
                return self.refuse(process, what);
            };
            message = message.number(IFLA_MASTER, *index);
        }
        let socket = self.numbers.caller_route.unwrap_or(0);
        self.tell(at, socket.into(), &message);
    }
}

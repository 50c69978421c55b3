//! Network devices, from what the kernel says of them.
//!
//! Kind: pure. `RTM_NEWLINK` of rtnetlink(7).

use super::message::{Message, attributes, find, nested, number, text, word};
use crux_image::path::Escaped;
use crux_image::tasks::{NetAttribute, NetDevice, NetDeviceKind, OutsideEnd};

/// `struct ifinfomsg`
pub(super) const IFINFOMSG: usize = 16;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_TXQLEN: u16 = 13;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_GROUP: u16 = 27;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_SLAVE_KIND: u16 = 4;
const INFO_SLAVE_DATA: u16 = 5;
const XDP_ATTACHED: u16 = 2;

/// `IFF_UP`, `DEBUG`, `NOTRAILERS`, `NOARP`, `PROMISC`, `ALLMULTI`, `MULTICAST`, `DYNAMIC`: what can be set.
const FLAGS: u32 = 1 | 4 | 0x20 | 0x80 | 0x100 | 0x200 | 0x1000 | 0x8000;
const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 8;

/// Made by modules in every new namespace.
const EVERYWHERE: [&[u8]; 10] = [
    b"tunl0",
    b"gre0",
    b"gretap0",
    b"erspan0",
    b"ip_vti0",
    b"ip6_vti0",
    b"sit0",
    b"ip6tnl0",
    b"ip6gre0",
    b"ip6_gre0",
];

/// `IFLA_BR_*` that can be set: not what is counted, and not what the bridge finds out. `VLAN_FILTERING` is off, which
/// a kernel that does not know it does not let anybody say.
const BRIDGE: [u16; 31] = [
    1, 2, 3, 4, 5, 6, 8, 9, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39,
    41, 42, 43, 44, 45,
];
const VLAN_FILTERING: u16 = 7;
/// `IFLA_BRPORT_*` that can be set, but `STATE`, which the bridge finds out.
const PORT: [u16; 18] = [
    2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 25, 27, 28, 29, 30, 31, 32, 33,
];

/// A device, and where the other end of a pair is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) device: NetDevice,
    pub(super) peer: Option<Peer>,
}

/// The other end of a pair: its index in the namespace with that id, or in the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) index: u32,
    pub(super) namespace: Option<u32>,
}

/// The devices of a namespace; what cannot be made again goes to `obstacles`.
pub(super) fn devices(messages: &[Message], obstacles: &mut Vec<String>) -> Vec<Found> {
    let mut found: Vec<Found> = messages
        .iter()
        .filter_map(|message| device(message, obstacles))
        .collect();
    found.sort_by_key(|it| it.device.index);
    found
}

fn device(message: &Message, obstacles: &mut Vec<String>) -> Option<Found> {
    let (header, all) = message.split(IFINFOMSG)?;
    let (index, flags) = (word(header, 4)?, word(header, 8)?);
    let name = text(&all, IFLA_IFNAME);
    let info = nested(&all, IFLA_LINKINFO);
    let kind = text(&info, INFO_KIND);
    if flags & IFF_UP == 0 && EVERYWHERE.contains(&name.as_slice()) {
        return None;
    }
    let mut note = |what: String| obstacles.push(format!("the device {}{what}", Escaped(&name)));
    let data = nested(&info, INFO_DATA);
    let link = number(&all, IFLA_LINK).unwrap_or(0);
    let mut peer = None;
    let kind = match kind.as_slice() {
        b"" if flags & IFF_LOOPBACK != 0 => NetDeviceKind::Loopback,
        b"dummy" => NetDeviceKind::Dummy,
        b"bridge" => {
            if find(&data, VLAN_FILTERING) == Some(&[1]) {
                note(", a bridge that filters VLANs".to_owned());
            }
            NetDeviceKind::Bridge(kept(data, &BRIDGE))
        }
        b"veth" => {
            peer = Some(Peer {
                index: link,
                namespace: number(&all, IFLA_LINK_NETNSID),
            });
            // Where it is, the caller finds out.
            NetDeviceKind::Dummy
        }
        b"" => {
            note(", which is a device of the machine's own".to_owned());
            NetDeviceKind::Dummy
        }
        other => {
            note(format!(" of kind {}", Escaped(other)));
            NetDeviceKind::Dummy
        }
    };
    let attached = find(&nested(&all, IFLA_XDP), XDP_ATTACHED).and_then(|it| it.first().copied());
    if attached.unwrap_or(0) != 0 {
        note(", which has an XDP program".to_owned());
    }
    let master = number(&all, IFLA_MASTER).unwrap_or(0);
    let slave = text(&info, INFO_SLAVE_KIND);
    if master != 0 && slave != b"bridge" {
        note(format!(", which is a port of a {}", Escaped(&slave)));
    }
    let device = NetDevice {
        index,
        name,
        kind,
        hardware: find(&all, IFLA_ADDRESS).unwrap_or_default().to_vec(),
        mtu: number(&all, IFLA_MTU).unwrap_or(0),
        queue: number(&all, IFLA_TXQLEN).unwrap_or(0),
        flags: flags & FLAGS,
        master,
        port: kept(nested(&info, INFO_SLAVE_DATA), &PORT),
        group: number(&all, IFLA_GROUP).unwrap_or(0),
        alias: text(&all, IFLA_IFALIAS),
    };
    Some(Found { device, peer })
}

fn kept(all: Vec<NetAttribute>, kinds: &[u16]) -> Vec<NetAttribute> {
    all.into_iter()
        .filter(|it| kinds.contains(&it.kind))
        .collect()
}

/// The end of a pair that is in the dumper's own namespace, from what `RTM_GETLINK` says of it; then the index of
/// the device that it is a port of.
pub(super) fn outside(message: &Message) -> Option<(OutsideEnd, u32)> {
    let (header, all) = message.split(IFINFOMSG)?;
    let end = OutsideEnd {
        name: text(&all, IFLA_IFNAME),
        bridge: Vec::new(),
        hardware: find(&all, IFLA_ADDRESS).unwrap_or_default().to_vec(),
        mtu: number(&all, IFLA_MTU).unwrap_or(0),
        up: word(header, 8)? & IFF_UP != 0,
    };
    Some((end, number(&all, IFLA_MASTER).unwrap_or(0)))
}

/// The name of a device, if it is a bridge.
pub(super) fn bridge(message: &Message) -> Option<Vec<u8>> {
    let (_, all) = message.split(IFINFOMSG)?;
    let kind = text(&nested(&all, IFLA_LINKINFO), INFO_KIND);
    (kind == b"bridge").then(|| text(&all, IFLA_IFNAME))
}

/// Queueing disciplines that somebody has set: those of the kernel's own have no handle.
pub(super) fn disciplines(messages: &[Message]) -> Vec<String> {
    const TCA_KIND: u16 = 1;
    let set = |message: &Message| {
        let (header, rest) = message.body.split_at_checked(20)?;
        (word(header, 8)? != 0).then(|| {
            let kind = text(&attributes(rest), TCA_KIND);
            format!("the queueing discipline {}", Escaped(&kind))
        })
    };
    messages.iter().filter_map(set).collect()
}

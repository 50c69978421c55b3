//! What is in network namespaces.
//!
//! Kind: pure. Which attributes there may be is a closed list for each kind of message: what goes back to
//! the kernel is what crux knows.

use super::{TasksError, TasksPlace, TasksRule, at_most, in_range, value};
use crate::tasks::{
    NetAttribute, NetDevice, NetDeviceKind, NetEntry, NetSysctl, Network, OutsideEnd, Tasks,
    VethPeer,
};
use std::collections::HashSet;

/// `IFNAMSIZ`, with the NUL.
const NAME_LIMIT: usize = 15;
/// Devices, addresses, routes, sysctls: more than one namespace has.
const ENTRY_LIMIT: usize = 1 << 20;
/// `MAX_ADDR_LEN`
const HARDWARE_LIMIT: usize = 32;
/// `IFALIASZ`
const ALIAS_LIMIT: usize = 255;
const ATTRIBUTE_LIMIT: usize = 4096;
const PATH_LIMIT: usize = 255;
const VALUE_LIMIT: usize = 1 << 16;
/// An attribute's type without its two flags.
const TYPE: u16 = 0x3fff;

/// Sizes of headers, and types of attributes, of each kind of message.
struct Shape {
    what: &'static str,
    header: usize,
    attributes: &'static [u16],
}

/// `IFA_ADDRESS`, `LOCAL`, `LABEL`, `BROADCAST`, `ANYCAST`, `CACHEINFO`, `FLAGS`, `RT_PRIORITY`, `PROTO`.
const ADDRESS: Shape = Shape {
    what: "an address",
    header: 8,
    attributes: &[1, 2, 3, 4, 5, 6, 8, 9, 11],
};
/// `RTA_DST`, `SRC`, `IIF`, `OIF`, `GATEWAY`, `PRIORITY`, `PREFSRC`, `METRICS`, `MULTIPATH`, `FLOW`, `TABLE`,
/// `MARK`, `VIA`, `PREF`, `EXPIRES`.
const ROUTE: Shape = Shape {
    what: "a route",
    header: 12,
    attributes: &[1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 15, 16, 18, 20, 23],
};
/// `FRA_*`, but `UNUSED*`, `PAD` and `L3MDEV`.
const RULE: Shape = Shape {
    what: "a rule",
    header: 12,
    attributes: &[
        1, 2, 3, 4, 6, 10, 11, 12, 13, 14, 15, 16, 17, 20, 21, 22, 23, 24,
    ],
};
/// `NDA_DST`, `LLADDR`, `VLAN`, `PROTOCOL`.
const NEIGHBOUR: Shape = Shape {
    what: "a neighbour",
    header: 12,
    attributes: &[1, 2, 5, 12],
};

pub(super) fn check(tasks: &Tasks) -> Result<(), TasksError> {
    let mut seen = HashSet::new();
    for (at, network) in tasks.networks.iter().enumerate() {
        let place = TasksPlace::Network(at);
        if !seen.insert(network.namespace) {
            return Err(TasksRule::NetworkTwice.at(place));
        }
        check_network(tasks, network).map_err(|rule| rule.at(place))?;
    }
    Ok(())
}

fn check_network(tasks: &Tasks, network: &Network) -> Result<(), TasksRule> {
    let namespaces = tasks.net_namespaces.len();
    in_range("network namespace", network.namespace.at(), namespaces)?;
    at_most("network devices", network.devices.len(), ENTRY_LIMIT)?;
    let mut last = 0;
    for device in &network.devices {
        if device.index <= last || device.index > i32::MAX as u32 {
            return Err(TasksRule::DeviceOrder);
        }
        last = device.index;
        check_device(tasks, device)?;
    }
    let first = network.devices.first();
    let loopback = first.is_some_and(|it| it.kind == NetDeviceKind::Loopback && it.index == 1);
    let others = network.devices.iter().skip(1);
    if !loopback || others.clone().any(|it| it.kind == NetDeviceKind::Loopback) {
        return Err(TasksRule::Loopback);
    }
    for (entries, shape) in [
        (&network.addresses, ADDRESS),
        (&network.routes, ROUTE),
        (&network.rules, RULE),
        (&network.neighbours, NEIGHBOUR),
    ] {
        at_most("entries of a network", entries.len(), ENTRY_LIMIT)?;
        entries.iter().try_for_each(|it| check_entry(it, &shape))?;
    }
    at_most("sysctls", network.sysctls.len(), ENTRY_LIMIT)?;
    network.sysctls.iter().try_for_each(check_sysctl)
}

fn check_device(tasks: &Tasks, device: &NetDevice) -> Result<(), TasksRule> {
    name(&device.name)?;
    hardware(&device.hardware)?;
    at_most("bytes of a device's alias", device.alias.len(), ALIAS_LIMIT)?;
    value("index of a device", device.master.into(), i32::MAX as u64)?;
    attributes(&device.port)?;
    match &device.kind {
        NetDeviceKind::Loopback | NetDeviceKind::Dummy => Ok(()),
        NetDeviceKind::Bridge(data) => attributes(data),
        NetDeviceKind::Veth(VethPeer::Inside(namespace, index)) => {
            let count = tasks.net_namespaces.len();
            in_range("network namespace", namespace.at(), count)?;
            value("index of a device", (*index).into(), i32::MAX as u64)
        }
        NetDeviceKind::Veth(VethPeer::Outside(end)) => outside(end),
    }
}

fn outside(end: &OutsideEnd) -> Result<(), TasksRule> {
    name(&end.name)?;
    if !end.bridge.is_empty() {
        name(&end.bridge)?;
    }
    hardware(&end.hardware)
}

/// `dev_valid_name` of the kernel, and nothing that is not printable.
fn name(name: &[u8]) -> Result<(), TasksRule> {
    let bad = |b: &u8| !b.is_ascii_graphic() || b"/:%=@".contains(b);
    let dots = name == b"." || name == b"..";
    match name.is_empty() || name.len() > NAME_LIMIT || dots || name.iter().any(bad) {
        true => Err(TasksRule::DeviceName),
        false => Ok(()),
    }
}

fn hardware(address: &[u8]) -> Result<(), TasksRule> {
    at_most("bytes of a hardware address", address.len(), HARDWARE_LIMIT)
}

fn attributes(all: &[NetAttribute]) -> Result<(), TasksRule> {
    at_most("attributes", all.len(), 256)?;
    all.iter().try_for_each(|it| {
        value("type of an attribute", it.kind.into(), TYPE.into())?;
        at_most("bytes of an attribute", it.value.len(), ATTRIBUTE_LIMIT)
    })
}

fn check_entry(entry: &NetEntry, shape: &Shape) -> Result<(), TasksRule> {
    attributes(&entry.attributes)?;
    if entry.header.len() != shape.header {
        return Err(TasksRule::Length(shape.what));
    }
    let mut all = entry.attributes.iter();
    match all.find(|it| !shape.attributes.contains(&it.kind)) {
        Some(other) => Err(TasksRule::Attribute {
            what: shape.what,
            kind: other.kind,
        }),
        None => Ok(()),
    }
}

/// A path downwards.
fn check_sysctl(sysctl: &NetSysctl) -> Result<(), TasksRule> {
    at_most("bytes of a sysctl", sysctl.value.len(), VALUE_LIMIT)?;
    let mut parts = sysctl.name.split(|b| *b == b'/');
    let good = |part: &[u8]| {
        !part.is_empty() && part != b"." && part != b".." && part.iter().all(u8::is_ascii_graphic)
    };
    match sysctl.name.len() <= PATH_LIMIT && parts.all(good) && !sysctl.value.contains(&0) {
        true => Ok(()),
        false => Err(TasksRule::Sysctl),
    }
}

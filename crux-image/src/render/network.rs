//! What is in network namespaces, for people and for programs.
//!
//! Kind: pure. Names and addresses are escaped; the input has passed `Tasks::check`.

use crate::path::Escaped;
use crate::tasks::{NetDevice, NetDeviceKind, NetEntry, Network, Tasks, VethPeer};
use serde::Serialize;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A network, for `--json`.
#[derive(Debug, Serialize)]
pub(super) struct NetworkRecord {
    namespace: u32,
    devices: Vec<String>,
    addresses: Vec<String>,
    routes: Vec<String>,
    rules: usize,
    neighbours: usize,
    sysctls: Vec<String>,
}

/// All of them.
pub(super) fn networks(tasks: &Tasks) -> Vec<NetworkRecord> {
    tasks.networks.iter().map(record).collect()
}

fn record(network: &Network) -> NetworkRecord {
    NetworkRecord {
        namespace: network.namespace.0,
        devices: network.devices.iter().map(device).collect(),
        addresses: network.addresses.iter().map(address).collect(),
        routes: network.routes.iter().map(route).collect(),
        rules: network.rules.len(),
        neighbours: network.neighbours.len(),
        sysctls: network
            .sysctls
            .iter()
            .map(|it| format!("{}={}", Escaped(&it.name), Escaped(&it.value)))
            .collect(),
    }
}

/// A paragraph for each.
pub(super) fn text(tasks: &Tasks) -> String {
    let mut text = String::new();
    for network in networks(tasks) {
        let devices = network.devices.join(", ");
        let _ = writeln!(text, "{:<14}{devices}", "Network");
        for (what, lines) in [
            ("address", &network.addresses),
            ("route", &network.routes),
            ("sysctl", &network.sysctls),
        ] {
            for line in lines {
                let _ = writeln!(text, "  {what:<12}{line}");
            }
        }
    }
    text
}

fn device(device: &NetDevice) -> String {
    let name = Escaped(&device.name);
    match &device.kind {
        NetDeviceKind::Loopback => format!("{name}"),
        NetDeviceKind::Dummy => format!("{name} (dummy)"),
        NetDeviceKind::Bridge(_) => format!("{name} (bridge)"),
        NetDeviceKind::Veth(VethPeer::Inside(namespace, index)) => {
            format!(
                "{name} (veth of device {index} in namespace {})",
                namespace.0
            )
        }
        NetDeviceKind::Veth(VethPeer::Outside(end)) => {
            let bridge = match end.bridge.as_slice() {
                [] => String::new(),
                bridge => format!("@{}", Escaped(bridge)),
            };
            format!("{name} (veth of {}{bridge} outside)", Escaped(&end.name))
        }
    }
}

/// `struct ifaddrmsg`; `IFA_LOCAL` before `IFA_ADDRESS`.
fn address(entry: &NetEntry) -> String {
    let found = entry.attribute(2).or_else(|| entry.attribute(1));
    let index = entry.header.get(4).copied().unwrap_or(0);
    format!("{}/{} device {index}", ip(found), entry.header[1])
}

/// `struct rtmsg`; `RTA_DST`, `RTA_GATEWAY`, `RTA_OIF`.
fn route(entry: &NetEntry) -> String {
    let mut text = match entry.header[1] {
        0 => "default".to_owned(),
        length => format!("{}/{length}", ip(entry.attribute(1))),
    };
    if let Some(gateway) = entry.attribute(5) {
        let _ = write!(text, " via {}", ip(Some(gateway)));
    }
    if let Some(index) = entry.attribute(4).and_then(|it| it.first()) {
        let _ = write!(text, " device {index}");
    }
    text
}

fn ip(bytes: Option<&[u8]>) -> String {
    let bytes = bytes.unwrap_or_default();
    let four = <[u8; 4]>::try_from(bytes).map(|it| Ipv4Addr::from(it).to_string());
    let six = <[u8; 16]>::try_from(bytes).map(|it| Ipv6Addr::from(it).to_string());
    four.or(six).unwrap_or_else(|_| "?".to_owned())
}

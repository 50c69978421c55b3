//! Goes from network namespace to network namespace, and comes back.
//!
//! Kind: effect.

use super::devices::{Found, IFINFOMSG, Peer, bridge, devices, disciplines, outside};
use super::entries::{NDMSG, RTMSG, RULE, addresses, forwarding, neighbours, routes, rules};
use super::filters::filters;
use super::message::{Message, number};
use super::route::{Netlink, Scope};
use super::sysctls::{self, Values};
use super::{SeenNetwork, entries::IFADDRMSG};
use crate::judge::NamespaceId;
use crux_image::path::Escaped;
use crux_image::tasks::{NetDeviceKind, NetNsIndex, NetSysctl, Network, VethPeer};
use crux_mount::sys::{self, NamespaceKind, SysError};
use std::os::fd::{AsRawFd as _, OwnedFd};

const RTM_GETLINK: u16 = 18;
const RTM_GETADDR: u16 = 22;
const RTM_GETROUTE: u16 = 26;
const RTM_GETNEIGH: u16 = 30;
const RTM_GETRULE: u16 = 34;
const RTM_GETQDISC: u16 = 38;
const RTM_GETNSID: u16 = 90;
const RTM_GETNEXTHOP: u16 = 106;
const AF_BRIDGE: u8 = 7;
const NTF_PROXY: u8 = 8;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
/// `struct nhmsg`, `struct tcmsg`
const NHMSG: usize = 8;
const TCMSG: usize = 20;

/// A namespace that is to be looked at.
#[derive(Debug)]
pub(crate) struct Visit {
    /// Which it is.
    pub(crate) id: NamespaceId,
    /// The namespace.
    pub(crate) namespace: OwnedFd,
}

/// Looks at all of them, but for their settings. `home` is the namespace that the caller is in, and is in again
/// afterwards.
pub(crate) fn look(home: &OwnedFd, visits: &[Visit]) -> Result<Vec<SeenNetwork>, SysError> {
    if visits.is_empty() {
        return Ok(Vec::new());
    }
    let seen = visit_all(home, visits);
    // Whatever has happened: this process has something left to do, and it has that at home.
    sys::setns(home, NamespaceKind::Net)?;
    let (mut seen, ends) = seen?;
    if ends.is_empty() {
        return Ok(seen);
    }
    let route = Netlink::route()?;
    for end in ends {
        let at = &mut seen[end.network];
        let device = &mut at.network.devices[end.device];
        match outer_end(&route, end.index)? {
            Ok(peer) => device.kind = NetDeviceKind::Veth(VethPeer::Outside(peer)),
            Err(what) => {
                let name = Escaped(&device.name);
                at.obstacles.push(format!("the device {name}, {what}"));
            }
        }
    }
    Ok(seen)
}

/// The settings of each that are not as in a new namespace, and can be written. This takes longer than all else
/// that is looked at.
pub(crate) fn settings(
    home: &OwnedFd,
    visits: &[Visit],
    new: &Values,
) -> Result<Vec<Vec<NetSysctl>>, SysError> {
    let read = |visit: &Visit| {
        sys::setns(&visit.namespace, NamespaceKind::Net)?;
        Ok(sysctls::kept(new))
    };
    let settings = visits.iter().map(read).collect();
    sys::setns(home, NamespaceKind::Net)?;
    settings
}

/// A pair of which one end is at home.
struct End {
    network: usize,
    device: usize,
    /// Its index at home.
    index: u32,
}

fn visit_all(home: &OwnedFd, visits: &[Visit]) -> Result<(Vec<SeenNetwork>, Vec<End>), SysError> {
    let (mut seen, mut ends) = (Vec::new(), Vec::new());
    for (at, visit) in visits.iter().enumerate() {
        sys::setns(&visit.namespace, NamespaceKind::Net)?;
        let (network, found) = one(visit.id, at)?;
        seen.push(network);
        let route = Netlink::route()?;
        for (device, found) in found.iter().enumerate() {
            let Some(peer) = found.peer else { continue };
            let place = place(&route, peer, home, visits, at)?;
            match place {
                Place::Home => ends.push(End {
                    network: at,
                    device,
                    index: peer.index,
                }),
                Place::Inside(other) => {
                    let inside = VethPeer::Inside(NetNsIndex::from(other), peer.index);
                    seen[at].network.devices[device].kind = NetDeviceKind::Veth(inside);
                }
                Place::Elsewhere => {
                    let name = Escaped(&found.device.name);
                    let what = "whose other end is neither in the container nor in crux-dump's own namespace";
                    seen[at]
                        .obstacles
                        .push(format!("the device {name}, {what}"));
                }
            }
        }
    }
    Ok((seen, ends))
}

/// The namespace that the caller is in.
fn one(id: NamespaceId, at: usize) -> Result<(SeenNetwork, Vec<Found>), SysError> {
    let mut obstacles = Vec::new();
    let route = Netlink::route()?;
    let all = |kind, body: &[u8]| route.ask(kind, Scope::All, body);
    let found = devices(&all(RTM_GETLINK, &[0; IFINFOMSG])?, &mut obstacles);
    obstacles.extend(disciplines(&all(RTM_GETQDISC, &[0; TCMSG])?));
    if all(RTM_GETNEXTHOP, &[0; NHMSG]).is_ok_and(|it| !it.is_empty()) {
        obstacles.push("objects of next hops".to_owned());
    }
    if forwarding(&all(RTM_GETNEIGH, &family::<NDMSG>(AF_BRIDGE))?) {
        obstacles.push("static entries of a bridge's forwarding".to_owned());
    }
    obstacles.extend(filters()?);
    let mut proxies = [0; NDMSG];
    proxies[10] = NTF_PROXY;
    let mut neighbour = all(RTM_GETNEIGH, &[0; NDMSG])?;
    neighbour.extend(all(RTM_GETNEIGH, &proxies)?);
    let network = Network {
        namespace: NetNsIndex::from(at),
        devices: found.iter().map(|it| it.device.clone()).collect(),
        addresses: addresses(&all(RTM_GETADDR, &[0; IFADDRMSG])?, &mut obstacles),
        routes: routes(&both::<RTMSG>(&route, RTM_GETROUTE)?, &mut obstacles),
        rules: rules(&both::<RULE>(&route, RTM_GETRULE)?, &mut obstacles),
        neighbours: neighbours(&neighbour, &mut obstacles),
        sysctls: Vec::new(),
    };
    let seen = SeenNetwork {
        id,
        network,
        obstacles,
    };
    Ok((seen, found))
}

/// Of IPv4 and of IPv6; a machine may have no IPv6.
fn both<const HEADER: usize>(route: &Netlink, kind: u16) -> Result<Vec<Message>, SysError> {
    let of = |it: i32| family::<HEADER>(it as u8);
    let mut all = route.ask(kind, Scope::All, &of(libc::AF_INET))?;
    all.extend(
        route
            .ask(kind, Scope::All, &of(libc::AF_INET6))
            .unwrap_or_default(),
    );
    Ok(all)
}

fn family<const HEADER: usize>(family: u8) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[0] = family;
    header
}

enum Place {
    Home,
    Inside(usize),
    Elsewhere,
}

/// Where the other end of a pair is: namespaces have numbers in each other.
fn place(
    route: &Netlink,
    peer: Peer,
    home: &OwnedFd,
    visits: &[Visit],
    at: usize,
) -> Result<Place, SysError> {
    let Some(wanted) = peer.namespace else {
        return Ok(Place::Inside(at));
    };
    if number_of(route, home)? == Some(wanted) {
        return Ok(Place::Home);
    }
    for (other, visit) in visits.iter().enumerate() {
        if number_of(route, &visit.namespace)? == Some(wanted) {
            return Ok(Place::Inside(other));
        }
    }
    Ok(Place::Elsewhere)
}

fn number_of(route: &Netlink, namespace: &OwnedFd) -> Result<Option<u32>, SysError> {
    // struct rtgenmsg, padded
    let mut body = vec![0; 4];
    body.extend(8_u16.to_ne_bytes());
    body.extend(NETNSA_FD.to_ne_bytes());
    body.extend(namespace.as_raw_fd().to_ne_bytes());
    let answer = route.ask(RTM_GETNSID, Scope::One, &body)?;
    let split = answer.first().and_then(|it| it.split(4));
    Ok(split.and_then(|(_, all)| number(&all, NETNSA_NSID)))
}

/// The end at home, or why it cannot be made again.
fn outer_end(
    route: &Netlink,
    index: u32,
) -> Result<Result<crux_image::tasks::OutsideEnd, String>, SysError> {
    let one = |index: u32| {
        let mut header = [0; IFINFOMSG];
        header[4..8].copy_from_slice(&index.to_ne_bytes());
        let answer = route.ask(RTM_GETLINK, Scope::One, &header)?;
        Ok(answer.into_iter().next())
    };
    let found = one(index)?;
    let Some((mut end, master)) = found.as_ref().and_then(outside) else {
        return Ok(Err("whose other end has gone".to_owned()));
    };
    if master != 0 {
        match one(master)?.as_ref().and_then(bridge) {
            Some(name) => end.bridge = name,
            None => {
                return Ok(Err(
                    "whose other end is a port of what is no bridge".to_owned()
                ));
            }
        }
    }
    Ok(Ok(end))
}

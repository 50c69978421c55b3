//! Addresses, routes, rules and neighbours.
//!
//! Kind: pure.

use super::Message;
use super::message::{APPEND, NEW, SET};
use crux_image::tasks::{NetAttribute, NetEntry, Network};

const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWNEIGH: u16 = 28;
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;

const AF_INET: u8 = libc::AF_INET as u8;
const AF_INET6: u8 = libc::AF_INET6 as u8;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u32 = 2;

/// The loopback device gets its addresses from the kernel when it goes up.
fn is_loopbacks_own(entry: &NetEntry) -> bool {
    let (family, prefix) = (entry.header[0], entry.header[1]);
    let index = entry.header.get(4..8) == Some(&1_u32.to_ne_bytes());
    let address = entry.attribute(1).unwrap_or_default();
    let own = match family {
        AF_INET => prefix == 8 && address == [127, 0, 0, 1],
        _ => prefix == 128 && address.len() == 16 && address[..15] == [0; 15] && address[15] == 1,
    };
    index && own
}

/// Before devices are up: an address that is there already is not made by the kernel, and one of IPv6
/// that is not looked for elsewhere (`NODAD`) can be used at once.
pub(super) fn addresses(network: &Network) -> Vec<Message> {
    let own = |it: &&NetEntry| !is_loopbacks_own(it);
    let addresses = network.addresses.iter().filter(own);
    addresses
        .map(|entry| {
            let extra = match entry.header[0] {
                AF_INET6 => IFA_F_NODAD,
                _ => 0,
            };
            address(entry, extra)
        })
        .collect()
}

fn address(entry: &NetEntry, extra: u32) -> Message {
    let mut message = Message::new(RTM_NEWADDR, SET, &entry.header);
    for NetAttribute { kind, value } in &entry.attributes {
        message = match (kind, value.first_chunk()) {
            (&IFA_FLAGS, Some(flags)) => {
                message.number(IFA_FLAGS, u32::from_ne_bytes(*flags) | extra)
            }
            _ => message.with(*kind, value),
        };
    }
    message
}

/// When devices are up: the flags that addresses of IPv6 really have, and all that depends on addresses.
pub(super) fn after(network: &Network) -> Vec<Message> {
    let six = |it: &&NetEntry| it.header[0] == AF_INET6 && !is_loopbacks_own(it);
    let mut all: Vec<Message> = network
        .addresses
        .iter()
        .filter(six)
        .map(|entry| address(entry, 0))
        .collect();
    all.extend(rules(&network.rules));
    let (via, direct): (Vec<_>, Vec<_>) = network.routes.iter().partition(|it| is_via(it));
    let made = |kind, flags| {
        move |it: &NetEntry| Message::new(kind, flags, &it.header).all(&it.attributes)
    };
    // What routes lead through has to be there before them.
    let routes = direct.into_iter().chain(via);
    all.extend(routes.map(made(RTM_NEWROUTE, APPEND)));
    all.extend(network.neighbours.iter().map(made(RTM_NEWNEIGH, SET)));
    all
}

/// `RTA_GATEWAY`, `MULTIPATH` or `VIA`.
fn is_via(route: &NetEntry) -> bool {
    [5, 9, 18].iter().any(|it| route.attribute(*it).is_some())
}

/// The rules of a new namespace: family, priority, table.
const DEFAULT: [(u8, u32, u32); 5] = [
    (AF_INET, 0, 255),
    (AF_INET, 32766, 254),
    (AF_INET, 32767, 253),
    (AF_INET6, 0, 255),
    (AF_INET6, 32766, 254),
];
const FRA_PRIORITY: u16 = 6;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_PROTOCOL: u16 = 21;

/// What a rule is if it is no more than one of those of a new namespace.
fn plain(rule: &NetEntry) -> Option<(u8, u32, u32)> {
    let number = |kind: u16| {
        let value = rule.attribute(kind)?;
        value.first_chunk().map(|it| u32::from_ne_bytes(*it))
    };
    let known = [
        FRA_PRIORITY,
        FRA_SUPPRESS_PREFIXLEN,
        FRA_TABLE,
        FRA_PROTOCOL,
    ];
    let only = rule.attributes.iter().all(|it| known.contains(&it.kind));
    let whole = rule.header[1..4] == [0; 3];
    let nothing = number(FRA_SUPPRESS_PREFIXLEN).unwrap_or(u32::MAX) == u32::MAX;
    let key = (
        rule.header[0],
        number(FRA_PRIORITY).unwrap_or(0),
        number(FRA_TABLE)?,
    );
    (only && whole && nothing && DEFAULT.contains(&key)).then_some(key)
}

fn rules(rules: &[NetEntry]) -> Vec<Message> {
    let mut gone: Vec<_> = match rules.is_empty() {
        // A kernel without policy routing has none at all.
        true => Vec::new(),
        false => DEFAULT.to_vec(),
    };
    if !rules.iter().any(|it| it.header[0] == AF_INET6) {
        gone.retain(|it| it.0 != AF_INET6);
    }
    let mut made = Vec::new();
    for rule in rules {
        match plain(rule) {
            Some(key) if gone.contains(&key) => gone.retain(|it| *it != key),
            _ => made.push(Message::new(RTM_NEWRULE, NEW, &rule.header).all(&rule.attributes)),
        }
    }
    let unmade = gone.into_iter().map(|(family, priority, table)| {
        // struct fib_rule_hdr: family, lengths, tos; table, two reserved, action
        let header = [family, 0, 0, 0, table as u8, 0, 0, 1, 0, 0, 0, 0];
        Message::new(RTM_DELRULE, 0, &header)
            .number(FRA_PRIORITY, priority)
            .number(FRA_TABLE, table)
    });
    made.into_iter().chain(unmade).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(family: u8, priority: u32, table: u32) -> NetEntry {
        let attribute = |kind, value: u32| NetAttribute {
            kind,
            value: value.to_ne_bytes().to_vec(),
        };
        NetEntry {
            header: vec![family, 0, 0, 0, table as u8, 0, 0, 1, 0, 0, 0, 0],
            attributes: vec![
                attribute(FRA_TABLE, table),
                attribute(FRA_SUPPRESS_PREFIXLEN, u32::MAX),
                attribute(FRA_PRIORITY, priority),
            ],
        }
    }

    #[test]
    fn rules_that_every_namespace_has_are_not_made_again() {
        let mut all: Vec<_> = DEFAULT.iter().map(|(f, p, t)| rule(*f, *p, *t)).collect();
        assert_eq!(rules(&all), []);
        all.push(rule(AF_INET, 100, 7));
        all.remove(2);
        assert_eq!(rules(&all).len(), 2);
        assert_eq!(rules(&[]), []);
    }
}

//! Addresses, routes, rules and neighbours, as they go back to the kernel.
//!
//! Kind: pure. What the kernel makes or counts by itself is left out; an attribute that is not known is an obstacle.

use super::message::{Message, half, number, word};
use crux_image::tasks::{NetAttribute, NetEntry};

pub(super) const IFADDRMSG: usize = 8;
pub(super) const RTMSG: usize = 12;
pub(super) const RULE: usize = 12;
pub(super) const NDMSG: usize = 12;

/// Attributes of a kind of message: those that are kept, and those that only tell.
struct Known {
    what: &'static str,
    kept: &'static [u16],
    told: &'static [u16],
}

const ADDRESSES: Known = Known {
    what: "an address",
    kept: &[1, 2, 3, 4, 5, 6, 8, 9, 11],
    told: &[],
};
/// `RTA_CACHEINFO` only tells, but for when a route ends.
const ROUTES: Known = Known {
    what: "a route",
    kept: &[1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 15, 16, 18, 20, 23],
    told: &[12],
};
const RULES: Known = Known {
    what: "a rule",
    kept: &[
        1, 2, 3, 4, 6, 10, 11, 12, 13, 14, 15, 16, 17, 20, 21, 22, 23, 24,
    ],
    told: &[18],
};
/// `NDA_CACHEINFO` and `NDA_PROBES` only tell.
const NEIGHBOURS: Known = Known {
    what: "a neighbour",
    kept: &[1, 2, 5, 12],
    told: &[3, 4],
};

fn entry(
    message: &Message,
    header: usize,
    known: &Known,
    note: &mut Vec<String>,
) -> Option<NetEntry> {
    let (header, all) = message.split(header)?;
    let (kept, others): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|it| known.kept.contains(&it.kind));
    if let Some(other) = others.iter().find(|it| !known.told.contains(&it.kind)) {
        note.push(format!(
            "{} that has the attribute {}",
            known.what, other.kind
        ));
    }
    Some(NetEntry {
        header: header.to_vec(),
        attributes: kept,
    })
}

/// `IFA_F_*` that can be set: `NODAD`, `HOMEADDRESS`, `MANAGETEMPADDR`, `NOPREFIXROUTE`, `MCAUTOJOIN`. A
/// temporary address comes back as one that is not: the kernel makes new ones when it hears a router.
const SETTABLE: u32 = 0x2 | 0x10 | 0x100 | 0x200 | 0x400;
const IFA_FLAGS: u16 = 8;

pub(super) fn addresses(messages: &[Message], note: &mut Vec<String>) -> Vec<NetEntry> {
    let address = |message: &Message| {
        let mut entry = entry(message, IFADDRMSG, &ADDRESSES, note)?;
        let flags = number(&entry.attributes, IFA_FLAGS).unwrap_or(0) & SETTABLE;
        entry.header[2] = flags as u8;
        entry.attributes.retain(|it| it.kind != IFA_FLAGS);
        entry.attributes.push(attribute(IFA_FLAGS, flags));
        Some(entry)
    };
    messages.iter().filter_map(address).collect()
}

const RTPROT_REDIRECT: u8 = 1;
const RTPROT_KERNEL: u8 = 2;
const RTM_F_CLONED: u32 = 0x200;
const RTNH_F_ONLINK: u32 = 4;
const RTA_MULTIPATH: u16 = 9;
const RTA_CACHEINFO: u16 = 12;
const RTA_EXPIRES: u16 = 23;
/// `USER_HZ`
const TICKS: u32 = 100;

pub(super) fn routes(messages: &[Message], note: &mut Vec<String>) -> Vec<NetEntry> {
    let route = |message: &Message| {
        let (header, all) = message.split(RTMSG)?;
        let own = matches!(header[5], RTPROT_KERNEL | RTPROT_REDIRECT);
        let flags = word(header, 8)?;
        if own || flags & RTM_F_CLONED != 0 {
            return None;
        }
        // clntref, lastuse, expires
        let cache = all.iter().find(|it| it.kind == RTA_CACHEINFO);
        let expires = cache.and_then(|it| word(&it.value, 8)).unwrap_or(0);
        let mut entry = entry(message, RTMSG, &ROUTES, note)?;
        entry.header[8..].copy_from_slice(&(flags & RTNH_F_ONLINK).to_ne_bytes());
        for it in entry.attributes.iter_mut() {
            if it.kind == RTA_MULTIPATH {
                hops(&mut it.value);
            }
        }
        if expires > 0 && expires < i32::MAX as u32 {
            let seconds = expires.div_ceil(TICKS);
            entry.attributes.push(attribute(RTA_EXPIRES, seconds));
        }
        Some(entry)
    };
    messages.iter().filter_map(route).collect()
}

/// `struct rtnexthop`: of its flags only `ONLINK` can be set.
fn hops(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(length) = half(bytes, at).filter(|it| *it >= 8) {
        if let Some(flags) = bytes.get_mut(at + 2) {
            *flags &= RTNH_F_ONLINK as u8;
        }
        at += usize::from(length).next_multiple_of(4);
    }
}

pub(super) fn rules(messages: &[Message], note: &mut Vec<String>) -> Vec<NetEntry> {
    let rule = |message: &Message| entry(message, RULE, &RULES, note);
    messages.iter().filter_map(rule).collect()
}

const AF_BRIDGE: u8 = 7;
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;
const NTF_PROXY: u8 = 8;
/// Of a bridge's forwarding entries: those of its ports' own addresses.
const NTF_SELF: u8 = 2;

pub(super) fn neighbours(messages: &[Message], note: &mut Vec<String>) -> Vec<NetEntry> {
    let neighbour = |message: &Message| {
        let (header, _) = message.split(NDMSG)?;
        let kept = half(header, 8)? & NUD_PERMANENT != 0 || header[10] & NTF_PROXY != 0;
        match kept && header[0] != AF_BRIDGE {
            true => entry(message, NDMSG, &NEIGHBOURS, note),
            false => None,
        }
    };
    messages.iter().filter_map(neighbour).collect()
}

/// Forwarding entries of bridges that somebody has set (bridge(8), `static`).
pub(super) fn forwarding(messages: &[Message]) -> bool {
    messages.iter().any(|message| {
        message.split(NDMSG).is_some_and(|(header, _)| {
            header[10] & NTF_SELF == 0 && half(header, 8).is_some_and(|it| it & NUD_NOARP != 0)
        })
    })
}

fn attribute(kind: u16, value: u32) -> NetAttribute {
    NetAttribute {
        kind,
        value: value.to_ne_bytes().to_vec(),
    }
}

/// The attributes that follow a struct: for tests, and for questions.
#[cfg(test)]
fn message(header: &[u8], rest: &[NetAttribute]) -> Message {
    let mut body = header.to_vec();
    for it in rest {
        body.extend((it.value.len() as u16 + 4).to_ne_bytes());
        body.extend(it.kind.to_ne_bytes());
        body.extend(&it.value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    Message { kind: 0, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_makes_is_left_out_and_what_is_unknown_is_named() {
        let mut note = Vec::new();
        let of = |protocol: u8, flags: u32| {
            let mut header = vec![2, 24, 0, 0, 254, protocol, 0, 1];
            header.extend(flags.to_ne_bytes());
            header
        };
        let found = routes(
            &[
                message(&of(RTPROT_KERNEL, 0), &[]),
                message(&of(4, RTM_F_CLONED), &[]),
                message(&of(4, 16 | 4), &[attribute(4, 7)]),
                message(&of(4, 0), &[attribute(22, 7)]),
            ],
            &mut note,
        );
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].header[8], 4);
        assert_eq!(note, ["a route that has the attribute 22"]);
    }

    #[test]
    fn hops_lose_what_cannot_be_set() {
        let mut bytes = vec![8, 0, 0x11 | 4, 0, 3, 0, 0, 0, 8, 0, 1, 0, 4, 0, 0, 0];
        hops(&mut bytes);
        assert_eq!((bytes[2], bytes[10]), (4, 0));
        hops(&mut [0, 0, 0]);
    }

    #[test]
    fn only_what_was_set_of_an_address_is_kept() {
        let mut note = Vec::new();
        let given = message(
            &[10, 64, 0x80, 253, 2, 0, 0, 0],
            &[attribute(8, 0x80 | 0x40 | 2)],
        );
        let found = addresses(&[given], &mut note);
        assert_eq!(found[0].header[2], 2);
        assert_eq!(found[0].attributes, [attribute(8, 2)]);
    }
}

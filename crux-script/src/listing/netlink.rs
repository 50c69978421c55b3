//! Messages of rtnetlink(7) in words.
//!
//! Kind: pure. As much as says which message it is.

use super::words::Words;
use crate::line::Argument;

const KINDS: [(u16, &str, usize); 6] = [
    (16, "RTM_NEWLINK", 16),
    (20, "RTM_NEWADDR", 8),
    (24, "RTM_NEWROUTE", 12),
    (28, "RTM_NEWNEIGH", 12),
    (32, "RTM_NEWRULE", 12),
    (33, "RTM_DELRULE", 12),
];
const HEADER: usize = 16;

/// A sendto(2) of such a message.
pub(super) fn netlink(words: &Words<'_>) -> Option<String> {
    let Argument::Data(place) = words.call.arguments[1] else {
        return None;
    };
    let block = words.arena.get_block(place.block)?;
    let bytes = block.bytes.get(place.offset as usize..)?;
    let half = |at: usize| Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let kind = half(4)?;
    let (_, name, header) = KINDS.iter().find(|(it, ..)| *it == kind)?;
    let mut text = format!("netlink {name}");
    if kind == 16 || kind == 20 {
        let index = bytes.get(HEADER + 4..)?.first_chunk()?;
        text += &format!(" device {}", u32::from_le_bytes(*index));
    }
    for (kind_of, value) in attributes(bytes.get(HEADER + header..)?) {
        match (kind, kind_of) {
            // IFLA_IFNAME
            (16, 3) => {
                let name = value.split(|b| *b == 0).next().unwrap_or_default();
                text += &format!(" \"{}\"", name.escape_ascii());
            }
            // An address or a destination.
            (20 | 24 | 28, 1) => text += &format!(" {}", address(value)),
            // RTA_GATEWAY
            (24, 5) => text += &format!(" via {}", address(value)),
            _ => {}
        }
    }
    Some(text)
}

fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut all = Vec::new();
    while let Some([a, b, c, d]) = bytes.first_chunk() {
        let length = usize::from(u16::from_le_bytes([*a, *b]));
        let Some(value) = bytes.get(4..length) else {
            break;
        };
        all.push((u16::from_le_bytes([*c, *d]), value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    all
}

fn address(bytes: &[u8]) -> String {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return std::net::Ipv4Addr::from(four).to_string();
    }
    <[u8; 16]>::try_from(bytes).map_or_else(
        |_| bytes.escape_ascii().to_string(),
        |six| std::net::Ipv6Addr::from(six).to_string(),
    )
}

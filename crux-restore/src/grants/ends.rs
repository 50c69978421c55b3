//! The outer ends of pairs of network devices: the image asks, the operator grants.
//!
//! Kind: pure.

use super::{external_option, shell_word};
use crate::cli::{External, Options, bytes};
use crate::tasks::compile::OuterEnd;
use crux_image::path::Escaped;
use crux_image::tasks::{NetDevice, NetDeviceKind, OutsideEnd, Tasks, VethPeer};
use std::collections::BTreeMap;
use std::fmt;

/// What grants of outer ends begin with.
const PREFIX: &str = "veth:";
/// `IFNAMSIZ`, with the NUL.
const NAME_LIMIT: usize = 15;

/// Whether a grant is one of a network device.
pub(super) fn is_one(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Why the grants do not fit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum EndError {
    /// A grant for a device that the image does not have.
    Unknown(String),
    /// The same device granted twice.
    Twice(String),
    /// What is granted names no device.
    Name(String),
    /// Not everything is granted.
    Missing(Vec<String>, Vec<String>),
}

/// What each outer end is to be, by the name of its grant.
pub(crate) fn ends(
    tasks: &Tasks,
    options: &Options,
) -> Result<BTreeMap<String, OuterEnd>, EndError> {
    let asked = asked(tasks);
    let (mut given, mut auto) = (BTreeMap::new(), false);
    for external in &options.external {
        match external {
            External::Auto => auto = true,
            External::Source { name, source } if is_one(name) => {
                if !asked.contains_key(name) {
                    return Err(EndError::Unknown(name.clone()));
                }
                let end = parse(&bytes(source)).ok_or_else(|| EndError::Name(name.clone()))?;
                if given.insert(name.clone(), end).is_some() {
                    return Err(EndError::Twice(name.clone()));
                }
            }
            External::Source { .. } => {}
        }
    }
    let (mut missing, mut wanted) = (Vec::new(), Vec::new());
    for (name, (device, end)) in &asked {
        if given.contains_key(name) {
            continue;
        }
        if auto {
            given.insert(name.clone(), wish(end));
            continue;
        }
        missing.push(shown(name, device, end));
        wanted.push(external_option(name, &shell_word(&wish(end).option())));
    }
    match missing.is_empty() {
        true => Ok(given),
        false => Err(EndError::Missing(missing, wanted)),
    }
}

fn asked(tasks: &Tasks) -> BTreeMap<String, (&NetDevice, &OutsideEnd)> {
    let networks = tasks.networks.iter();
    let devices = networks.flat_map(|it| it.devices.iter().map(move |device| (it, device)));
    let outer = devices.filter_map(|(network, device)| match &device.kind {
        NetDeviceKind::Veth(VethPeer::Outside(end)) => Some((network.grant(device), (device, end))),
        _ => None,
    });
    outer.collect()
}

fn wish(end: &OutsideEnd) -> OuterEnd {
    OuterEnd {
        name: end.name.clone(),
        bridge: end.bridge.clone(),
    }
}

fn shown(name: &str, device: &NetDevice, end: &OutsideEnd) -> String {
    let bridge = match end.bridge.as_slice() {
        [] => "a port of no bridge".to_owned(),
        bridge => format!("a port of the bridge {}", Escaped(bridge)),
    };
    format!(
        "{name}: the other end of the network device {}, which was {}, {bridge}",
        Escaped(&device.name),
        Escaped(&end.name)
    )
}

/// `NAME@BRIDGE` or `NAME`.
fn parse(source: &[u8]) -> Option<OuterEnd> {
    let mut parts = source.splitn(2, |b| *b == b'@');
    let (name, bridge) = (parts.next()?, parts.next());
    let good = |name: &[u8]| {
        let plain = |b: &u8| b.is_ascii_graphic() && !b"/:%@".contains(b);
        (1..=NAME_LIMIT).contains(&name.len()) && name.iter().all(plain)
    };
    (good(name) && bridge.is_none_or(good)).then(|| OuterEnd {
        name: name.to_vec(),
        bridge: bridge.unwrap_or_default().to_vec(),
    })
}

impl OuterEnd {
    fn option(&self) -> Vec<u8> {
        match self.bridge.as_slice() {
            [] => self.name.clone(),
            bridge => [&self.name, &b"@"[..], bridge].concat(),
        }
    }
}

impl fmt::Display for EndError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "the image asks for no {name:?}"),
            Self::Twice(name) => write!(f, "{name:?} is granted twice"),
            Self::Name(name) => write!(
                f,
                "{name:?} is granted what names no device: it takes NAME or NAME@BRIDGE"
            ),
            Self::Missing(missing, options) => write!(
                f,
                "the image asks for network devices of this host that nothing grants\n  {}\n  \
                 Grant all that the image names with --external auto, or only these with\n    {}",
                missing.join("\n  "),
                options.join(" ")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_names_with_a_bridge_or_without() {
        let end = |name: &str, bridge: &str| OuterEnd {
            name: name.into(),
            bridge: bridge.into(),
        };
        assert_eq!(parse(b"veth1@br0"), Some(end("veth1", "br0")));
        assert_eq!(parse(b"veth1"), Some(end("veth1", "")));
        for bad in ["", "@br0", "veth1@", "a/b", "sixteen-letters-"] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(end("a", "b").option(), b"a@b");
    }
}

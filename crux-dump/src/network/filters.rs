//! What filters or changes packets, and is not restored: nftables, iptables, ipset, xfrm.
//!
//! Kind: effect. Who has not CAP_NET_ADMIN over the namespace is not told: then that is in the way.

use super::message::{Message, text};
use super::route::{Netlink, Scope};
use crux_image::path::Escaped;
use crux_mount::sys::SysError;
use rustix::io::Errno;
use rustix::net::netlink;

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE`
const NFT_MSG_GETTABLE: u16 = 10 << 8 | 1;
const NFTA_TABLE_NAME: u16 = 1;
/// `NFNL_SUBSYS_IPSET << 8 | IPSET_CMD_LIST`
const IPSET_CMD_LIST: u16 = 6 << 8 | 7;
/// `struct nfgenmsg`
const NFGENMSG: usize = 4;
const XFRM_MSG_GETSA: u16 = 18;
const XFRM_MSG_GETPOLICY: u16 = 21;
/// Tables of the old iptables, which are made when somebody first asks for them.
const TABLES: [(&str, &str); 3] = [
    ("/proc/thread-self/net/ip_tables_names", "iptables"),
    ("/proc/thread-self/net/ip6_tables_names", "ip6tables"),
    ("/proc/thread-self/net/arp_tables_names", "arptables"),
];

/// All that there is in the namespace that the caller is in.
pub(super) fn filters() -> Result<Vec<String>, SysError> {
    let mut found = Vec::new();
    nftables(&mut found)?;
    xfrm(&mut found)?;
    for (file, name) in TABLES {
        // What the kernel has no module for is not there.
        let text = std::fs::read(file).unwrap_or_default();
        if !text.is_empty() {
            found.push(format!("tables of {name}"));
        }
    }
    Ok(found)
}

fn nftables(found: &mut Vec<String>) -> Result<(), SysError> {
    let Some(socket) = there(Netlink::open(Some(netlink::NETFILTER), "NETLINK_NETFILTER"))? else {
        return Ok(());
    };
    if let Some(tables) = asked(&socket, NFT_MSG_GETTABLE, &[0; NFGENMSG], "nftables", found)? {
        found.extend(tables.iter().filter_map(table));
    }
    // IPSET_ATTR_PROTOCOL: 6
    let question = [0, 0, 0, 0, 5, 0, 1, 0, 6, 0, 0, 0];
    if let Some(sets) = asked(&socket, IPSET_CMD_LIST, &question, "sets of ipset", found)?
        && !sets.is_empty()
    {
        found.push("sets of ipset".to_owned());
    }
    Ok(())
}

fn table(message: &Message) -> Option<String> {
    let (_, all) = message.split(NFGENMSG)?;
    let name = text(&all, NFTA_TABLE_NAME);
    Some(format!("the nftables table {}", Escaped(&name)))
}

fn xfrm(found: &mut Vec<String>) -> Result<(), SysError> {
    let Some(socket) = there(Netlink::open(Some(netlink::XFRM), "NETLINK_XFRM"))? else {
        return Ok(());
    };
    // struct xfrm_usersa_id, struct xfrm_userpolicy_id
    for (kind, length, what) in [
        (XFRM_MSG_GETSA, 24, "states of xfrm"),
        (XFRM_MSG_GETPOLICY, 64, "policies of xfrm"),
    ] {
        if asked(&socket, kind, &vec![0; length], what, found)?.is_some_and(|it| !it.is_empty()) {
            found.push(what.to_owned());
        }
    }
    Ok(())
}

/// None where the kernel has nothing of the kind.
fn there<T>(opened: Result<T, SysError>) -> Result<Option<T>, SysError> {
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if error.errno() == Errno::PROTONOSUPPORT => Ok(None),
        Err(error) => Err(error),
    }
}

fn asked(
    socket: &Netlink,
    kind: u16,
    body: &[u8],
    what: &str,
    found: &mut Vec<String>,
) -> Result<Option<Vec<Message>>, SysError> {
    match socket.ask(kind, Scope::All, body) {
        Ok(answer) => Ok(Some(answer)),
        // EINVAL: no module for it is there.
        Err(error)
            if matches!(
                error.errno(),
                Errno::INVAL | Errno::OPNOTSUPP | Errno::NOENT
            ) =>
        {
            Ok(None)
        }
        Err(error) if error.errno() == Errno::PERM => {
            found.push(format!(
                "{what}, or without: that is told to CAP_NET_ADMIN alone"
            ));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

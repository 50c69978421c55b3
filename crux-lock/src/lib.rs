//! The lock of connections of TCP: while they are looked at or made, none of their packets comes or goes.
//!
//! Kind: pure. It is a table of nftables in the network namespace of the connections, as messages for a socket of
//! `NETLINK_NETFILTER`: whoever sends them owns the table (`NFT_TABLE_F_OWNER`), and the kernel removes it when that
//! socket is closed, by whatever way its owner ends.
//!
//! A table for IPv4 and one for IPv6, each with a set of connections as packets name them, in both directions. Input is looked at
//! late and output early: addresses that the machine translates are those that the sockets have.

mod message;

use message::{Message, Nest, numbers};
use std::net::{IpAddr, SocketAddr};

/// Packets with this mark (`SO_MARK`) pass.
pub const MARK: u32 = 0x6372_7578;

/// What the names of tables begin with.
pub const NAME: &str = "crux-lock";

/// A connection: the addresses of both ends.
pub type Ends = (SocketAddr, SocketAddr);

/// Elements of a set that go into one message: its length is a number of 16 bits.
const ELEMENTS: usize = 500;

/// What is to be sent, one piece after the other. Each is answered by the acknowledgement of its last message,
/// or by errors. `name` tells one lock of a namespace from others.
#[must_use]
pub fn lock(name: &str, connections: &[Ends]) -> Vec<Vec<u8>> {
    let (four, six): (Vec<_>, Vec<_>) = connections
        .iter()
        .map(|(own, peer)| (plain(*own), plain(*peer)))
        .partition(|(own, _)| own.is_ipv4());
    let tables = [(Family::Four, four), (Family::Six, six)];
    let tables = tables.into_iter().filter(|(_, ends)| !ends.is_empty());
    tables
        .flat_map(|(family, ends)| family.table(name, &ends))
        .collect()
}

/// An address of IPv4 that is written as one of IPv6 is on the wire what it is.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[derive(Debug, Clone, Copy)]
enum Family {
    Four,
    Six,
}

const NEWTABLE: u16 = 0;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;
const TABLE_OWNER: u32 = 2;
const SET: &[u8] = b"connections";
const SET_ID: u32 = 1;
/// Hook and priority: input when all that translates is over, output before it begins.
const CHAINS: [(&[u8], u32, i32); 2] = [(b"input", 1, 300), (b"output", 3, -300)];

impl Family {
    fn number(self) -> u8 {
        match self {
            Self::Four => 2,
            Self::Six => 10,
        }
    }

    /// Where the addresses of a packet are, and how long both are together.
    fn addresses(self) -> (u32, u32) {
        match self {
            Self::Four => (12, 8),
            Self::Six => (8, 32),
        }
    }

    fn message(self, kind: u16, flags: u16) -> Message {
        Message::new(kind, flags, self.number())
    }

    fn table(self, name: &str, ends: &[Ends]) -> Vec<Vec<u8>> {
        let name = name.as_bytes();
        let mut all = vec![
            self.message(NEWTABLE, message::NEW)
                .text(1, name)
                .number(2, TABLE_OWNER),
            self.set(name),
        ];
        for (chain, hook, priority) in CHAINS {
            let hook = Nest::default()
                .number(1, hook)
                .number(2, priority.cast_unsigned());
            let made = self.message(NEWCHAIN, message::NEW).text(1, name);
            all.push(made.text(3, chain).nest(4, hook).text(7, b"filter"));
            for rule in [passing(), self.dropping()] {
                let made = self.message(NEWRULE, message::APPEND).text(1, name);
                all.push(made.text(2, chain).nest(4, rule));
            }
        }
        let mut batches = vec![message::batch(all)];
        for some in ends.chunks(ELEMENTS / 2) {
            batches.push(message::batch(vec![self.elements(name, some)]));
        }
        batches
    }

    fn set(self, name: &[u8]) -> Message {
        let made = self.message(NEWSET, message::NEW).text(1, name);
        let length = self.addresses().1 + 4;
        let made = made.text(2, SET).number(3, 0).number(4, 0);
        made.number(5, length).number(10, SET_ID)
    }

    fn elements(self, name: &[u8], ends: &[Ends]) -> Message {
        let both = ends
            .iter()
            .flat_map(|(own, peer)| [(own, peer), (peer, own)]);
        let elements = both.fold(Nest::default(), |all, (from, to)| {
            let key = Nest::default().bytes(1, &key(from, to));
            all.nest(1, Nest::default().nest(1, key))
        });
        let made = self.message(NEWSETELEM, message::ADD).text(1, name);
        made.text(2, SET).nest(3, elements)
    }

    /// What is in the set goes no further.
    fn dropping(self) -> Nest {
        const TCP: u8 = 6;
        const L4PROTO: u32 = 16;
        // The first register of 16 bytes, and those of 4 that follow each other in it and behind it.
        const FIRST: u32 = 1;
        const FIRST_WORD: u32 = 8;
        const NETWORK: u32 = 1;
        const TRANSPORT: u32 = 2;
        let (offset, length) = self.addresses();
        let payload = |register, base, offset, length| {
            expression(
                b"payload",
                numbers([(1, register), (2, base), (3, offset), (4, length)]),
            )
        };
        let found = numbers([(2, FIRST), (4, SET_ID)]).text(1, SET);
        [
            expression(b"meta", numbers([(1, FIRST), (2, L4PROTO)])),
            equal(FIRST, &[TCP]),
            payload(FIRST, NETWORK, offset, length),
            payload(FIRST_WORD + length / 4, TRANSPORT, 0, 4),
            expression(b"lookup", found),
            verdict(0),
        ]
        .into_iter()
        .fold(Nest::default(), |rule, it| rule.nest(1, it))
    }
}

/// What has our mark may pass.
fn passing() -> Nest {
    const META_MARK: u32 = 3;
    [
        expression(b"meta", numbers([(1, 1), (2, META_MARK)])),
        equal(1, &MARK.to_ne_bytes()),
        verdict(1),
    ]
    .into_iter()
    .fold(Nest::default(), |rule, it| rule.nest(1, it))
}

fn expression(name: &[u8], data: Nest) -> Nest {
    Nest::default().text(1, name).nest(2, data)
}

fn equal(register: u32, value: &[u8]) -> Nest {
    let value = Nest::default().bytes(1, value);
    expression(b"cmp", numbers([(1, register), (2, 0)]).nest(3, value))
}

/// `NF_DROP` or `NF_ACCEPT`.
fn verdict(code: u32) -> Nest {
    let verdict = Nest::default().nest(2, numbers([(1, code)]));
    expression(b"immediate", numbers([(1, 0)]).nest(2, verdict))
}

/// Addresses and ports, as they stand in a packet.
fn key(from: &SocketAddr, to: &SocketAddr) -> Vec<u8> {
    let address = |it: &SocketAddr| match it.ip() {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    };
    let mut key = [address(from), address(to)].concat();
    key.extend(from.port().to_be_bytes());
    key.extend(to.port().to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(own: &str, peer: &str) -> Ends {
        (own.parse().unwrap(), peer.parse().unwrap())
    }

    #[test]
    fn keys_are_as_in_packets() {
        let (own, peer) = ends("1.2.3.4:258", "5.6.7.8:772");
        assert_eq!(key(&own, &peer), [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4]);
    }

    #[test]
    fn families_have_tables_of_their_own_if_they_are_there() {
        let mapped = ends("[::ffff:1.2.3.4]:1", "[::ffff:1.2.3.5]:2");
        assert_eq!(lock("crux-lock", &[mapped]).len(), 2);
        let six = ends("[::1]:1", "[::1]:2");
        assert_eq!(lock("crux-lock", &[mapped, six]).len(), 4);
        assert_eq!(lock("crux-lock", &[six; 600]).len(), 4);
        assert!(lock("crux-lock", &[]).is_empty());
    }
}

//! What is in network namespaces: a task that is in one makes it, by messages of rtnetlink(7).
//!
//! Kind: pure. `message` puts messages together, `devices` makes them of devices, `entries` of addresses, routes,
//! rules and neighbours. An order in which all of it stays: sysctls of the whole, devices, ports, sysctls of
//! devices, addresses, what is up, routes.

mod devices;
mod entries;
mod message;

pub(super) use message::Message;

use super::Compiler;
use super::namespaces::Kind;
use crux_image::tasks::{NetDeviceKind, NetNsIndex, NetSysctl, Network, Process, ProcessIndex};
use crux_script::{Argument, Block, Call, LineId, arguments};

/// `struct nlmsghdr`, an error, and the header of the question: what an answer without an error is.
const ACKNOWLEDGED: u64 = 36;

impl Compiler<'_> {
    /// What is in all network namespaces: the first task makes it while it makes those. First all devices, as some
    /// have their other end in another namespace.
    pub(super) fn networks(&mut self, at: ProcessIndex, process: &Process) {
        let tasks = self.tasks;
        if tasks.networks.is_empty() {
            // Of version 1.
            let home = process.net_namespace;
            if home.is_some_and(|it| tasks.net_namespaces[it.at()].loopback_up) {
                let socket = self.route_socket(at);
                self.tell(at, socket.into(), &devices::up(1));
                self.call(at, Call::new(libc::SYS_close).with(arguments![socket]));
            }
        }
        for network in &tasks.networks {
            self.go_to(at, process, network.namespace);
            self.sysctls(at, network, |name| device_of(name).is_none());
            let socket = self.route_socket(at);
            self.devices(at, process, network, socket);
            self.call(at, Call::new(libc::SYS_close).with(arguments![socket]));
            self.come_home(at, process, network.namespace);
        }
        for network in &tasks.networks {
            self.go_to(at, process, network.namespace);
            let socket = self.route_socket(at);
            self.set_up(at, network, socket);
            self.call(at, Call::new(libc::SYS_close).with(arguments![socket]));
            self.come_home(at, process, network.namespace);
        }
    }

    fn go_to(&mut self, at: ProcessIndex, process: &Process, namespace: NetNsIndex) {
        if process.net_namespace != Some(namespace) {
            self.enter_net(at, Some(namespace));
        }
    }

    fn come_home(&mut self, at: ProcessIndex, process: &Process, namespace: NetNsIndex) {
        if process.net_namespace != Some(namespace) {
            self.enter_net(at, process.net_namespace);
        }
    }

    fn enter_net(&mut self, at: ProcessIndex, namespace: Option<NetNsIndex>) {
        let fd = self.numbers.kept(Kind::Net, namespace.map(|it| it.at()));
        let call = Call::new(libc::SYS_setns).with(arguments![fd, libc::CLONE_NEWNET]);
        self.call(at, call);
    }

    /// What devices are like, and what depends on them.
    fn set_up(&mut self, at: ProcessIndex, network: &Network, socket: LineId) {
        for message in devices::settings(network) {
            self.tell(at, socket.into(), &message);
        }
        self.sysctls(at, network, |name| device_of(name).is_some());
        let up = network.devices.iter().filter(|it| devices::is_up(it));
        let before = entries::addresses(network);
        let after = up.map(|it| devices::up(it.index));
        let last = entries::after(network);
        for message in before.into_iter().chain(after).chain(last) {
            self.tell(at, socket.into(), &message);
        }
    }

    fn route_socket(&mut self, at: ProcessIndex) -> LineId {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        let call = Call::new(libc::SYS_socket);
        self.call(at, call.with(arguments![libc::AF_NETLINK, kind, 0_u32]))
    }

    /// Sends a message and takes the answer. An error would be longer: it repeats the whole message.
    fn tell(&mut self, at: ProcessIndex, socket: Argument, message: &Message) {
        let bytes = message.bytes();
        let length = bytes.len() as u64;
        let block = self.bytes(bytes);
        let send =
            Call::new(libc::SYS_sendto).with([socket, block.into(), length.into()].into_six());
        self.call(at, send.exactly(length));
        let room = self.arena.block(Block::room(ACKNOWLEDGED as usize));
        let receive = arguments![0_u32, room, ACKNOWLEDGED, libc::MSG_TRUNC, 0_u32, 0_u32];
        let receive = Call::new(libc::SYS_recvfrom)
            .with(receive)
            .argument(0, socket);
        self.call(at, receive.exactly(ACKNOWLEDGED));
    }

    /// Through the caller's /proc: the container's own may be read-only, or not there. It shows the
    /// namespace of whoever opens a file in it.
    fn sysctls(&mut self, at: ProcessIndex, network: &Network, wanted: impl Fn(&[u8]) -> bool) {
        let these = |it: &&NetSysctl| wanted(&it.name);
        for sysctl in network.sysctls.iter().filter(these) {
            let path = self.string(&[b"sys/net/", sysctl.name.as_slice()].concat());
            let flags = libc::O_WRONLY | libc::O_CLOEXEC;
            let open = arguments![self.numbers.proc.unwrap_or(0), path, flags, 0_u32];
            let file = self.call(at, Call::new(libc::SYS_openat).with(open));
            let length = sysctl.value.len();
            let value = self.bytes(sysctl.value.clone());
            let write = Call::new(libc::SYS_write).with(arguments![file, value, length]);
            self.call(at, write.exactly(length as u64));
            self.call(at, Call::new(libc::SYS_close).with(arguments![file]));
        }
    }
}

/// Whether the outer ends of pairs are asked for: those are made through a socket of the caller's namespace.
pub(super) fn has_outer_ends(networks: &[Network]) -> bool {
    use crux_image::tasks::VethPeer::Outside;
    let mut devices = networks.iter().flat_map(|it| &it.devices);
    devices.any(|it| matches!(it.kind, NetDeviceKind::Veth(Outside(_))))
}

/// The device in `ipv4/conf/DEVICE/rp_filter`, if it is one that has to be made first.
fn device_of(name: &[u8]) -> Option<&[u8]> {
    let parts: Vec<&[u8]> = name.split(|b| *b == b'/').collect();
    match parts.as_slice() {
        [_, b"conf" | b"neigh", device, _] => {
            Some(*device).filter(|it| *it != b"all" && *it != b"default")
        }
        _ => None,
    }
}

trait IntoSix {
    fn into_six(self) -> [Argument; 6];
}

impl IntoSix for [Argument; 3] {
    fn into_six(self) -> [Argument; 6] {
        let [one, two, three] = self;
        let none = Argument::Literal(0);
        [one, two, three, none, none, none]
    }
}

//! Questions by netlink(7) in the namespace that the caller is in.
//!
//! Kind: effect.

use super::message::{HEADER, Message, NLMSG_DONE, NLMSG_ERROR, messages};
use crux_mount::sys::SysError;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};
use std::os::fd::OwnedFd;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
/// Answers of a dump come in pieces of up to this.
const PIECE: usize = 64 << 10;
/// Bytes of all answers to one question.
const LIMIT: usize = 256 << 20;

/// A netlink socket of the namespace in which it was made.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    name: &'static str,
}

/// Whether a question is about one thing or about all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    One,
}

impl Netlink {
    /// Of devices, addresses, routes.
    pub(super) fn route() -> Result<Self, SysError> {
        // rustix has no name for protocol 0.
        Self::open(None, "NETLINK_ROUTE")
    }

    /// Of any protocol.
    pub(super) fn open(protocol: Option<Protocol>, name: &'static str) -> Result<Self, SysError> {
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC, protocol)
            .map_err(|errno| SysError::new(format!("socket(AF_NETLINK, {name})"), errno))?;
        Ok(Self { socket, name })
    }

    /// Asks, and gives all that is answered.
    pub(super) fn ask(
        &self,
        kind: u16,
        scope: Scope,
        body: &[u8],
    ) -> Result<Vec<Message>, SysError> {
        let failed = |call: &str, errno| {
            let name = self.name;
            SysError::new(format!("{call}({name}, request {kind})"), errno)
        };
        let flags = match scope {
            Scope::All => NLM_F_REQUEST | NLM_F_DUMP,
            Scope::One => NLM_F_REQUEST | NLM_F_ACK,
        };
        let request = request(kind, flags, body);
        send(&self.socket, &request, SendFlags::empty()).map_err(|errno| failed("send", errno))?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        let mut piece = vec![0; PIECE];
        loop {
            let (length, _) = recv(&self.socket, &mut piece[..], RecvFlags::empty())
                .map_err(|errno| failed("recv", errno))?;
            bytes += length;
            if bytes > LIMIT {
                return Err(failed("recv", Errno::MSGSIZE));
            }
            for message in messages(&piece[..length]) {
                match message.kind {
                    NLMSG_ERROR | NLMSG_DONE => {
                        return match message.error() {
                            error if error > 0 => {
                                Err(failed("ask", Errno::from_raw_os_error(error)))
                            }
                            _ => Ok(found),
                        };
                    }
                    _ => found.push(message),
                }
            }
        }
    }
}

fn request(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

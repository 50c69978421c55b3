//! Handing masters over to whoever listens at a socket, as runc does with its console socket (SCM_RIGHTS).
//!
//! Kind: effect.

use crate::cli::Options;
use crate::failure::{Exit, Failure};
use crate::privilege;
use rustix::io::{Errno, IoSlice};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, sendmsg, socket_with,
};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

/// Connections to all that the command line names, in its order.
#[derive(Debug)]
pub(crate) struct Sockets(Vec<OwnedFd>);

impl Sockets {
    /// Connects, before anything is made.
    pub(crate) fn connect(options: &Options) -> Result<Self, Failure> {
        privilege::as_operator(|| {
            let ways = options.console_socket.iter();
            let sockets = ways.map(|way| {
                connected(&way.socket).map_err(|(call, errno)| {
                    let (socket, cause) = (way.socket.display(), std::io::Error::from(errno));
                    let what = format_args!("use --console-socket {socket}: {call}: {cause}");
                    Failure::new(Exit::Usage, what)
                })
            });
            Ok(Self(sockets.collect::<Result<_, _>>()?))
        })
    }

    /// Hands a master over, with the name of its terminal.
    pub(crate) fn send(
        &self,
        at: usize,
        name: &str,
        master: BorrowedFd<'_>,
    ) -> Result<(), Failure> {
        let fail = |errno: Errno| {
            let cause = std::io::Error::from(errno);
            let what = format_args!("hand over the terminal {name}: sendmsg: {cause}");
            Failure::new(Exit::Undone, what)
        };
        let socket = self.0.get(at).ok_or_else(|| fail(Errno::BADF))?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [master];
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        let parts = [IoSlice::new(name.as_bytes())];
        let sent = sendmsg(socket.as_fd(), &parts, &mut control, SendFlags::NOSIGNAL);
        sent.map(drop).map_err(fail)
    }
}

fn connected(path: &Path) -> Result<OwnedFd, (&'static str, Errno)> {
    let named = |call: &'static str| move |errno| (call, errno);
    let address = SocketAddrUnix::new(path).map_err(named("the path"))?;
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let socket = socket.map_err(named("socket"))?;
    connect(&socket, &address).map_err(named("connect"))?;
    Ok(socket)
}

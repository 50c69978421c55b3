//! A process made for one step, where that needs credentials or namespaces that
//! the executor could not leave again (a user namespace).
//!
//! Kind: effect. The child hands back one descriptor over a socket pair, or a message.

use super::error::{StepError, named};
use crate::sys;
use rustix::io::{IoSlice, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The descriptor that `work` returns in a child process.
pub(super) fn descriptor_from(
    work: impl FnOnce() -> Result<OwnedFd, StepError>,
) -> Result<OwnedFd, StepError> {
    Child::start(work)?.finish()
}

/// A child that has done its work and waits to be let go.
pub(super) struct Child {
    pid: rustix::process::Pid,
    socket: OwnedFd,
    descriptor: OwnedFd,
}

impl Child {
    /// Runs `work` in a child, which stays until [`Self::finish`].
    pub(super) fn start(
        work: impl FnOnce() -> Result<OwnedFd, StepError>,
    ) -> Result<Self, StepError> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(named("socketpair"))?;
        let Some(pid) = sys::fork()? else {
            drop(ours);
            answer(&theirs, work());
            sys::exit_now(0);
        };
        drop(theirs);
        match receive(&ours) {
            Ok(descriptor) => Ok(Self {
                pid,
                socket: ours,
                descriptor,
            }),
            Err(error) => {
                reap(pid)?;
                Err(error)
            }
        }
    }

    pub(super) fn pid(&self) -> rustix::process::Pid {
        self.pid
    }

    /// Lets the child go and takes its descriptor.
    pub(super) fn finish(self) -> Result<OwnedFd, StepError> {
        drop(self.socket);
        reap(self.pid)?;
        Ok(self.descriptor)
    }
}

pub(super) fn reap(pid: rustix::process::Pid) -> Result<(), StepError> {
    let options = rustix::process::WaitOptions::empty();
    rustix::process::waitpid(Some(pid), options)
        .map(drop)
        .map_err(named("waitpid"))
}

/// In the child: sends the result and waits until the parent has closed its end.
fn answer(socket: &OwnedFd, result: Result<OwnedFd, StepError>) {
    let message = match &result {
        Ok(descriptor) => {
            if send(socket, descriptor.as_fd()).is_ok() {
                let _ = rustix::io::read(socket, &mut [0; 1]);
            }
            return;
        }
        Err(error) => format!("-{error}"),
    };
    // If the parent is gone there is nobody to tell.
    let _ = sendmsg(
        socket,
        &[IoSlice::new(message.as_bytes())],
        &mut SendAncillaryBuffer::default(),
        SendFlags::NOSIGNAL,
    );
}

/// Sends a descriptor; [`receive`] takes it.
pub(super) fn send(socket: &OwnedFd, descriptor: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let text = [IoSlice::new(b"+")];
    sendmsg(socket, &text, &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// The descriptor that the other side sends, or why there is none.
pub(super) fn receive(socket: &OwnedFd) -> Result<OwnedFd, StepError> {
    let mut text = vec![0; 64 << 10];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = {
        let mut parts = [IoSliceMut::new(&mut text)];
        recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
            .map_err(named("recvmsg"))?
    };
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message
            && let Some(descriptor) = descriptors.next()
        {
            return Ok(descriptor);
        }
    }
    let text = String::from_utf8_lossy(&text[..received.bytes]);
    Err(StepError::Child(match text.strip_prefix('-') {
        Some(cause) => cause.to_owned(),
        None => "it ended without an answer".to_owned(),
    }))
}

//! The builder: a process that runs the mount plan and hands over what it made.
//!
//! Kind: effect. It ends with the supervisor, and everything it made ends with it
//! unless it was handed over.

use crate::failure::{Exit, Failure};
use crux_mount::exec::{Built, BuiltNamespace};
use crux_mount::sys;
use rustix::io::{IoSlice, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{
    Pid, Signal, WaitOptions, getppid, set_parent_process_death_signal, waitpid,
};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

/// Descriptors in one message; the kernel allows 253 (`SCM_MAX_FD`).
const BATCH: usize = 200;
/// The first byte of a message that says what was built; that of a failure is its exit code.
const BUILT: u8 = b'B';
/// Bytes of a message; longer causes are cut.
const TEXT: usize = 32 << 10;

/// Runs `work` in a process of its own.
pub(crate) fn build(work: impl FnOnce() -> Result<Built, Failure>) -> Result<Built, Failure> {
    let undone = |cause: String| Failure::new(Exit::Undone, cause);
    let supervisor = rustix::process::getpid();
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| {
        undone(format!(
            "start the builder: socketpair: {}",
            std::io::Error::from(errno)
        ))
    })?;
    let Some(pid) = sys::fork().map_err(|error| undone(format!("start the builder: {error}")))?
    else {
        drop(ours);
        let tied = set_parent_process_death_signal(Some(Signal::KILL));
        let tied = tied.map_err(|errno| {
            let call = "tie the builder to crux-restore: prctl(PR_SET_PDEATHSIG)";
            undone(format!("{call}: {}", std::io::Error::from(errno)))
        });
        // RACE: the supervisor may have died before the signal was set.
        if getppid() != Some(supervisor) {
            sys::exit_now(0);
        }
        let sent = send(&theirs, tied.and_then(|()| work()));
        sys::exit_now(sent.map_or_else(|errno| errno.raw_os_error(), |()| 0));
    };
    drop(theirs);
    let received = receive(&ours);
    // It has nothing left to do but to let go of the yard.
    drop(ours);
    let status = reap(pid).map_err(undone)?;
    received.map_err(|failure| {
        failure.unwrap_or_else(|| undone(format!("build: the builder ended early ({status})")))
    })
}

fn reap(pid: Pid) -> Result<String, String> {
    match waitpid(Some(pid), WaitOptions::empty()) {
        Ok(Some((_, status))) => Ok(match (status.terminating_signal(), status.exit_status()) {
            (Some(signal), _) => format!("signal {signal}"),
            // It could tell nobody but by its status.
            (None, Some(errno @ 1..)) => {
                format!("sendmsg: {}", std::io::Error::from_raw_os_error(errno))
            }
            (None, _) => "without a word".to_owned(),
        }),
        Ok(None) => Ok("running".to_owned()),
        Err(errno) => Err(format!(
            "wait for the builder: waitpid: {}",
            std::io::Error::from(errno)
        )),
    }
}

fn send(socket: &OwnedFd, result: Result<Built, Failure>) -> rustix::io::Result<()> {
    let (text, descriptors) = match result {
        Ok(built) => pack(built),
        Err(failure) => {
            let mut text = vec![failure.exit as u8];
            text.extend_from_slice(failure.message.as_bytes());
            text.truncate(TEXT);
            (text, Vec::new())
        }
    };
    transmit(socket, &text, &[])?;
    for batch in descriptors.chunks(BATCH) {
        transmit(socket, b"+", batch)?;
    }
    Ok(())
}

/// A head that says how many descriptors of which kind follow.
fn pack(built: Built) -> (Vec<u8>, Vec<OwnedFd>) {
    let Built {
        namespaces,
        terminals,
        net,
        ipc,
    } = built;
    let counts = [
        namespaces.len(),
        terminals.len(),
        usize::from(net.is_some()),
        usize::from(ipc.is_some()),
    ];
    let head = counts
        .iter()
        .flat_map(|count| (*count as u64).to_le_bytes());
    let text = std::iter::once(BUILT).chain(head).collect();
    let each = |ns: BuiltNamespace| [ns.namespace, ns.root, ns.table];
    let descriptors = namespaces
        .into_iter()
        .flat_map(each)
        .chain(terminals)
        .chain(net)
        .chain(ipc);
    (text, descriptors.collect())
}

fn transmit(socket: &OwnedFd, text: &[u8], descriptors: &[OwnedFd]) -> rustix::io::Result<usize> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    if !borrowed.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&borrowed));
    }
    sendmsg(
        socket,
        &[IoSlice::new(text)],
        &mut control,
        SendFlags::NOSIGNAL,
    )
}

/// What was built; or the failure, or nothing if the builder ended without a word.
fn receive(socket: &OwnedFd) -> Result<Built, Option<Failure>> {
    let mut text = vec![0; TEXT];
    let mut descriptors = Vec::new();
    let length = receive_one(socket, &mut text, &mut descriptors)?;
    let (kind, rest) = text[..length].split_first().ok_or(None)?;
    if *kind != BUILT {
        let exit = if *kind == Exit::Image as u8 {
            Exit::Image
        } else {
            Exit::Undone
        };
        return Err(Some(Failure::new(exit, String::from_utf8_lossy(rest))));
    }
    let counts: Vec<usize> = rest
        .as_chunks::<8>()
        .0
        .iter()
        .map(|c| u64::from_le_bytes(*c) as usize)
        .collect();
    let [namespaces, terminals, net, ipc] = counts[..] else {
        return Err(None);
    };
    while descriptors.len() < namespaces * 3 + terminals + net + ipc {
        receive_one(socket, &mut [0; 1], &mut descriptors)?;
    }
    let mut next = descriptors.into_iter();
    let mut take = || next.next().ok_or(None);
    Ok(Built {
        namespaces: (0..namespaces)
            .map(|_| {
                Ok(BuiltNamespace {
                    namespace: take()?,
                    root: take()?,
                    table: take()?,
                })
            })
            .collect::<Result<_, Option<Failure>>>()?,
        terminals: (0..terminals).map(|_| take()).collect::<Result<_, _>>()?,
        net: (0..net).map(|_| take()).next().transpose()?,
        ipc: (0..ipc).map(|_| take()).next().transpose()?,
    })
}

/// One message; `Err(None)` at the end of the builder.
fn receive_one(
    socket: &OwnedFd,
    text: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> Result<usize, Option<Failure>> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(text)];
    let received = recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC);
    let received = received.map_err(|errno| {
        Some(Failure::new(
            Exit::Undone,
            format_args!(
                "hear of the builder: recvmsg: {}",
                std::io::Error::from(errno)
            ),
        ))
    })?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            descriptors.extend(more);
        }
    }
    if received.bytes == 0 {
        Err(None)
    } else {
        Ok(received.bytes)
    }
}

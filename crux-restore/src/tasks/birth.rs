//! The birth of the first task: a child that makes what only it can make, and waits for its arena and its
//! descriptors.
//!
//! Kind: effect. For a process without a filter, which reads nothing of an image: it
//! gets numbers and descriptors.
//!
//! A proc file system shows the pid namespace of whoever opens it, and that begins with its first process.
//! So this is born before anything is mounted, and told what it is to have when that is there. It ends
//! by itself if its parent does.

use super::plan::BirthUser;
use super::sys::{self, Birth, Packet};
use crate::roles::message::Begun;
use crux_image::mounts::IdRange;
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::thread::Gid;
use serde::{Deserialize, Serialize};
use std::mem::MaybeUninit;

/// How the first task is born.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Newborn {
    /// `CLONE_NEW*`.
    pub(crate) namespaces: u64,
    /// `CLONE_NEW*` of those that this process enters before, as they are not owned by the new user namespace.
    pub(crate) before: u64,
    /// A user namespace to be born in.
    pub(crate) user: Option<BirthUser>,
    /// Its numbers, from its own pid namespace outwards; empty for any.
    pub(crate) pids: Vec<i32>,
    /// What its parent gets when it ends.
    pub(crate) exit_signal: u64,
    /// How many proc file systems of its pid namespace are to be begun.
    pub(crate) procs: u32,
}

/// What it is given later. Descriptors come along: the arena's memory, then those for `numbers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct First {
    /// Where the arena is mapped. It begins with the stub.
    pub(crate) base: u64,
    /// How long it is.
    pub(crate) length: u64,
    /// The address of its first line.
    pub(crate) line: u64,
    /// The numbers of its descriptors, ascending.
    pub(crate) numbers: Vec<i32>,
}

/// A first task that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Its number, as the caller sees it.
    pub(crate) pid: i32,
    /// What the builder is to have.
    pub(crate) begun: Begun,
    /// The descriptors of that: proc file systems of its pid namespace, to be finished where they are
    /// mounted, and namespaces.
    pub(crate) along: Vec<OwnedFd>,
    socket: OwnedFd,
}

fn named(call: &'static str) -> impl Fn(Errno) -> String {
    move |errno| {
        let error = std::io::Error::from(errno);
        format!("make the first task: {call}: {error}")
    }
}

/// Makes the first task.
pub(crate) fn newborn(newborn: &Newborn) -> Result<Waiting, String> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let pair = socketpair(family, kind, SocketFlags::CLOEXEC, None);
    let (socket, theirs) = pair.map_err(named("socketpair"))?;
    let user = newborn.user.as_ref();
    if newborn.before != 0 {
        sys::unshare(newborn.before).map_err(named("unshare"))?;
    }
    if let Some(groups) = user.and_then(|user| user.groups.as_ref()) {
        let groups: Vec<_> = groups.iter().map(|it| Gid::from_raw(*it)).collect();
        rustix::thread::set_thread_groups(&groups).map_err(named("setgroups"))?;
    }
    let pid = sys::give_birth(&Birth {
        namespaces: match user {
            Some(_) => newborn.namespaces | (libc::CLONE_NEWUSER | libc::CLONE_NEWNS) as u64,
            None => newborn.namespaces,
        },
        told: user.is_some(),
        pids: &newborn.pids,
        exit_signal: newborn.exit_signal,
        procs: newborn.procs,
        socket: theirs.as_fd(),
    })
    .map_err(named("clone3"))?;
    drop(theirs);
    if let Some(user) = user {
        write_maps(pid, user)?;
        rustix::io::write(&socket, &[0]).map_err(named("write"))?;
    }
    let procs = (0..newborn.procs).map(|_| receive(&socket));
    let mut along = procs.collect::<Result<Vec<_>, _>>()?;
    let mut begun = Begun {
        procs: newborn.procs,
        ..Begun::default()
    };
    if let Some(user) = user {
        let own = newborn.namespaces | newborn.before;
        begun.user = Some(user.namespace);
        begun.net = own & libc::CLONE_NEWNET as u64 != 0;
        begun.ipc = own & libc::CLONE_NEWIPC as u64 != 0;
        let kinds = [("user", true), ("net", begun.net), ("ipc", begun.ipc)];
        for (kind, _) in kinds.iter().filter(|(_, wanted)| *wanted) {
            along.push(namespace(pid, kind)?);
        }
    }
    Ok(Waiting {
        pid,
        begun,
        along,
        socket,
    })
}

fn namespace(pid: i32, kind: &str) -> Result<OwnedFd, String> {
    let path = format!("/proc/{pid}/ns/{kind}");
    let file = std::fs::File::open(&path);
    let file = file.map_err(|error| format!("make the first task: open({path:?}): {error}"))?;
    Ok(file.into())
}

/// Of the child's new user namespace. Only a process outside may map more than one id.
fn write_maps(pid: i32, user: &BirthUser) -> Result<(), String> {
    let lines = |map: &[IdRange]| {
        let line = |it: &IdRange| format!("{} {} {}\n", it.inside, it.outside, it.count);
        map.iter().map(line).collect::<String>()
    };
    let denied = user.denied.then(|| "deny\n".to_owned());
    let files = [
        ("setgroups", denied),
        ("gid_map", Some(lines(&user.gids))),
        ("uid_map", Some(lines(&user.uids))),
    ];
    for (name, text) in files {
        let Some(text) = text else { continue };
        let path = format!("/proc/{pid}/{name}");
        std::fs::write(&path, &text)
            .map_err(|error| format!("make the first task: write({path:?}, {text:?}): {error}"))?;
    }
    Ok(())
}

impl Waiting {
    /// Gives it what it is to have. It runs its script from its first instruction on.
    pub(crate) fn begin(
        &self,
        first: &First,
        memory: BorrowedFd<'_>,
        descriptors: &[OwnedFd],
    ) -> Result<(), String> {
        let packet = Packet {
            number: -1,
            base: first.base,
            length: first.length,
            line: first.line,
        };
        for (fd, number) in descriptors.iter().zip(&first.numbers) {
            let number = i64::from(*number);
            self.send(Packet { number, ..packet }, fd.as_fd())?;
        }
        self.send(packet, memory)
    }

    fn send(&self, packet: Packet, fd: BorrowedFd<'_>) -> Result<(), String> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [fd];
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        let bytes = packet.bytes();
        let parts = [IoSlice::new(&bytes)];
        let sent = sendmsg(&self.socket, &parts, &mut control, SendFlags::NOSIGNAL);
        sent.map(drop).map_err(named("sendmsg"))
    }
}

fn receive(socket: &OwnedFd) -> Result<OwnedFd, String> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).map_err(named("recvmsg"))?;
    let mut found = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
        _ => None,
    });
    let found = found.next();
    found.ok_or_else(|| "make the first task: it ended before it began".to_owned())
}

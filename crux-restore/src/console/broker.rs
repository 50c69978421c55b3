//! The broker: keeps the masters of a container's terminals when crux-restore has gone, and lets programs in.
//!
//! Kind: effect, with no privilege at all. It is no ancestor of any task. It reads nothing of an image: it gets
//! paths that the command line names, and masters. It ends when the first task has ended and nobody has a
//! terminal open, or when crux-restore ends before the tasks are let go.

use super::relay::{Line, Relay};
use crate::failure::{Exit, OrExit};
use crate::roles::message::{Answer, Refusal, SMALL, bound};
use crux_role::{Channel, ChannelError};
use rustix::fs::{AtFlags, CWD, Mode, unlinkat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
use rustix::process::{chdir, set_parent_process_death_signal, setsid, umask};
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What it is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Told {
    /// To make these sockets, one for each terminal that it is to keep.
    Open(Vec<Option<PathBuf>>),
    /// To keep the terminals whose masters come along, in the same order, for as long as the process lives whose pidfd
    /// is the last.
    Keep,
    /// To take the sockets away and to end.
    End,
}

/// More terminals than a container has.
pub(crate) const TERMINALS: usize = 10_000;

/// Sockets that are taken away again.
#[derive(Debug, Default)]
struct Ways(Vec<(PathBuf, OwnedFd)>);

impl Drop for Ways {
    fn drop(&mut self) {
        for (path, _) in &self.0 {
            // Somebody may have taken it away.
            let _ = unlinkat(CWD, path, AtFlags::empty());
        }
    }
}

/// Everything that the broker does.
pub(crate) fn work(channel: &Channel) -> Result<(), ChannelError> {
    // It takes its sockets away itself, at the end of the channel.
    let tied = set_parent_process_death_signal(None);
    tied.map_err(|errno| ChannelError::Call {
        call: "prctl(PR_SET_PDEATHSIG)",
        errno,
    })?;
    umask(Mode::from_raw_mode(0o177));
    let (mut ways, mut listeners) = (Ways::default(), Vec::new());
    loop {
        let (told, files) = channel.receive::<Told>(bound(SMALL, TERMINALS))?;
        match told {
            Told::Open(wanted) => {
                let opened = open(&wanted, &mut ways).or_exit(Exit::Usage);
                listeners = wanted;
                channel.send::<Answer<()>>(&opened.map_err(Refusal::from), &[])?;
            }
            Told::Keep => {
                let relay = relay(files, &listeners, &ways).ok_or(ChannelError::Malformed)?;
                let alone = stand_alone().or_exit(Exit::Undone);
                channel.send::<Answer<()>>(&alone.map_err(Refusal::from), &[])?;
                // Whoever let the tasks go has this process live on: the end of the channel without that word is the
                // end of the tasks, which is seen.
                relay.run();
                return Ok(());
            }
            Told::End => return Ok(()),
        }
    }
}

fn open(wanted: &[Option<PathBuf>], ways: &mut Ways) -> Result<(), String> {
    for path in wanted.iter().flatten() {
        let listener = listener(path).map_err(|(call, errno)| {
            let (path, cause) = (path.display(), std::io::Error::from(errno));
            format!("use --console-broker {path}: {call}: {cause}")
        })?;
        ways.0.push((path.clone(), listener));
    }
    Ok(())
}

fn listener(path: &Path) -> Result<OwnedFd, (&'static str, Errno)> {
    let named = |call: &'static str| move |errno| (call, errno);
    let address = SocketAddrUnix::new(path).map_err(named("the path"))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let socket = socket.map_err(named("socket"))?;
    bind(&socket, &address).map_err(named("bind"))?;
    listen(&socket, 8).map_err(named("listen"))?;
    Ok(socket)
}

/// The masters come in the order in which sockets were asked for, a pidfd after them.
fn relay(mut files: Vec<OwnedFd>, wanted: &[Option<PathBuf>], ways: &Ways) -> Option<Relay> {
    let process = files.pop()?;
    if files.len() != wanted.len() {
        return None;
    }
    let mut lines = Vec::with_capacity(files.len());
    for (master, path) in files.into_iter().zip(wanted) {
        let mut all = ways.0.iter();
        let way = all.find(|(known, _)| Some(known) == path.as_ref());
        let listener = match way {
            Some((_, listener)) => Some(rustix::io::fcntl_dupfd_cloexec(listener, 3).ok()?),
            None => None,
        };
        lines.push(Line::new(master, listener).ok()?);
    }
    Some(Relay::new(process, lines))
}

/// Nothing of whoever started the restore is kept: neither its terminal, nor its directory, nor its errors.
fn stand_alone() -> Result<(), String> {
    let named = |call: &'static str| {
        move |errno: Errno| format!("leave the broker: {call}: {}", std::io::Error::from(errno))
    };
    setsid().map_err(named("setsid"))?;
    chdir("/").map_err(named("chdir"))?;
    rustix::stdio::dup2_stderr(rustix::stdio::stdin()).map_err(named("dup2"))
}

//! What becomes of restored namespaces: a pinned file, a command inside, or nothing.
//!
//! Kind: effect.

use crux_image::path::Escaped;
use crux_mount::sys::{self, NamespaceKind, SysError};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, Signal, WaitOptions, getppid, set_parent_process_death_signal, waitpid,
};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// What a shell returns for a command that cannot be run. Nobody sees it: see [`command`].
const CANNOT_RUN: i32 = 126;

/// A restored namespace, and those that belong to it.
pub(crate) struct Inside {
    /// Of mounts.
    pub namespace: OwnedFd,
    /// The root directory of its tasks.
    pub root: OwnedFd,
    /// Of the network, if one was made.
    pub net: Option<OwnedFd>,
    /// Of System V IPC and message queues, if one was made.
    pub ipc: Option<OwnedFd>,
}

/// Keeps the first namespace alive at `file`, which must not exist.
pub(crate) fn pin(inside: &Inside, file: &Path) -> Result<(), String> {
    let shown = file.display();
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = openat(CWD, file, flags, Mode::RUSR)
        .map_err(|errno| format!("pin the namespace: create {shown}: {}", text(errno)))?;
    let pinned =
        sys::open_tree_clone(&inside.namespace).and_then(|mount| sys::move_mount(mount, &target));
    pinned.map_err(|error| {
        let removed = unlinkat(CWD, file, AtFlags::empty());
        let left = if removed.is_err() {
            " (the empty file is still there)"
        } else {
            ""
        };
        format!(
            "pin the namespace at {shown}{left}: {error}{}",
            pin_hint(&error)
        )
    })
}

fn pin_hint(error: &SysError) -> &'static str {
    match error.errno() {
        // A mount namespace cannot be bound where it would be copied to others.
        Errno::INVAL => "; FILE has to lie on a private mount (mount --make-private)",
        _ => "",
    }
}

fn text(errno: Errno) -> String {
    std::io::Error::from(errno).to_string()
}

/// Takes a pin away again. The mount is private (see [`pin_hint`]): it goes here and nowhere else.
pub(crate) fn unpin(file: &Path) -> Result<(), String> {
    let shown = file.display();
    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    unmount(file, flags)
        .and_then(|()| unlinkat(CWD, file, AtFlags::empty()))
        .map_err(|errno| format!("the pin {shown} is still there: {}", text(errno)))
}

/// Runs a command in the first namespace, and passes its exit status on. An error means that
/// it never ran.
pub(crate) fn command(inside: &Inside, command: &[OsString]) -> Result<u8, String> {
    let supervisor = rustix::process::getpid();
    let (answer, report) = pipe_with(PipeFlags::CLOEXEC)
        .map_err(|errno| format!("start the command: pipe2: {}", text(errno)))?;
    let forked = sys::fork().map_err(|error| format!("start the command: {error}"))?;
    let Some(pid) = forked else {
        let tied = set_parent_process_death_signal(Some(Signal::KILL));
        if getppid() != Some(supervisor) {
            sys::exit_now(CANNOT_RUN);
        }
        let tied = tied.map_err(|errno| {
            let call = "tie the command to crux-restore: prctl(PR_SET_PDEATHSIG)";
            format!("{call}: {}", text(errno))
        });
        let cause = tied.map_or_else(|cause| cause, |()| exec(inside, command));
        // It fits into the pipe; if nobody reads, nobody wants to know.
        let _ = rustix::io::write(&report, cause.as_bytes());
        sys::exit_now(CANNOT_RUN);
    };
    drop(report);
    // The end of the pipe closes when the command starts.
    let mut cause = String::new();
    let heard = File::from(answer).read_to_string(&mut cause);
    let code = wait(pid)?;
    match heard {
        Ok(0) => Ok(code),
        Ok(_) => Err(cause),
        Err(error) => Err(format!("hear of the command: read(pipe): {error}")),
    }
}

/// In the child: goes inside and becomes the command. Returns only when it cannot, with the cause.
fn exec(inside: &Inside, command: &[OsString]) -> String {
    if let Err(error) = go_inside(inside) {
        return format!("enter the restored namespace: {error}");
    }
    let error = Command::new(&command[0]).args(&command[1..]).exec();
    let shown = Escaped(command[0].as_bytes());
    format!("run {shown} in the restored namespace: {error}; the restore is undone")
}

fn go_inside(inside: &Inside) -> Result<(), SysError> {
    if let Some(net) = &inside.net {
        sys::setns(net, NamespaceKind::Net)?;
    }
    if let Some(ipc) = &inside.ipc {
        sys::setns(ipc, NamespaceKind::Ipc)?;
    }
    sys::setns(&inside.namespace, NamespaceKind::Mount)?;
    // setns(2) leads to the top of what is stacked on the root.
    sys::fchdir(inside.root.as_fd())?;
    sys::chroot_dot()?;
    // CVE-2024-21626: a descriptor of the host's would be a way out.
    sys::close_on_exec_from(3)
}

/// How a child ends, as a shell says it.
pub(crate) fn wait(pid: Pid) -> Result<u8, String> {
    loop {
        match waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => {
                let signal = status.terminating_signal().map(|signal| 128 + signal);
                let code = status.exit_status().or(signal).unwrap_or(0);
                return Ok(u8::try_from(code).unwrap_or(u8::MAX));
            }
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(format!("wait for process {pid}: waitpid: {}", text(errno))),
        }
    }
}

//! What becomes of restored namespaces: a pinned file, a command inside, or nothing.
//!
//! Kind: effect.

use crate::failure::Exit;
use crux_mount::exec::Built;
use crux_mount::sys::{self, NamespaceKind, SysError};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, getppid, set_parent_process_death_signal, waitpid,
};
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Of the child, when it cannot become the command: the restore ends with it.
const CANNOT_RUN: i32 = Exit::Undone as i32;

/// Keeps the first namespace alive at `file`, which must not exist.
pub(crate) fn pin(built: &Built, file: &Path) -> Result<(), String> {
    let shown = file.display();
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = openat(CWD, file, flags, Mode::RUSR)
        .map_err(|errno| format!("pin the namespace: create {shown}: {}", text(errno)))?;
    let pinned = sys::open_tree_clone(&built.namespaces[0].namespace)
        .and_then(|mount| sys::move_mount(mount, &target));
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

/// Runs a command in the first namespace, and passes its exit status on.
pub(crate) fn command(built: &Built, command: &[OsString]) -> Result<ExitCode, String> {
    let supervisor = rustix::process::getpid();
    let Some(pid) = sys::fork().map_err(|error| error.to_string())? else {
        let tied = set_parent_process_death_signal(Some(Signal::KILL));
        if tied.is_err() || getppid() != Some(supervisor) {
            sys::exit_now(CANNOT_RUN);
        }
        sys::exit_now(exec(built, command));
    };
    wait(pid)
}

/// In the child: goes inside and becomes the command. Returns only when it cannot.
fn exec(built: &Built, command: &[OsString]) -> i32 {
    if let Err(error) = go_inside(built) {
        eprintln!("Error: failed to enter the restored namespace: {error}");
        return CANNOT_RUN;
    }
    let error = Command::new(&command[0]).args(&command[1..]).exec();
    let shown = command[0].display();
    eprintln!("Error: failed to run {shown} in the restored namespace: {error}");
    CANNOT_RUN
}

fn go_inside(built: &Built) -> Result<(), SysError> {
    let first = &built.namespaces[0];
    if let Some(net) = &built.net {
        sys::setns(net, NamespaceKind::Net)?;
    }
    if let Some(ipc) = &built.ipc {
        sys::setns(ipc, NamespaceKind::Ipc)?;
    }
    sys::setns(&first.namespace, NamespaceKind::Mount)?;
    // setns(2) leads to the top of what is stacked on the root.
    sys::fchdir(first.root.as_fd())?;
    sys::chroot_dot()?;
    // CVE-2024-21626: a descriptor of the host's would be a way out.
    sys::close_on_exec_from(3)
}

fn wait(pid: Pid) -> Result<ExitCode, String> {
    loop {
        match waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => {
                let signal = status.terminating_signal().map(|signal| 128 + signal);
                let code = status.exit_status().or(signal).unwrap_or(0);
                return Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)));
            }
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(format!("wait for the command: {}", text(errno))),
        }
    }
}

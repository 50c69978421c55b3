//! What crux-restore begins with: privilege that was given, or a user namespace of its own.
//!
//! Kind: effect.

use crate::capabilities;
use crate::cli::Options;
use crate::failure::{Exit, Failure, OrExit};
use crate::files::Held;
use crate::inward::Outer;
use crate::roles::spec::FILES;
use crux_mount::sys;
use crux_role::{Held as Capabilities, close_inherited, lower, without};
use rustix::process::{getgid, getuid};
use std::fs;

/// Makes the process ready to start roles.
pub(crate) fn prepare(options: &Options, held: &Held) -> Result<Option<Outer>, Failure> {
    close_inherited(held.files()).map_err(|errno| {
        let cause = std::io::Error::from(errno);
        Failure::new(Exit::Lacking, format_args!("begin: close_range: {cause}"))
    })?;
    if Capabilities::now().is_nothing() {
        return own_user_namespace(options).map(Some);
    }
    // The operator opens the image with permissions of his own.
    if !getuid().is_root() {
        lower(FILES).or_exit(Exit::Lacking)?;
    }
    Ok(None)
}

/// Does `work`, which opens what the operator names, with the operator's own permissions.
pub(crate) fn as_operator<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    match getuid().is_root() {
        true => work(),
        false => without(FILES, work).or_exit(Exit::Lacking)?,
    }
}

/// From here on, files and file systems that are made belong to root, as those did
/// that were dumped, whoever the operator is.
pub(crate) fn as_root_of_files() -> Result<(), Failure> {
    if getuid().is_root() {
        return Ok(());
    }
    sys::set_filesystem_ids(0, 0)
        .map(drop)
        .or_exit(Exit::Lacking)
}

/// Without any privilege: root of a user namespace with one id, which can restore
/// what needs no other and nothing of the host's own.
fn own_user_namespace(options: &Options) -> Result<Outer, Failure> {
    let missing = capabilities::no_mounts();
    if options.pin.is_some() {
        // The namespace would be in a mount namespace that ends with this process.
        return Err(missing);
    }
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    let made = sys::unshare_user_namespace().and_then(|()| sys::unshare_mount_namespace());
    made.map_err(|error| {
        let message = format!("{missing}; nor could a user namespace be made: {error}");
        Failure::new(Exit::Lacking, message)
    })?;
    let maps = [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ];
    for (name, map) in maps {
        fs::write(format!("/proc/self/{name}"), &map).map_err(|error| {
            let call = format!("write(\"/proc/self/{name}\", {map:?})");
            Failure::new(
                Exit::Lacking,
                format_args!("make a user namespace: {call}: {error}"),
            )
        })?;
    }
    Ok(Outer { uid, gid })
}

//! What crux-restore begins with: privilege that was given, or a user namespace of its own.
//!
//! Kind: effect.

use crate::capabilities;
use crate::cli::Options;
use crate::failure::{Exit, Failure, OrExit};
use crate::roles::spec::FILES;
use crux_mount::sys;
use crux_role::{Held, close_inherited, lower, without};
use rustix::process::{getgid, getuid};
use std::fs;

/// Makes the process ready to start roles.
pub(crate) fn prepare(options: &Options) -> Result<(), Failure> {
    close_inherited().map_err(|errno| {
        let cause = std::io::Error::from(errno);
        Failure::new(Exit::Lacking, format_args!("begin: close_range: {cause}"))
    })?;
    if Held::now().is_nothing() {
        return own_user_namespace(options);
    }
    // The operator opens the image with permissions of his own.
    match getuid().is_root() {
        true => Ok(()),
        false => lower(FILES).or_exit(Exit::Lacking),
    }
}

/// Does `work`, which opens what the operator names, with the operator's own permissions.
pub(crate) fn as_operator<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    match getuid().is_root() {
        true => work(),
        false => without(FILES, work).or_exit(Exit::Lacking)?,
    }
}

/// Without any privilege: root of a user namespace with one id, which can restore
/// what needs no other and nothing of the host's own.
fn own_user_namespace(options: &Options) -> Result<(), Failure> {
    let missing = capabilities::lacking(capabilities::NO_MOUNTS);
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
    Ok(())
}

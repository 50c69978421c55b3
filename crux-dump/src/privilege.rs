//! What crux-dump begins with, and with whose permissions it names the image.
//!
//! Kind: effect.

use crate::failure::{Exit, Failure, OrExit};
use crate::roles::spec::{FILES, SUPERVISOR, SUPERVISOR_ABROAD};
use crux_image::directory::Partial;
use crux_mount::sys;
use crux_role::{Capability, close_inherited, lower, without};
use rustix::fs::{Access, AtFlags, accessat};
use rustix::process::getuid;

/// Makes the process ready to start roles.
pub(crate) fn prepare() -> Result<(), Failure> {
    close_inherited(&[]).map_err(|errno| {
        let cause = std::io::Error::from(errno);
        Failure::new(Exit::Lacking, format_args!("begin: close_range: {cause}"))
    })?;
    // The operator writes the image with permissions of his own.
    if !getuid().is_root() {
        lower(FILES).or_exit(Exit::Lacking)?;
    }
    check_proc()
}

/// CVE-2025-52881: all that is read there would be anything otherwise.
fn check_proc() -> Result<(), Failure> {
    let cause = match sys::proc_is_procfs() {
        Ok(true) => return Ok(()),
        Ok(false) => "it is not a proc file system".to_owned(),
        Err(error) => error.to_string(),
    };
    let what = "use /proc, by which processes are looked at";
    Err(Failure::new(Exit::Lacking, format_args!("{what}: {cause}")))
}

/// What the supervisor needs to give an image its name or to remove it.
pub(crate) fn to_keep(place: Option<&Partial>) -> Result<&'static [Capability], Failure> {
    let Some(place) = place else {
        return Ok(SUPERVISOR);
    };
    let change = Access::WRITE_OK | Access::EXEC_OK;
    let may = || accessat(place.parent(), c".", change, AtFlags::EACCESS).is_ok();
    Ok(match without(FILES, may).or_exit(Exit::Undone)? {
        true => SUPERVISOR,
        false => SUPERVISOR_ABROAD,
    })
}

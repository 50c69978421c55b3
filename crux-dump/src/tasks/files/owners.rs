//! Who hears of what happens to a file (`O_ASYNC`).
//!
//! Kind: effect. Only of files that tell anybody: each has to be fetched for it.

use super::pipes::duplicate;
use super::sys::{owner, signal};
use super::{Collector, Seen};
use crate::tasks::{Target, TaskCause};
use crux_image::tasks::{FileOwner, OwnerKind};
use crux_mount::sys::SysError;
use std::os::fd::AsFd as _;

impl Collector<'_> {
    /// The owner, as the container counts it; none where nobody is told.
    pub(super) fn owner(
        &mut self,
        target: &Target,
        seen: &Seen,
    ) -> Result<Option<FileOwner>, SysError> {
        if !seen.info.flags.async_io {
            return Ok(None);
        }
        let copy = duplicate(target, seen.number)?;
        let (kind, pid) = owner(copy.as_fd())?;
        if pid == 0 {
            return Ok(None);
        }
        let kind = match kind {
            0 => OwnerKind::Thread,
            1 => OwnerKind::Process,
            _ => OwnerKind::Group,
        };
        let Some((id, _)) = self.holders.get(&pid).copied() else {
            let what = "tells somebody of its changes who is no process of the container";
            self.refuse(target, seen, TaskCause::Other(what.to_owned()));
            return Ok(None);
        };
        let signal = signal(copy.as_fd())?;
        Ok(Some(FileOwner { kind, id, signal }))
    }
}

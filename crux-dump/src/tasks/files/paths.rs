//! Files that have a path, or had one.
//!
//! Kind: effect.

use super::{Collector, FilesError, Seen, nothing, open};
use crate::tasks::removed::{DELETED, home, other_name};
use crate::tasks::{Target, TaskCause};
use crux_image::mounts::FileKind;
use crux_image::tasks::OpenTarget;

impl Collector<'_> {
    pub(super) fn path(&mut self, target: &Target, seen: &Seen, kind: FileKind) -> OpenTarget {
        // Of proc and the like no directory has a count of links.
        let gone = seen.path.ends_with(DELETED)
            && (seen.stat.st_nlink == 0 || kind != FileKind::Directory);
        let mount = seen.info.mount;
        let path = match (gone, seen.path.strip_suffix(DELETED)) {
            (true, Some(path)) => other_name(target, mount, path, seen.stat.st_ino),
            _ => Some(seen.path.clone()),
        };
        match path.and_then(|path| self.mounts.locate(mount, &path)) {
            Some(location) => OpenTarget::Path {
                location,
                kind,
                size: u64::try_from(seen.stat.st_size).unwrap_or(0),
            },
            None => {
                self.refuse(target, seen, TaskCause::Unplaced(seen.path.clone()));
                nothing(seen, kind)
            }
        }
    }

    pub(super) fn unlinked(
        &mut self,
        target: &Target,
        seen: &Seen,
    ) -> Result<OpenTarget, FilesError> {
        let path = seen.path.strip_suffix(DELETED).unwrap_or(&seen.path);
        let Some(place) = home(target, self.mounts, seen.info.mount, path) else {
            self.refuse(target, seen, TaskCause::Unplaced(seen.path.clone()));
            return Ok(nothing(seen, FileKind::Regular));
        };
        let file = open(target, seen).map_err(|error| FilesError::Process {
            pid: target.pid,
            error,
        })?;
        let index = self.objects.unlinked(&file, place)?;
        Ok(OpenTarget::Unlinked(index))
    }
}

//! One dump: collect, judge, write, and again if the tables changed meanwhile.
//!
//! Kind: effect.

use crate::collect::{self, Collected, DumpError};
use crate::judge::{self, Judged, Policy};
use crate::write::{self, Outcome};
use crux_image::inventory::ImageId;
use crux_image::mounts::Mounts;
use crux_mount::features::Features;
use std::path::Path;

/// How often a dump is begun anew.
const TRIES: usize = 5;

/// Looks and judges, and writes nothing.
pub fn look(pid: u32, policy: &Policy, features: &Features) -> Result<Judged, DumpError> {
    for _ in 0..TRIES {
        let (collected, judged) = begin(pid, policy, features)?;
        if collect::is_unchanged(&collected, features)? {
            return Ok(judged);
        }
    }
    Err(DumpError::Changing(pid))
}

/// An image that was written.
#[derive(Debug)]
pub struct Dumped {
    /// Its id.
    pub id: ImageId,
    /// What is in it.
    pub mounts: Mounts,
    /// How many mounts above a chroot were left out.
    pub left_out: usize,
}

/// Writes the image of the container of `pid` to `path`.
pub fn dump(
    pid: u32,
    path: &Path,
    policy: &Policy,
    features: &Features,
) -> Result<Dumped, DumpError> {
    for _ in 0..TRIES {
        let (collected, judged) = begin(pid, policy, features)?;
        let left_out = judged.left_out;
        let unchanged = || collect::is_unchanged(&collected, features);
        match write::write(path, &collected, judged, unchanged) {
            Ok(Outcome::Written { id, mounts }) => {
                return Ok(Dumped {
                    id,
                    mounts,
                    left_out,
                });
            }
            Ok(Outcome::Changed) => {}
            // The contents of a mount that has gone meanwhile cannot be reached.
            Err(
                DumpError::Reach { .. } | DumpError::Contents { .. } | DumpError::Process { .. },
            ) if !collect::is_unchanged(&collected, features)? => {}
            Err(error) => return Err(error),
        }
    }
    Err(DumpError::Changing(pid))
}

/// What counts only if it is unchanged in the end.
fn begin(pid: u32, policy: &Policy, features: &Features) -> Result<(Collected, Judged), DumpError> {
    let mut last = None;
    for _ in 0..TRIES {
        let collected = match collect::collect(pid, features) {
            Err(error @ DumpError::Changing(_)) => {
                last = Some(error);
                continue;
            }
            other => other?,
        };
        let mut judged = match judge::judge(&collected.seen, policy) {
            Ok(judged) => judged,
            // What was seen may have been half of a change.
            Err(_) if !collect::is_unchanged(&collected, features)? => continue,
            Err(obstacles) => return Err(DumpError::Obstacles(obstacles)),
        };
        collect::check_wishes(&mut judged.mounts, &judged.wishes);
        return Ok((collected, judged));
    }
    Err(last.unwrap_or(DumpError::Changing(pid)))
}

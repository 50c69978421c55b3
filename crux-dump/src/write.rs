//! From a judged container to an image directory.
//!
//! Kind: effect. The directory appears under its name only when it is complete;
//! after an error nothing of it is left.

use crate::collect::{Collected, DumpError, collect_contents};
use crate::judge::Judged;
use crux_image::contents::ContentsWriter;
use crux_image::directory::ImageWriter;
use crux_image::inventory::{ImageFacts, ImageId};
use crux_image::member::MemberKind;
use crux_image::mounts::{Contents, Mounts, Origin};
use std::path::Path;

/// Writes the image; gives its id and the record as written.
pub(crate) fn write(
    path: &Path,
    collected: &Collected,
    judged: Judged,
    is_unchanged: impl FnOnce() -> Result<bool, DumpError>,
) -> Result<Outcome, DumpError> {
    let mut image = ImageWriter::create(path)?;
    let Judged {
        mut mounts,
        contents,
        ..
    } = judged;
    let index = image.raw(MemberKind::ContentsIndex)?;
    let data = image.raw(MemberKind::ContentsData)?;
    let mut writer = ContentsWriter::new(index, data)?;
    for (origin, section) in collect_contents(collected, &contents, &mut writer)? {
        if let Some(Origin::Own(own)) = mounts.origins.get_mut(origin.at()) {
            own.contents = Contents::Tree(section);
        }
    }
    writer.finish()?;
    // An image that is dropped here is removed.
    if !is_unchanged()? {
        return Ok(Outcome::Changed);
    }
    image.write_mounts(&mounts)?;
    let id = image.finish(facts(collected)?)?;
    Ok(Outcome::Written { id, mounts })
}

/// How writing ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The image is there.
    Written {
        /// Its id.
        id: ImageId,
        /// What is in it.
        mounts: Mounts,
    },
    /// The tables had changed meanwhile: nothing was kept.
    Changed,
}

fn facts(collected: &Collected) -> Result<ImageFacts, DumpError> {
    let machine = rustix::system::uname();
    let created = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let process = &collected.processes[0];
    Ok(ImageFacts {
        id: ImageId::random().map_err(DumpError::Facts)?,
        crux_version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel_release: machine.release().to_string_lossy().into_owned(),
        architecture: machine.machine().to_string_lossy().into_owned(),
        created: created.map_or(0, |time| time.as_secs()),
        pid: process.pid,
        command: process.command(),
    })
}

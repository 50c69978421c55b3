//! Reads all of an image and says of each file whether it is whole.
//!
//! Kind: effect.

use super::reader::{ImageReader, Place};
use crate::contents::{ContentsReader, FormatError, Section};
use crate::error::{ImageError, Problem};
use crate::member::MemberKind;
use crate::mounts::{Contents, Origin};
use crate::path::Escaped;
use std::io::Read as _;

/// What was found of one member.
#[derive(Debug)]
pub struct MemberReport {
    /// Which.
    pub kind: MemberKind,
    /// How long the file should be.
    pub length: u64,
    /// What was found.
    pub finding: Finding,
}

/// The state of a member.
#[derive(Debug)]
pub enum Finding {
    /// Lengths and checksums are right, and records mean something.
    Whole,
    /// It is refused.
    Refused(ImageError),
}

impl ImageReader {
    /// Looks at every member that the inventory lists. The inventory itself was
    /// checked when the image was opened.
    pub fn verify(&self) -> Vec<MemberReport> {
        let listed = self.inventory().members.iter();
        listed
            .filter_map(|entry| entry.member().map(|kind| (kind, entry.length)))
            .map(|(kind, length)| {
                let finding = self.verify_member(kind).unwrap_or_else(Finding::Refused);
                MemberReport {
                    kind,
                    length,
                    finding,
                }
            })
            .collect()
    }

    /// Names in the directory that are no part of the image, escaped.
    pub fn strangers(&self) -> Result<Vec<String>, ImageError> {
        let fail = |errno| ImageError::new(&self.path, Problem::call("getdents(image)", errno));
        let mut strangers = Vec::new();
        let Place::Directory(dir) = &self.place else {
            return Ok(strangers);
        };
        for entry in rustix::fs::Dir::read_from(dir).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_bytes();
            let ours = MemberKind::ALL.into_iter().any(|kind| {
                let listed =
                    kind == MemberKind::Inventory || self.inventory().entry(kind).is_some();
                listed && kind.file_name().as_bytes() == name
            });
            if !ours && name != b"." && name != b".." {
                strangers.push(Escaped(name).to_string());
            }
        }
        strangers.sort();
        Ok(strangers)
    }

    fn verify_member(&self, kind: MemberKind) -> Result<Finding, ImageError> {
        let whole = match kind {
            // Read when the image was opened.
            MemberKind::Inventory => Ok(()),
            MemberKind::Mounts => self.mounts().map(drop),
            MemberKind::ContentsIndex => self.verify_contents(kind, |contents, section| {
                contents
                    .section(section)?
                    .try_for_each(|entry| entry.map(drop))
            }),
            MemberKind::ContentsData => self.verify_contents(kind, ContentsReader::verify),
            MemberKind::Tasks => self
                .mounts()
                .and_then(|mounts| self.tasks(&mounts).map(drop)),
            MemberKind::Pages => self.verify_pages(),
        };
        whole.map(|()| Finding::Whole)
    }

    /// All pages that the record of tasks names are there, and are those that were written.
    fn verify_pages(&self) -> Result<(), ImageError> {
        let kind = MemberKind::Pages;
        let entry = self.entry(kind)?;
        let (mut file, mut hasher) = (self.raw(kind)?, crc32fast::Hasher::new());
        let needed = match self.tasks(&self.mounts()?)? {
            Some(tasks) => tasks.pages_end(),
            None => 0,
        };
        let length = entry.length;
        if needed > length {
            return Err(self.fail(kind, Problem::PagesEnd { length, needed }));
        }
        let Some(expected) = entry.checksum else {
            return Ok(());
        };
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = file.read(&mut buffer);
            match read.map_err(|error| self.fail(kind, Problem::io("read(pages)", &error)))? {
                0 => break,
                size => hasher.update(&buffer[..size]),
            }
        }
        match hasher.finalize() {
            found if found == expected => Ok(()),
            found => Err(self.fail(kind, Problem::Checksum { found, expected })),
        }
    }

    /// Reads every tree that a file system of the image holds.
    fn verify_contents(
        &self,
        kind: MemberKind,
        mut verify: impl FnMut(&mut ContentsReader, Section) -> Result<(), FormatError>,
    ) -> Result<(), ImageError> {
        let mut contents = self.contents()?;
        for origin in self.mounts()?.origins {
            if let Origin::Own(own) = origin
                && let Contents::Tree(section) = own.contents
            {
                verify(&mut contents, section)
                    .map_err(|error| self.fail(kind, Problem::Contents(error)))?;
            }
        }
        Ok(())
    }
}

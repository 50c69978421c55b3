//! Reads all of an image and says of each file whether it is whole.
//!
//! Kind: effect.

use super::reader::ImageReader;
use crate::error::{ImageError, Problem};
use crate::member::{Layout, MemberKind};
use crate::path::Escaped;
use std::fs::File;
use std::io::Read;

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
    /// Length and checksum are right, and a record means something.
    Whole,
    /// Length is right; the checksums of its parts are in another member.
    LengthOnly,
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
        for entry in rustix::fs::Dir::read_from(&self.dir).map_err(fail)? {
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
        match (kind, kind.layout()) {
            (MemberKind::Mounts, _) => self.mounts().map(|_| Finding::Whole),
            (_, Layout::Raw) => {
                let file = self.raw(kind)?;
                let expected = self.entry(kind)?.checksum;
                expected.map_or(Ok(Finding::LengthOnly), |sum| {
                    self.verify_stream(kind, file, sum)
                })
            }
            (_, Layout::Stream | Layout::Record) => {
                let (file, header) = self.stream(kind)?;
                self.verify_stream(kind, file, header.checksum)
            }
        }
    }

    fn verify_stream(
        &self,
        kind: MemberKind,
        mut file: File,
        expected: u32,
    ) -> Result<Finding, ImageError> {
        let mut hasher = crc32fast::Hasher::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = file
                .read(&mut buffer)
                .map_err(|e| self.fail(kind, Problem::io("read", &e)))?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
        }
        match hasher.finalize() {
            found if found == expected => Ok(Finding::Whole),
            found => Err(self.fail(kind, Problem::Checksum { found, expected })),
        }
    }
}

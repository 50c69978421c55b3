//! The inventory of an image: who wrote it, when, where, and what belongs to it.
//!
//! Kind: pure, but for `ImageId::random`, which asks the kernel.

use crate::member::{Layout, MemberKind};
use crate::path::is_printable;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A random number that tells images apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageId(pub [u8; 16]);

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What the dumper knows about the dump as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFacts {
    /// Tells this image apart.
    pub id: ImageId,
    /// The crux that wrote it.
    pub crux_version: String,
    /// `uname -r` of the machine.
    pub kernel_release: String,
    /// `uname -m` of the machine.
    pub architecture: String,
    /// Seconds since 1970, UTC.
    pub created: u64,
    /// The process that was dumped, as the dumper saw it.
    pub pid: u32,
    /// Its name (`/proc/PID/comm`): bytes that it chose itself.
    pub command: Vec<u8>,
}

/// The record in `inventory.crux`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// About the dump.
    pub facts: ImageFacts,
    /// Every other file of the image.
    pub members: Vec<MemberEntry>,
}

/// One file of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberEntry {
    /// [`MemberKind::number`].
    pub kind: u32,
    /// How long the file is, its header included.
    pub length: u64,
    /// CRC-32 of the payload: what follows the header, or all of a raw member.
    /// `None` for a raw member whose index holds the checksums of its parts.
    pub checksum: Option<u32>,
}

impl MemberEntry {
    /// The kind; the numbers of a checked inventory are all known.
    pub fn member(&self) -> Option<MemberKind> {
        MemberKind::from_number(self.kind)
    }
}

const STRING_LIMIT: usize = 256;

impl Inventory {
    /// What the inventory says of a member.
    pub fn entry(&self, kind: MemberKind) -> Option<&MemberEntry> {
        self.members
            .iter()
            .find(|entry| entry.kind == kind.number())
    }

    /// Bounds and meaning, in words where they fail. `ImageReader` runs it.
    pub fn check(&self) -> Result<(), String> {
        let facts = &self.facts;
        for (what, text) in [
            ("crux version", &facts.crux_version),
            ("kernel release", &facts.kernel_release),
            ("architecture", &facts.architecture),
        ] {
            if text.len() > STRING_LIMIT || !is_printable(text) {
                return Err(format!(
                    "the {what} is no printable text of up to {STRING_LIMIT} bytes"
                ));
            }
        }
        if facts.command.len() > STRING_LIMIT {
            return Err("the name of the process is too long".into());
        }
        self.members.iter().enumerate().try_for_each(|(at, entry)| {
            let Some(kind) = entry.member().filter(|kind| *kind != MemberKind::Inventory) else {
                return Err(format!(
                    "lists a member of kind {}, which this crux ({}) does not know; the image was written by crux {}",
                    entry.kind,
                    env!("CARGO_PKG_VERSION"),
                    facts.crux_version
                ));
            };
            if self.members[..at].iter().any(|earlier| earlier.kind == entry.kind) {
                return Err(format!("lists {} twice", kind.file_name()));
            }
            if kind.layout() != Layout::Raw && entry.checksum.is_none() {
                return Err(format!("lists {} without a checksum", kind.file_name()));
            }
            Ok(())
        })
    }
}

impl ImageId {
    /// A new one, from getrandom(2).
    pub fn random() -> Result<Self, rustix::io::Errno> {
        let mut bytes = [0u8; 16];
        let count = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
        // Up to 256 bytes come whole (getrandom(2)).
        assert_eq!(
            count,
            bytes.len(),
            "getrandom returned fewer bytes than asked for"
        );
        Ok(Self(bytes))
    }
}

//! Reads an image that may be hostile.
//!
//! Kind: effect. Bounds come before allocation and meaning before use: whoever
//! gets a record from here gets a checked one.

use super::members::Members;
use super::open::{open_directory, open_member};
use crate::codec;
use crate::contents::ContentsReader;
use crate::error::{ImageError, Problem};
use crate::inventory::{Inventory, MemberEntry};
use crate::member::{HEADER_LENGTH, Header, HeaderError, MemberKind};
use crate::mounts::{Mounts, MountsVersion1};
use crate::tasks::{Tasks, TasksVersion1, as_version_4};
use rustix::fd::OwnedFd;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where members come from.
#[derive(Debug)]
pub(super) enum Place {
    /// They are opened when they are asked for.
    Directory(OwnedFd),
    /// Somebody else opened them.
    Members(Members),
}

impl Place {
    fn open(&self, kind: MemberKind) -> Result<(File, u64), Problem> {
        match self {
            Self::Directory(dir) => open_member(dir, kind.file_name()),
            Self::Members(members) => members.file(kind),
        }
    }
}

/// An image whose inventory was read and checked.
#[derive(Debug)]
pub struct ImageReader {
    pub(super) path: PathBuf,
    pub(super) place: Place,
    inventory: Inventory,
}

impl ImageReader {
    /// Opens the image at `path`. A symbolic link that the operator names is followed.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let dir = open_directory(path)?;
        Self::from_directory(dir, path)
    }

    /// Takes an image directory that is open; `path` is for messages only.
    pub fn from_directory(dir: OwnedFd, path: &Path) -> Result<Self, ImageError> {
        Self::from_place(Place::Directory(dir), path)
    }

    /// Takes the members of an image that are open; `path` is for messages only.
    pub fn from_members(members: Members, path: &Path) -> Result<Self, ImageError> {
        Self::from_place(Place::Members(members), path)
    }

    fn from_place(place: Place, path: &Path) -> Result<Self, ImageError> {
        let kind = MemberKind::Inventory;
        let fail = |problem| ImageError::of_member(path, kind.file_name(), problem);
        let partial = path
            .extension()
            .is_some_and(|extension| extension == "partial");
        let (_, payload) = read_record(&place, kind, None).map_err(|problem| match problem {
            Problem::MissingMember { .. } => fail(Problem::MissingMember { partial }),
            problem => fail(problem),
        })?;
        let inventory: Inventory =
            codec::decode(&payload, kind.limit()).map_err(|error| fail(error.into()))?;
        inventory
            .check()
            .map_err(|words| fail(Problem::Inventory(words)))?;
        Ok(Self {
            path: path.to_owned(),
            place,
            inventory,
        })
    }

    /// Who wrote the image, and what belongs to it.
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// Where the image is, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The record of mounts, checked.
    pub fn mounts(&self) -> Result<Mounts, ImageError> {
        let kind = MemberKind::Mounts;
        let entry = self.entry(kind)?;
        let (version, payload) =
            read_record(&self.place, kind, Some(entry)).map_err(|p| self.fail(kind, p))?;
        let mounts = match version {
            1 => codec::decode::<MountsVersion1>(&payload, kind.limit()).map(Mounts::from),
            _ => codec::decode(&payload, kind.limit()),
        };
        let mounts = mounts.map_err(|error| self.fail(kind, error))?;
        mounts.check().map_err(|error| self.fail(kind, error))?;
        Ok(mounts)
    }

    /// The record of tasks, checked; none where the image is one of mounts only.
    pub fn tasks(&self, mounts: &Mounts) -> Result<Option<Tasks>, ImageError> {
        let kind = MemberKind::Tasks;
        let Some(entry) = self.inventory.entry(kind) else {
            return Ok(None);
        };
        let (version, payload) =
            read_record(&self.place, kind, Some(entry)).map_err(|p| self.fail(kind, p))?;
        let tasks = match version {
            1 => codec::decode::<TasksVersion1>(&payload, kind.limit()).map(Tasks::from),
            2 | 3 => codec::decode(&as_version_4(payload), kind.limit()),
            _ => codec::decode(&payload, kind.limit()),
        };
        let tasks = tasks.map_err(|error| self.fail(kind, error))?;
        tasks
            .check(mounts)
            .map_err(|error| self.fail(kind, error))?;
        Ok(Some(tasks))
    }

    /// Opens a raw member; its length is as the inventory says.
    pub fn raw(&self, kind: MemberKind) -> Result<File, ImageError> {
        let entry = self.entry(kind)?;
        let opened = self.place.open(kind);
        let (file, found) = opened.map_err(|problem| self.fail(kind, problem))?;
        match found == entry.length {
            true => Ok(file),
            false => Err(self.fail(
                kind,
                Problem::Length {
                    found,
                    expected: entry.length,
                },
            )),
        }
    }

    /// What is in file systems in memory.
    pub fn contents(&self) -> Result<ContentsReader, ImageError> {
        let index = self.raw(MemberKind::ContentsIndex)?;
        let data = self.raw(MemberKind::ContentsData)?;
        ContentsReader::new(index, data)
            .map_err(|error| self.fail(MemberKind::ContentsIndex, Problem::Contents(error)))
    }

    pub(super) fn entry(&self, kind: MemberKind) -> Result<&MemberEntry, ImageError> {
        self.inventory
            .entry(kind)
            .ok_or_else(|| self.fail(kind, Problem::NotListed))
    }

    pub(super) fn fail(&self, kind: MemberKind, problem: impl Into<Problem>) -> ImageError {
        ImageError::of_member(&self.path, kind.file_name(), problem)
    }
}

/// Opens a member and checks its header against the file and the inventory.
fn open_with_header(
    place: &Place,
    kind: MemberKind,
    entry: Option<&MemberEntry>,
) -> Result<(File, Header), Problem> {
    let (mut file, found) = place.open(kind)?;
    if found < HEADER_LENGTH as u64 {
        return Err(HeaderError::Short(found).into());
    }
    let mut bytes = [0; HEADER_LENGTH];
    file.read_exact(&mut bytes)
        .map_err(|e| Problem::io("read(header)", &e))?;
    let header = Header::parse(&bytes, kind)?;
    let by_header = header.length + HEADER_LENGTH as u64;
    for expected in [Some(by_header), entry.map(|entry| entry.length)]
        .into_iter()
        .flatten()
    {
        if expected != found {
            return Err(Problem::Length { found, expected });
        }
    }
    match entry.and_then(|entry| entry.checksum) {
        Some(expected) if expected != header.checksum => Err(Problem::Checksum {
            found: header.checksum,
            expected,
        }),
        _ => Ok((file, header)),
    }
}

/// The format version and the payload of a record, no longer than its kind may be, with the right checksum.
fn read_record(
    place: &Place,
    kind: MemberKind,
    entry: Option<&MemberEntry>,
) -> Result<(u32, Vec<u8>), Problem> {
    let (file, header) = open_with_header(place, kind, entry)?;
    let mut payload = Vec::new();
    file.take(header.length)
        .read_to_end(&mut payload)
        .map_err(|e| Problem::io("read(payload)", &e))?;
    let (found, expected) = (payload.len() as u64, header.length);
    if found != expected {
        return Err(Problem::Length { found, expected });
    }
    let (found, expected) = (crc32fast::hash(&payload), header.checksum);
    match found == expected {
        true => Ok((header.version, payload)),
        false => Err(Problem::Checksum { found, expected }),
    }
}

//! Writes the members of an image, and syncs them.
//!
//! Kind: effect. Where they are, and what the image is called in the end, is the business
//! of [`Partial`]: in crux-dump another process's, which holds the directory above.

use super::Partial;
use crate::codec;
use crate::error::{ImageError, Problem};
use crate::inventory::{ImageFacts, ImageId, Inventory, MemberEntry};
use crate::member::{HEADER_LENGTH, Header, Layout, MemberKind};
use crate::mounts::Mounts;
use crate::tasks::Tasks;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{Seek as _, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// An image being written.
#[derive(Debug)]
pub struct ImageWriter {
    path: PathBuf,
    dir: OwnedFd,
    members: Vec<Written>,
    /// Where it is this process's own.
    place: Option<Partial>,
}

#[derive(Debug)]
struct Written {
    kind: MemberKind,
    file: File,
    /// Of a raw member, from whoever writes it.
    checksum: Option<u32>,
}

impl ImageWriter {
    /// Makes `path.partial`, mode 0700, which is renamed by [`Self::finish`], and removed where
    /// that is not called. Refused if it or `path` exists.
    pub fn create(path: &Path) -> Result<Self, ImageError> {
        let place = Partial::create(path)?;
        let dir = place.directory().try_clone_to_owned();
        let dir = dir.map_err(|e| ImageError::new(path, Problem::io("dup", &e)))?;
        Ok(Self {
            place: Some(place),
            ..Self::within(dir, path)
        })
    }

    /// Writes into an empty directory that somebody else makes, names and removes; `path`
    /// is for messages.
    pub fn within(dir: OwnedFd, path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            dir,
            members: Vec::new(),
            place: None,
        }
    }

    /// Checks and writes the record of mounts.
    pub fn write_mounts(&mut self, mounts: &Mounts) -> Result<(), ImageError> {
        let kind = MemberKind::Mounts;
        mounts.check().map_err(|error| self.fail(kind, error))?;
        self.write_record(kind, &codec::encode(mounts))
    }

    /// Checks and writes the record of tasks, of a container with these mounts.
    pub fn write_tasks(&mut self, tasks: &Tasks, mounts: &Mounts) -> Result<(), ImageError> {
        let kind = MemberKind::Tasks;
        tasks
            .check(mounts)
            .map_err(|error| self.fail(kind, error))?;
        self.write_record(kind, &codec::encode(tasks))
    }

    /// Begins a raw member, or begins it anew. Reading and writing at any offset is the caller's.
    pub fn raw(&mut self, kind: MemberKind) -> Result<File, ImageError> {
        debug_assert_eq!(kind.layout(), Layout::Raw);
        let Some(at) = self.members.iter().position(|it| it.kind == kind) else {
            return self.make_member(kind);
        };
        self.members[at].checksum = None;
        let file = self.hand_out(at)?;
        (&file)
            .rewind()
            .map_err(|e| self.fail(kind, Problem::io("lseek", &e)))?;
        file.set_len(0)
            .map_err(|e| self.fail(kind, Problem::io("ftruncate", &e)))?;
        Ok(file)
    }

    /// Records the checksum of a raw member, where its writer computes one.
    pub fn raw_checksum(&mut self, kind: MemberKind, checksum: u32) {
        if let Some(written) = self.members.iter_mut().find(|written| written.kind == kind) {
            written.checksum = Some(checksum);
        }
    }

    /// Turns a failed write to a member into an error that names image and member.
    pub fn write_failed(&self, kind: MemberKind, error: &std::io::Error) -> ImageError {
        self.fail(kind, Problem::io("write", error))
    }

    /// Writes the inventory, syncs every file and the directory, and gives the image its name
    /// where [`Self::create`] made it.
    pub fn finish(mut self, facts: ImageFacts) -> Result<ImageId, ImageError> {
        let id = facts.id;
        let members = self
            .members
            .iter()
            .map(|written| self.entry(written))
            .collect::<Result<_, _>>()?;
        let inventory = Inventory { facts, members };
        let kind = MemberKind::Inventory;
        inventory
            .check()
            .map_err(|words| self.fail(kind, Problem::Inventory(words)))?;
        self.write_record(kind, &codec::encode(&inventory))?;
        for written in &self.members {
            written
                .file
                .sync_all()
                .map_err(|e| self.fail(written.kind, Problem::io("fsync", &e)))?;
        }
        rustix::fs::fsync(&self.dir)
            .map_err(|e| ImageError::new(&self.path, Problem::call("fsync(image)", e)))?;
        if let Some(place) = self.place.take() {
            place.publish()?;
        }
        Ok(id)
    }

    fn entry(&self, written: &Written) -> Result<MemberEntry, ImageError> {
        let fail = |problem| self.fail(written.kind, problem);
        let metadata = written
            .file
            .metadata()
            .map_err(|e| fail(Problem::io("fstat", &e)))?;
        let (kind, length) = (written.kind.number(), metadata.len());
        if written.kind.layout() == Layout::Raw {
            return Ok(MemberEntry {
                kind,
                length,
                checksum: written.checksum,
            });
        }
        let mut bytes = [0; HEADER_LENGTH];
        written
            .file
            .read_exact_at(&mut bytes, 0)
            .map_err(|e| fail(Problem::io("pread(header)", &e)))?;
        let header = Header::parse(&bytes, written.kind).map_err(|_| fail(Problem::Unfinished))?;
        if header.length + HEADER_LENGTH as u64 != length {
            return Err(fail(Problem::Unfinished));
        }
        Ok(MemberEntry {
            kind,
            length,
            checksum: Some(header.checksum),
        })
    }

    fn write_record(&mut self, kind: MemberKind, payload: &[u8]) -> Result<(), ImageError> {
        let (length, limit) = (payload.len() as u64, kind.limit());
        if length > limit {
            return Err(self.fail(kind, codec::CodecError::TooLong { length, limit }));
        }
        let mut file = self.make_member(kind)?;
        let header = Header::new(kind, length, crc32fast::hash(payload));
        file.write_all(&header.to_bytes())
            .and_then(|()| file.write_all(payload))
            .map_err(|error| self.write_failed(kind, &error))
    }

    fn make_member(&mut self, kind: MemberKind) -> Result<File, ImageError> {
        let name = kind.file_name();
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR);
        let file = File::from(made.map_err(|errno| {
            self.fail(
                kind,
                Problem::call(format!("openat(image, \"{name}\", {flags:?}, 0600)"), errno),
            )
        })?);
        self.members.push(Written {
            kind,
            file,
            checksum: None,
        });
        self.hand_out(self.members.len() - 1)
    }

    fn hand_out(&self, at: usize) -> Result<File, ImageError> {
        let Written { kind, file, .. } = &self.members[at];
        file.try_clone()
            .map_err(|e| self.fail(*kind, Problem::io("dup", &e)))
    }

    fn fail(&self, kind: MemberKind, problem: impl Into<Problem>) -> ImageError {
        ImageError::of_member(&self.path, kind.file_name(), problem)
    }
}

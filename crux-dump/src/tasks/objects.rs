//! Objects that several mappings and descriptors lead to, each recorded once: shared memory,
//! and files without a name.
//!
//! Kind: effect. An object is told apart by its device and inode number while somebody holds it.

use super::attributes;
use super::memory::{MemoryError, PagesWriter, Zeros};
use crux_image::tasks::{
    FileTime, Location, PAGE_SIZE, PageRun, SharedMemory, SharedMemoryIndex, SharedMemoryKind,
    UnlinkedFile, UnlinkedIndex, UnlinkedKind,
};
use rustix::fs::{FileType, SeekFrom};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Device (major, minor) and inode number.
pub(super) type Identity = ((u32, u32), u64);

/// The objects found so far, and where their data goes.
#[derive(Debug)]
pub struct Objects {
    pub(super) pages: PagesWriter,
    /// In the order in which they were found.
    pub(super) shared_memory: Vec<SharedMemory>,
    /// Likewise.
    pub(super) unlinked: Vec<UnlinkedFile>,
    shared: HashMap<Identity, SharedMemoryIndex>,
    files: HashMap<Identity, UnlinkedIndex>,
}

impl Objects {
    /// None yet; their data goes to `pages`.
    pub fn new(pages: PagesWriter) -> Self {
        Self {
            pages,
            shared_memory: Vec::new(),
            unlinked: Vec::new(),
            shared: HashMap::new(),
            files: HashMap::new(),
        }
    }

    /// The member that data goes to, and the tables.
    pub fn into_parts(self) -> (PagesWriter, Vec<SharedMemory>, Vec<UnlinkedFile>) {
        (self.pages, self.shared_memory, self.unlinked)
    }

    /// What was recorded of an object, if it was.
    pub(super) fn known(&self, identity: Identity) -> Option<SharedMemoryIndex> {
        self.shared.get(&identity).copied()
    }

    /// Records shared memory, unless it was.
    pub(super) fn shared_memory(
        &mut self,
        identity: Identity,
        kind: SharedMemoryKind,
        file: &File,
    ) -> Result<SharedMemoryIndex, MemoryError> {
        if let Some(index) = self.shared.get(&identity) {
            return Ok(*index);
        }
        let (size, pages) = self.data(file)?;
        let index = SharedMemoryIndex::from(self.shared_memory.len());
        self.shared_memory.push(SharedMemory { kind, size, pages });
        self.shared.insert(identity, index);
        Ok(index)
    }

    /// Records a file without a name, unless it was.
    pub(super) fn unlinked(
        &mut self,
        file: &File,
        (directory, name): (Location, Vec<u8>),
    ) -> Result<UnlinkedIndex, MemoryError> {
        let stat = rustix::fs::fstat(file).map_err(|errno| failed(errno.into()))?;
        let device = stat.st_dev;
        let numbers = (rustix::fs::major(device), rustix::fs::minor(device));
        let identity = (numbers, stat.st_ino);
        if let Some(index) = self.files.get(&identity) {
            return Ok(*index);
        }
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => UnlinkedKind::Directory,
            _ => UnlinkedKind::Regular,
        };
        let (size, pages) = match kind {
            UnlinkedKind::Regular => self.data(file)?,
            UnlinkedKind::Directory => (0, Vec::new()),
        };
        let attributes = attributes::read(file).map_err(|error| failed(error.errno().into()))?;
        let index = UnlinkedIndex::from(self.unlinked.len());
        self.unlinked.push(UnlinkedFile {
            directory,
            name,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size,
            pages,
            linked: None,
            kind,
            times: [
                time(stat.st_atime, stat.st_atime_nsec),
                time(stat.st_mtime, stat.st_mtime_nsec),
            ],
            attributes,
        });
        self.files.insert(identity, index);
        Ok(index)
    }

    /// Copies what is no hole. The last page is filled up with zeros.
    fn data(&mut self, file: &File) -> Result<(u64, Vec<PageRun>), MemoryError> {
        let size = file.metadata().map_err(failed)?.len();
        let (mut runs, mut at) = (Vec::new(), 0);
        let mut buffer = vec![0; super::memory::CHUNK];
        while at < size {
            let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
                Ok(data) => data / PAGE_SIZE * PAGE_SIZE,
                Err(Errno::NXIO) => break,
                Err(errno) => return Err(failed(errno.into())),
            };
            let hole = rustix::fs::seek(file, SeekFrom::Hole(data));
            let hole = hole.map_err(|errno| failed(errno.into()))?.min(size);
            for piece in super::memory::pieces(data..hole) {
                let length = (piece.end - piece.start) as usize;
                let whole = length.next_multiple_of(PAGE_SIZE as usize);
                buffer[length..whole].fill(0);
                file.read_exact_at(&mut buffer[..length], piece.start)
                    .map_err(failed)?;
                let bytes = &buffer[..whole];
                self.pages
                    .append(piece.start, bytes, Zeros::LeaveOut, &mut runs)?;
            }
            at = hole.max(data + 1).next_multiple_of(PAGE_SIZE);
        }
        Ok((size, runs))
    }
}

fn time(seconds: i64, nanoseconds: u64) -> FileTime {
    FileTime {
        seconds,
        nanoseconds: u32::try_from(nanoseconds).unwrap_or(0),
    }
}

fn failed(error: std::io::Error) -> MemoryError {
    MemoryError::Object(error)
}

//! From a mapping to an area of the record: what it shows, and with which flags.
//!
//! Kind: effect: it looks at the file that is mapped. What cannot be mapped again is an obstacle.

use super::error::MemoryError;
use super::smaps::Mapping;
use crate::tasks::objects::{Identity, Objects};
use crate::tasks::removed::{DELETED, home, other_name};
use crate::tasks::{Part, Places, Target, TaskCause, TaskObstacle};
use crux_image::mounts::NamespaceIndex;
use crux_image::path::RelPath;
use crux_image::tasks::{
    Area, AreaFlags, Backing, Location, Protection, SharedMemoryKind, Sharing,
};
use crux_mount::sys::{self, SysError};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};

/// Flags of mappings that cannot be made again, and what they are.
const REFUSED: [(&[u8; 2], &str); 6] = [
    (b"um", "userfaultfd"),
    (b"uw", "userfaultfd"),
    (b"ui", "userfaultfd"),
    (b"ss", "a shadow stack"),
    (b"sl", "sealed by mseal(2)"),
    (b"dp", "MAP_DROPPABLE"),
];

/// Where a mapped file is, or was: if it has no name any more, its directory and its former name.
struct Place {
    location: Location,
    home: Option<(Location, Vec<u8>)>,
}

/// Looks at the mappings of one process.
pub(super) struct Looker<'a> {
    pub(super) target: &'a Target,
    pub(super) namespace: Option<NamespaceIndex>,
    pub(super) places: &'a Places,
    pub(super) objects: &'a mut Objects,
    pub(super) obstacles: &'a mut Vec<TaskObstacle>,
    seen: HashMap<(Identity, Vec<u8>, Sharing, bool), Option<Backing>>,
}

impl<'a> Looker<'a> {
    pub(super) fn new(
        target: &'a Target,
        namespace: Option<NamespaceIndex>,
        places: &'a Places,
        objects: &'a mut Objects,
        obstacles: &'a mut Vec<TaskObstacle>,
    ) -> Self {
        Self {
            target,
            namespace,
            places,
            objects,
            obstacles,
            seen: HashMap::new(),
        }
    }

    /// The area, without its pages. None for what is everybody's (`[vsyscall]`), and for obstacles.
    pub(super) fn area(&mut self, mapping: &Mapping) -> Result<Option<Area>, MemoryError> {
        if mapping.name == b"[vsyscall]" {
            return Ok(None);
        }
        if let Some((_, what)) = REFUSED.iter().find(|(flag, _)| mapping.has(flag)) {
            let cause = TaskCause::Other(format!("is {what}, which cannot be dumped yet"));
            self.refuse(mapping, cause);
            return Ok(None);
        }
        let Some(backing) = self.backing(mapping)? else {
            return Ok(None);
        };
        let [read, write, execute, _] = mapping.permissions;
        let offset = match backing {
            Backing::File { .. } | Backing::SharedMemory(_) | Backing::Device(_) => mapping.offset,
            _ => 0,
        };
        Ok(Some(Area {
            start: mapping.start,
            end: mapping.end,
            protection: Protection {
                read: read == b'r',
                write: write == b'w',
                execute: execute == b'x',
            },
            sharing: sharing(mapping),
            backing,
            offset,
            flags: flags(mapping),
            name: name(&mapping.name),
            pages: Vec::new(),
        }))
    }

    fn backing(&mut self, mapping: &Mapping) -> Result<Option<Backing>, MemoryError> {
        let backing = match &mapping.name[..] {
            b"[vdso]" => Backing::Vdso,
            b"[vvar]" => Backing::Vvar,
            b"[vvar_vclock]" => Backing::VvarClock,
            b"" | b"[heap]" | b"[stack]" if !mapping.is_shared() => Backing::Anonymous,
            name if name.starts_with(b"[anon:") => Backing::Anonymous,
            b"/anon_hugepage (deleted)" if !mapping.is_shared() => Backing::Anonymous,
            _ => return self.file(mapping),
        };
        Ok(Some(backing))
    }

    fn file(&mut self, mapping: &Mapping) -> Result<Option<Backing>, MemoryError> {
        let identity = (mapping.device, mapping.inode);
        let writable = mapping.is_shared() && mapping.has(b"mw");
        let key = (identity, mapping.name.clone(), sharing(mapping), writable);
        if let Some(known) = self.seen.get(&key) {
            return Ok(known.clone());
        }
        let found = match shared_kind(mapping) {
            Some(kind) => self.shared(mapping, identity, kind)?,
            None => self.path(mapping, writable)?,
        };
        self.seen.insert(key, found.clone());
        Ok(found)
    }

    fn shared(
        &mut self,
        mapping: &Mapping,
        identity: Identity,
        mut kind: SharedMemoryKind,
    ) -> Result<Option<Backing>, MemoryError> {
        if let SharedMemoryKind::SystemV { id, .. } = kind {
            return self.segment(mapping, id);
        }
        if mapping.has(b"ht") {
            let cause = TaskCause::Other("is of huge pages that are shared".into());
            self.refuse(mapping, cause);
            return Ok(None);
        }
        let file = File::from(self.open(mapping, OFlags::RDONLY)?);
        complete(&mut kind, &file).map_err(|error| self.failed(error))?;
        let index = self.objects.shared_memory(identity, kind, &file)?;
        Ok(Some(Backing::SharedMemory(index)))
    }

    /// It was recorded with its ipc namespace.
    fn segment(&mut self, mapping: &Mapping, id: u32) -> Result<Option<Backing>, MemoryError> {
        let directory = self.target.directory.as_fd();
        let namespace = sys::open_process_namespace(directory, sys::NamespaceKind::Ipc);
        let namespace = namespace.and_then(|namespace| sys::statx(&namespace));
        let namespace = namespace.map_err(|error| self.failed(error))?.ino;
        let known = self
            .objects
            .known(crate::tasks::ipc::identity(namespace, id));
        if known.is_none() {
            let what =
                format!("is of the segment {id} of another ipc namespace than the container's");
            self.refuse(mapping, TaskCause::Other(what));
        }
        Ok(known.map(Backing::SharedMemory))
    }

    fn path(&mut self, mapping: &Mapping, writable: bool) -> Result<Option<Backing>, MemoryError> {
        if !mapping.name.starts_with(b"/") {
            self.refuse(mapping, TaskCause::Mapping(mapping.name.clone()));
            return Ok(None);
        }
        let Some(Place { location, home }) = self.place(mapping)? else {
            return Ok(None);
        };
        let Some(home) = home else {
            return Ok(Some(Backing::File {
                location,
                unlinked: None,
                writable,
            }));
        };
        let file = File::from(self.open(mapping, OFlags::RDONLY)?);
        let index = self.objects.unlinked(&file, home)?;
        Ok(Some(Backing::File {
            location,
            unlinked: Some(index),
            writable,
        }))
    }

    /// Where the file is. Its mount is known only to those who may follow `map_files`; for others the path
    /// has to do.
    fn place(&mut self, mapping: &Mapping) -> Result<Option<Place>, MemoryError> {
        let stripped = mapping.name.strip_suffix(DELETED);
        let opened = match self.open(mapping, OFlags::PATH) {
            Ok(opened) => Some(opened),
            Err(MemoryError::Process { error, .. })
                if matches!(error.errno(), Errno::PERM | Errno::ACCESS) =>
            {
                None
            }
            Err(error) => return Err(error),
        };
        let Some(opened) = opened else {
            let path = stripped.unwrap_or(&mapping.name);
            let namespace = self.namespace;
            let found = namespace.and_then(|namespace| self.places.resolve(namespace, path));
            let home = stripped.and(found.as_ref()).and_then(parent);
            return Ok(self.or_unplaced(mapping, found, home));
        };
        let stat = rustix::fs::fstat(&opened);
        let stat = stat.map_err(|errno| self.failed(SysError::new("fstat(map_files)", errno)))?;
        let mount = sys::statx(&opened)
            .map_err(|error| self.failed(error))?
            .mount;
        if !self.places.has(mount) {
            self.refuse(mapping, TaskCause::Outside(mapping.name.clone()));
            return Ok(None);
        }
        let (target, places) = (self.target, self.places);
        let (found, home) = match stripped {
            Some(stripped) if stat.st_nlink == 0 => {
                let home = home(target, places, mount, stripped);
                let found = places.locate(mount, stripped);
                (found.filter(|_| home.is_some()), home)
            }
            Some(stripped) => {
                let path = other_name(target, mount, stripped, stat.st_ino);
                (path.and_then(|path| places.locate(mount, &path)), None)
            }
            None => (places.locate(mount, &mapping.name), None),
        };
        Ok(self.or_unplaced(mapping, found, home))
    }

    fn or_unplaced(
        &mut self,
        mapping: &Mapping,
        found: Option<Location>,
        home: Option<(Location, Vec<u8>)>,
    ) -> Option<Place> {
        if found.is_none() {
            self.refuse(mapping, TaskCause::Unplaced(mapping.name.clone()));
        }
        found.map(|location| Place { location, home })
    }

    fn open(&self, mapping: &Mapping, flags: OFlags) -> Result<OwnedFd, MemoryError> {
        let name = format!("map_files/{:x}-{:x}", mapping.start, mapping.end);
        let flags = flags | OFlags::CLOEXEC;
        let opened = openat(self.target.directory.as_fd(), &name, flags, Mode::empty());
        opened.map_err(|errno| self.failed(SysError::new(format!("openat({name:?})"), errno)))
    }

    fn failed(&self, error: SysError) -> MemoryError {
        let pid = self.target.pid;
        MemoryError::Process { pid, error }
    }

    fn refuse(&mut self, mapping: &Mapping, cause: TaskCause) {
        let (pid, part) = (self.target.pid, Part::Area(mapping.start));
        self.obstacles.push(TaskObstacle { pid, part, cause });
    }
}

/// The directory and the name of what a location leads to; none for the root of a mount.
fn parent(location: &Location) -> Option<(Location, Vec<u8>)> {
    let name = location.path.components().next_back()?.to_vec();
    let length = location.path.as_bytes().len() - name.len();
    let above = location.path.as_bytes()[..length].strip_suffix(b"/");
    let directory = Location {
        path: RelPath::new(above.unwrap_or_default()).ok()?,
        ..location.clone()
    };
    Some((directory, name))
}

fn sharing(mapping: &Mapping) -> Sharing {
    match mapping.is_shared() {
        true => Sharing::Shared,
        false => Sharing::Private,
    }
}

/// Shared memory by its name in smaps. What the file has to be asked for is completed later.
fn shared_kind(mapping: &Mapping) -> Option<SharedMemoryKind> {
    let name = mapping.name.strip_suffix(DELETED).unwrap_or(&mapping.name);
    if name.starts_with(b"[anon_shmem:") || name == b"/dev/zero" && mapping.name != name {
        return Some(SharedMemoryKind::Anonymous);
    }
    if let Some(name) = name.strip_prefix(b"/memfd:") {
        return Some(memfd(name));
    }
    let key = name.strip_prefix(b"/SYSV").filter(|key| key.len() == 8)?;
    let key = u32::from_str_radix(std::str::from_utf8(key).ok()?, 16).ok()?;
    Some(SharedMemoryKind::SystemV {
        id: u32::try_from(mapping.inode).ok()?,
        key,
        uid: 0,
        gid: 0,
        mode: 0,
        destroyed: false,
    })
}

/// A memfd of which only the name is known yet.
pub(in crate::tasks) fn memfd(name: &[u8]) -> SharedMemoryKind {
    SharedMemoryKind::Memfd {
        name: name.to_vec(),
        seals: 0,
        mode: 0,
        huge_page_size: 0,
    }
}

/// Adds what only the file tells.
pub(in crate::tasks) fn complete(kind: &mut SharedMemoryKind, file: &File) -> Result<(), SysError> {
    let stat =
        || rustix::fs::fstat(file).map_err(|errno| SysError::new("fstat(shared memory)", errno));
    match kind {
        SharedMemoryKind::Anonymous | SharedMemoryKind::SystemV { .. } => {}
        SharedMemoryKind::Memfd { seals, mode, .. } => {
            let found = rustix::fs::fcntl_get_seals(file);
            let found = found.map_err(|errno| SysError::new("fcntl(F_GET_SEALS)", errno))?;
            (*seals, *mode) = (found.bits(), stat()?.st_mode & 0o7777);
        }
    }
    Ok(())
}

fn name(shown: &[u8]) -> Option<Vec<u8>> {
    let inner = shown
        .strip_prefix(b"[anon:")
        .or_else(|| shown.strip_prefix(b"[anon_shmem:"))?;
    Some(inner.strip_suffix(b"]").unwrap_or(inner).to_vec())
}

fn flags(mapping: &Mapping) -> AreaFlags {
    AreaFlags {
        grows_down: mapping.has(b"gd"),
        locked: mapping.has(b"lo"),
        lock_on_fault: mapping.has(b"lf"),
        no_reserve: mapping.has(b"nr"),
        huge_page_size: match mapping.has(b"ht") {
            true => mapping.page_size,
            false => 0,
        },
        huge_page: mapping.has(b"hg"),
        no_huge_page: mapping.has(b"nh"),
        dont_fork: mapping.has(b"dc"),
        // The kernel sets it on its own mappings.
        dont_dump: mapping.has(b"dd") && !mapping.name.starts_with(b"[v"),
        wipe_on_fork: mapping.has(b"wf"),
        mergeable: mapping.has(b"mg"),
        sequential: mapping.has(b"sr"),
        random: mapping.has(b"rr"),
    }
}

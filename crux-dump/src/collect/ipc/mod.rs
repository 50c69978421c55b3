//! What the ipc namespaces of the container hold (sysvipc(7)).
//!
//! Kind: effect. The collector goes into each, and back, while the tasks stand still. It takes nothing
//! and changes nothing but when, and by whom, a segment was attached last: only who has a segment mapped can
//! open it as the file that it is.

mod sys;

use super::machine::Machine;
use super::process::{self, Process};
use super::{DumpError, capabilities};
use crux_image::tasks::IpcLimits;
use crux_mount::sys::{NamespaceKind, SysError, open_process_namespace, setns};
use rustix::fs::{CWD, Mode, OFlags, fstatfs, openat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use sys::{Kind, Status};

/// One namespace, as the collector sees it. The segments' files come along, in their order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SeenIpc {
    /// Its inode number.
    pub(crate) namespace: u64,
    pub(crate) limits: IpcLimits,
    pub(crate) semaphores: Vec<SeenSemaphores>,
    pub(crate) queues: Vec<SeenMessages>,
    pub(crate) segments: Vec<SeenSegment>,
}

/// `struct ipc64_perm`, with an id.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct SeenObject {
    pub(crate) id: u32,
    pub(crate) key: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) creator_uid: u32,
    pub(crate) creator_gid: u32,
    pub(crate) mode: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SeenSemaphores {
    pub(crate) object: SeenObject,
    /// Each with the process that has changed it last.
    pub(crate) values: Vec<(u16, u32)>,
    /// Whether somebody ever has.
    pub(crate) used: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SeenMessages {
    pub(crate) object: SeenObject,
    pub(crate) bytes: u64,
    pub(crate) messages: Vec<(i64, Vec<u8>)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SeenSegment {
    pub(crate) object: SeenObject,
    /// It is of hugetlbfs's pages.
    pub(crate) huge: bool,
}

const SHM_DEST: u32 = 0o1000;
const SHM_LOCKED: u32 = 0o2000;

impl SeenSegment {
    pub(crate) fn is_destroyed(&self) -> bool {
        self.object.mode & SHM_DEST != 0
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.object.mode & SHM_LOCKED != 0
    }
}

/// Reads all ipc namespaces of a process and its descendants but the dumper's own.
pub(crate) fn read(pid: u32) -> Result<(Vec<SeenIpc>, Vec<OwnedFd>), DumpError> {
    let own = Process::open(std::process::id())?;
    let fail = |pid: u32| move |error| DumpError::Process { pid, error };
    let home = open_process_namespace(own.directory(), NamespaceKind::Ipc);
    let home = home.map_err(fail(own.pid))?;
    let machine = Machine::scan()?;
    let descendants = machine.descendants(pid, &HashSet::new())?;
    let descendants = descendants.into_iter().map(|(pid, _)| pid);
    let mut known = HashSet::from([own.ipc]);
    let (mut seen, mut files) = (Vec::new(), Vec::new());
    for pid in std::iter::once(pid).chain(descendants) {
        let process = match Process::open(pid) {
            Ok(process) => process,
            Err(DumpError::NoProcess(_) | DumpError::Zombie(_)) => continue,
            Err(error) => return Err(error),
        };
        if !known.insert(process.ipc) {
            continue;
        }
        capabilities::check_ipc()?;
        let there = open_process_namespace(process.directory(), NamespaceKind::Ipc);
        let there = there.map_err(fail(pid))?;
        let id = process::identity(&there).map_err(fail(pid))?;
        setns(&there, NamespaceKind::Ipc).map_err(fail(pid))?;
        let found = look(id.0, &mut files);
        // What is read otherwise might be the container's.
        setns(&home, NamespaceKind::Ipc).map_err(fail(own.pid))?;
        seen.push(found.map_err(fail(pid))?);
    }
    Ok((seen, files))
}

fn look(namespace: u64, files: &mut Vec<OwnedFd>) -> Result<SeenIpc, SysError> {
    let mut seen = SeenIpc {
        namespace,
        limits: limits()?,
        semaphores: Vec::new(),
        queues: Vec::new(),
        segments: Vec::new(),
    };
    each(Kind::Semaphores, |id, status| {
        let count = status[10] as usize;
        let values = sys::values(id, count)?;
        let both = values.into_iter().enumerate();
        let both = both.map(|(at, value)| Ok((value, sys::last_process(id, at)?)));
        seen.semaphores.push(SeenSemaphores {
            object: object(id, status),
            values: both.collect::<Result<_, SysError>>()?,
            used: status[6] != 0,
        });
        Ok(())
    })?;
    each(Kind::Queues, |id, status| {
        let most = status[9] as usize;
        let mut messages = Vec::new();
        while let Some(message) = sys::copy_message(id, messages.len(), most)? {
            messages.push(message);
        }
        seen.queues.push(SeenMessages {
            object: object(id, status),
            bytes: status[11],
            messages,
        });
        Ok(())
    })?;
    each(Kind::Segments, |id, status| {
        let file = open_segment(id)?;
        let kind = fstatfs(&file).map_err(|errno| SysError::new("fstatfs(a segment)", errno))?;
        seen.segments.push(SeenSegment {
            object: object(id, status),
            huge: kind.f_type as u64 == HUGETLBFS,
        });
        files.push(file);
        Ok(())
    })?;
    Ok(seen)
}

/// `HUGETLBFS_MAGIC`.
const HUGETLBFS: u64 = 0x9584_58f6;

fn each(
    kind: Kind,
    mut found: impl FnMut(i32, &Status) -> Result<(), SysError>,
) -> Result<(), SysError> {
    for index in 0..=sys::highest(kind)? {
        if let Some((id, status)) = sys::status(kind, index)? {
            found(id, &status)?;
        }
    }
    Ok(())
}

/// All three structures begin with `struct ipc64_perm`: key, uid; gid, cuid; cgid, mode.
fn object(id: i32, status: &Status) -> SeenObject {
    let low = |at: usize| status[at] as u32;
    let high = |at: usize| (status[at] >> 32) as u32;
    SeenObject {
        id: id as u32,
        key: low(0),
        uid: high(0),
        gid: low(1),
        creator_uid: high(1),
        creator_gid: low(2),
        mode: high(2),
    }
}

/// A segment as a file: by way of a mapping, which goes again.
fn open_segment(id: i32) -> Result<OwnedFd, SysError> {
    let address = sys::attach(id)?;
    let opened = open_mapped(address);
    sys::detach(address)?;
    opened
}

fn open_mapped(address: usize) -> Result<OwnedFd, SysError> {
    let wanted = format!("{address:x}-");
    let directory = "/proc/self/map_files";
    let failed = |call: &str, errno| SysError::new(call.to_owned(), errno);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(CWD, directory, flags, Mode::empty());
    let opened = opened.map_err(|errno| failed("open(\"/proc/self/map_files\")", errno))?;
    let names = rustix::fs::Dir::read_from(&opened);
    for name in names.map_err(|errno| failed("getdents64(\"/proc/self/map_files\")", errno))? {
        let name = name.map_err(|errno| failed("getdents64(\"/proc/self/map_files\")", errno))?;
        let name = name.file_name();
        if name.to_bytes().starts_with(wanted.as_bytes()) {
            let file = openat(
                opened.as_fd(),
                name,
                OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
            );
            return file.map_err(|errno| {
                SysError::new(
                    format!("openat(\"map_files/{}\")", name.to_string_lossy()),
                    errno,
                )
            });
        }
    }
    Err(failed(
        "find a segment in /proc/self/map_files",
        Errno::NOENT,
    ))
}

fn limits() -> Result<IpcLimits, SysError> {
    let one = |name: &str| numbers::<1>(name).map(|[value]| value);
    let mqueue = |name: &str| match one(&format!("fs/mqueue/{name}")) {
        // A kernel without CONFIG_POSIX_MQUEUE.
        Err(error) if error.errno() == Errno::NOENT => Ok(0),
        other => other,
    };
    Ok(IpcLimits {
        shmmax: one("kernel/shmmax")?,
        shmall: one("kernel/shmall")?,
        shmmni: one("kernel/shmmni")?,
        shm_rmid_forced: one("kernel/shm_rmid_forced")?,
        msgmax: one("kernel/msgmax")?,
        msgmnb: one("kernel/msgmnb")?,
        msgmni: one("kernel/msgmni")?,
        sem: numbers("kernel/sem")?,
        mqueue: [
            mqueue("queues_max")?,
            mqueue("msg_max")?,
            mqueue("msgsize_max")?,
            mqueue("msg_default")?,
            mqueue("msgsize_default")?,
        ],
    })
}

/// A sysctl of the namespace that this process is in.
fn numbers<const COUNT: usize>(name: &str) -> Result<[u64; COUNT], SysError> {
    let path = format!("/proc/sys/{name}");
    let opened = openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let failed = |errno| SysError::new(format!("read({path:?})"), errno);
    let mut text = String::new();
    let read = File::from(opened.map_err(failed)?).read_to_string(&mut text);
    read.map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    let words = text.split_ascii_whitespace().map(|word| word.parse().ok());
    let found: Option<Vec<u64>> = words.collect();
    found
        .and_then(|found| found.try_into().ok())
        .ok_or_else(|| failed(Errno::INVAL))
}

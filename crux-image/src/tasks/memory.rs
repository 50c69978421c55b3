//! Memory: address spaces, their areas, and where the pages are.
//!
//! Kind: pure. Pages are in `pages.raw`, without a header, each at a multiple of
//! [`PAGE_SIZE`]. A page that no run names is what a new mapping has there: zero, or
//! what the file has.

use super::{FileIndex, Location, SharedMemoryIndex, UnlinkedIndex};
use serde::{Deserialize, Serialize};

/// Bytes of a page.
pub const PAGE_SIZE: u64 = 4096;

/// What a process sees (proc(5): `maps`, `smaps`, `stat`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressSpace {
    /// Where the parts of the program are.
    pub layout: MemoryLayout,
    /// `/proc/PID/auxv`.
    pub auxv: Vec<u8>,
    /// The program (`/proc/PID/exe`).
    pub exe: Location,
    /// Set if the program's file has no name any more.
    pub exe_unlinked: Option<UnlinkedIndex>,
    /// The mappings, by address, without overlap.
    pub areas: Vec<Area>,
    /// The vDSO that it was linked against; none if it has unmapped it.
    pub vdso: Option<VdsoImage>,
}

/// prctl(2), `struct prctl_mm_map`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names of prctl(2)")]
pub struct MemoryLayout {
    pub start_code: u64,
    pub end_code: u64,
    pub start_data: u64,
    pub end_data: u64,
    pub start_brk: u64,
    pub brk: u64,
    pub start_stack: u64,
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
}

/// The code that the kernel maps into every process, for a look at another kernel's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VdsoImage {
    /// Where it is.
    pub address: u64,
    /// Its bytes, as the kernel had them: a few pages.
    pub bytes: Vec<u8>,
}

/// A mapping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Area {
    /// The first address.
    pub start: u64,
    /// The first address behind it.
    pub end: u64,
    /// mprotect(2).
    pub protection: Protection,
    /// Whether others see what is written.
    pub sharing: Sharing,
    /// What is mapped.
    pub backing: Backing,
    /// Where in that, in bytes.
    pub offset: u64,
    /// madvise(2) and others.
    pub flags: AreaFlags,
    /// `PR_SET_VMA_ANON_NAME`.
    pub name: Option<Vec<u8>>,
    /// The pages that are its own, by address, without overlap. None where it is shared.
    pub pages: Vec<PageRun>,
}

/// Pages in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRun {
    /// The first address; of shared memory, the offset in it.
    pub start: u64,
    /// How many pages.
    pub count: u64,
    /// What is in them.
    pub source: PageSource,
}

/// Where the contents of pages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PageSource {
    /// In `pages.raw`, at this offset in bytes, a multiple of [`PAGE_SIZE`].
    Data(u64),
    /// They are the parent process's at the same addresses: fork(2) shared them, and
    /// nobody has written since.
    Parent,
}

/// `PROT_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names of mmap(2)")]
pub struct Protection {
    pub read: bool,
    pub write: bool,
    pub execute: bool,
}

/// `MAP_PRIVATE` or `MAP_SHARED`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names of mmap(2)")]
pub enum Sharing {
    Private,
    Shared,
}

/// What is mapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backing {
    /// Nothing: private memory.
    Anonymous,
    /// A file with a path.
    File {
        /// Where it is.
        location: Location,
        /// Set if it has no name any more.
        unlinked: Option<UnlinkedIndex>,
        /// Whether it was opened for writing (a shared mapping that may become writable).
        writable: bool,
    },
    /// Memory that others share.
    SharedMemory(SharedMemoryIndex),
    /// An open file that is one of the container's devices: mapped through its description.
    Device(FileIndex),
    /// The vDSO's code.
    Vdso,
    /// The kernel's data of the vDSO (`[vvar]`).
    Vvar,
    /// The same (`[vvar_vclock]`, since Linux 6.13).
    VvarClock,
}

/// `VmFlags` of `/proc/PID/smaps`, as far as they are not in the other fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AreaFlags {
    /// `gd`: a stack (`MAP_GROWSDOWN`).
    pub grows_down: bool,
    /// `lo`: mlock(2).
    pub locked: bool,
    /// `lf`: `MLOCK_ONFAULT`.
    pub lock_on_fault: bool,
    /// `nr`: `MAP_NORESERVE`.
    pub no_reserve: bool,
    /// `ht`: huge pages of hugetlbfs, of this many bytes; 0 for none.
    pub huge_page_size: u64,
    /// `hg`: `MADV_HUGEPAGE`.
    pub huge_page: bool,
    /// `nh`: `MADV_NOHUGEPAGE`.
    pub no_huge_page: bool,
    /// `dc`: `MADV_DONTFORK`.
    pub dont_fork: bool,
    /// `dd`: `MADV_DONTDUMP`.
    pub dont_dump: bool,
    /// `wf`: `MADV_WIPEONFORK`.
    pub wipe_on_fork: bool,
    /// `mg`: `MADV_MERGEABLE`.
    pub mergeable: bool,
    /// `sr`: `MADV_SEQUENTIAL`.
    pub sequential: bool,
    /// `rr`: `MADV_RANDOM`.
    pub random: bool,
}

/// Memory that several areas, processes or descriptors share, and that has no path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedMemory {
    /// How it came to be.
    pub kind: SharedMemoryKind,
    /// Bytes.
    pub size: u64,
    /// Its pages: `start` is an offset, the source is data.
    pub pages: Vec<PageRun>,
}

/// How shared memory came to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SharedMemoryKind {
    /// mmap(2) with `MAP_SHARED|MAP_ANONYMOUS`.
    Anonymous,
    /// memfd_create(2).
    Memfd {
        /// Its name.
        name: Vec<u8>,
        /// `F_SEAL_*`.
        seals: u32,
        /// Mode bits of the file.
        mode: u32,
        /// Bytes of a huge page; 0 for none.
        huge_page_size: u64,
    },
    /// shmget(2).
    SystemV {
        /// Its id, which the restored one has as well.
        id: u32,
        /// Its key; 0 is `IPC_PRIVATE`.
        key: u32,
        /// Owner.
        uid: u32,
        /// Owner.
        gid: u32,
        /// Mode bits.
        mode: u32,
        /// It is to go when nobody maps it any more (`SHM_DEST`).
        destroyed: bool,
    },
}

//! Where the data of a sparse file are.
//!
//! Kind: effect.

use super::sys::resident;
use rustix::fs::{SeekFrom, StatFs, seek};
use rustix::io::Errno;
use std::os::fd::BorrowedFd;

/// Who knows where the holes of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holes {
    /// lseek(2) says (tmpfs).
    Sought,
    /// KERNEL: ramfs calls all of a file data. What is not in its page cache is a
    /// hole, and reading it would fill it.
    Resident,
}

/// Why a search failed: the call, and the cause.
pub(super) type Failed = (&'static str, Errno);

const RAMFS_MAGIC: i64 = 0x8584_58f6;

/// How many pages are looked at in one call.
const WINDOW: usize = 4096;

impl Holes {
    pub(super) fn of(file_system: &StatFs) -> Self {
        match file_system.f_type {
            RAMFS_MAGIC => Self::Resident,
            _ => Self::Sought,
        }
    }

    /// The first data at or after `at` in a file of `size` bytes: begin and end.
    pub(super) fn next_data(
        self,
        file: BorrowedFd<'_>,
        at: u64,
        size: u64,
    ) -> Result<Option<(u64, u64)>, Failed> {
        match self {
            Self::Sought => sought(file, at, size),
            Self::Resident => in_memory(file, at, size).map_err(|e| ("mincore()", e)),
        }
    }
}

fn sought(file: BorrowedFd<'_>, at: u64, size: u64) -> Result<Option<(u64, u64)>, Failed> {
    let begin = match seek(file, SeekFrom::Data(at)) {
        Ok(begin) if begin < size => begin,
        Ok(_) | Err(Errno::NXIO) => return Ok(None),
        Err(errno) => return Err(("lseek(SEEK_DATA)", errno)),
    };
    let end = seek(file, SeekFrom::Hole(begin)).map_err(|e| ("lseek(SEEK_HOLE)", e))?;
    Ok(Some((begin, end.min(size))))
}

/// `at` is the beginning of a page, as the ends of what this returns are.
fn in_memory(file: BorrowedFd<'_>, at: u64, size: u64) -> Result<Option<(u64, u64)>, Errno> {
    let Some(begin) = find(file, at, size, Page::Present)? else {
        return Ok(None);
    };
    let end = find(file, begin, size, Page::Absent)?;
    Ok(Some((begin, end.unwrap_or(size))))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Present,
    Absent,
}

fn find(file: BorrowedFd<'_>, at: u64, size: u64, wanted: Page) -> Result<Option<u64>, Errno> {
    let page_size = rustix::param::page_size() as u64;
    let mut window = vec![0; WINDOW];
    let mut at = at;
    while at < size {
        let count = (size - at).div_ceil(page_size).min(WINDOW as u64) as usize;
        let pages = &mut window[..count];
        resident(file, at, pages)?;
        let is_wanted = |&page: &u8| (page & 1 == 1) == (wanted == Page::Present);
        if let Some(found) = pages.iter().position(is_wanted) {
            return Ok(Some(at + found as u64 * page_size));
        }
        at += count as u64 * page_size;
    }
    Ok(None)
}

//! The system calls that rustix lacks, or has not without unsafe code.
//!
//! Kind: effect.
#![allow(unsafe_code)]

use rustix::io::Errno;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Says for each page of a file from `offset`, a multiple of the page size, whether it
/// is in memory (bit 0; mincore(2)). Nothing is read in.
pub(super) fn resident(file: BorrowedFd<'_>, offset: u64, pages: &mut [u8]) -> Result<(), Errno> {
    let length = pages.len() * rustix::param::page_size();
    let offset = libc::off_t::try_from(offset).map_err(|_| Errno::OVERFLOW)?;
    let (protection, fd) = (libc::PROT_READ, file.as_raw_fd());
    // SAFETY: a new mapping at an address of the kernel's choice, which nothing in this
    // process refers to; the descriptor is borrowed for longer than the call.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            protection,
            libc::MAP_SHARED,
            fd,
            offset,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(last_error());
    }
    // SAFETY: the range is the mapping just made, whole; the kernel writes one byte for
    // each of its pages into `pages`, which has that many and is borrowed mutably.
    let result = match unsafe { libc::mincore(address, length, pages.as_mut_ptr()) } {
        0 => Ok(()),
        _ => Err(last_error()),
    };
    // SAFETY: the range is the mapping made above, owned by this function; nothing read
    // through it and no reference to it exists.
    unsafe { libc::munmap(address, length) };
    result
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

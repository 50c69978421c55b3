//! The system calls for memory that need unsafe code.
//!
//! Kind: effect.
#![allow(unsafe_code)]

use crux_mount::sys::SysError;
use rustix::io::Errno;
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd as _;

/// Reads memory of another process into `buffer`, as much as is there in one piece (process_vm_readv(2)).
/// `EFAULT` where the first byte cannot be read.
pub(crate) fn read_memory(pid: u32, from: u64, buffer: &mut [u8]) -> Result<usize, SysError> {
    let local = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let remote = libc::iovec {
        iov_base: from as *mut libc::c_void,
        iov_len: buffer.len(),
    };
    // SAFETY: `local` describes `buffer`, which is borrowed for the call and to which alone the kernel
    // writes; `remote` is an address of another process, which the kernel checks.
    let result = unsafe { libc::process_vm_readv(pid as libc::pid_t, &local, 1, &remote, 1, 0) };
    usize::try_from(result).map_err(|_| {
        let errno = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO);
        SysError::new(
            format!("process_vm_readv({pid}, {from:#x}, {})", buffer.len()),
            errno,
        )
    })
}

/// Reads several ranges of another process's memory, one behind the other, into `buffer`, as far as they are there. At most
/// `IOV_MAX` (1024) of them.
pub(crate) fn read_ranges(
    pid: u32,
    ranges: &[Range<u64>],
    buffer: &mut [u8],
) -> Result<usize, SysError> {
    let local = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let remote = ranges.iter().map(|range| libc::iovec {
        iov_base: range.start as *mut libc::c_void,
        iov_len: (range.end - range.start) as usize,
    });
    let remote: Vec<libc::iovec> = remote.collect();
    let (pid, count) = (pid as libc::pid_t, remote.len() as libc::c_ulong);
    // SAFETY: `local` describes `buffer`, which is borrowed for the call and to which alone the kernel
    // writes; `remote` are addresses of another process, which the kernel checks, in a list that lives as long.
    let result = unsafe { libc::process_vm_readv(pid, &local, 1, remote.as_ptr(), count, 0) };
    usize::try_from(result).map_err(|_| {
        let errno = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO);
        SysError::new(format!("process_vm_readv({pid}, {count} ranges)"), errno)
    })
}

/// `struct page_region` of linux/fs.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PageRegion {
    /// The first address.
    pub(crate) start: u64,
    /// The first address behind it.
    pub(crate) end: u64,
    categories: u64,
}

/// `struct pm_scan_arg` of linux/fs.h.
#[repr(C)]
#[derive(Debug, Default)]
struct PmScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

const PAGEMAP_SCAN: libc::Ioctl = crux_mount::sys::PAGEMAP_SCAN as libc::Ioctl;
const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
const PAGE_IS_PFNZERO: u64 = 1 << 5;

/// The parts of `range` whose pages are there (or swapped out), and are neither a file's nor the zero page: how
/// many regions, and how far the kernel came (`PAGEMAP_SCAN`; `ENOTTY` before Linux 6.7).
pub(crate) fn pagemap_scan(
    pagemap: &File,
    range: Range<u64>,
    regions: &mut [PageRegion],
) -> Result<(usize, u64), SysError> {
    let mut argument = PmScanArg {
        size: size_of::<PmScanArg>() as u64,
        start: range.start,
        end: range.end,
        vec: regions.as_mut_ptr() as u64,
        vec_len: regions.len() as u64,
        category_inverted: PAGE_IS_FILE | PAGE_IS_PFNZERO,
        category_mask: PAGE_IS_FILE | PAGE_IS_PFNZERO,
        category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
        return_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
        ..PmScanArg::default()
    };
    // SAFETY: `argument` lives until the call returns, is of the size that it says, and the kernel writes
    // to it and to at most `vec_len` elements of `regions`, which is borrowed for as long.
    let result = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN, &raw mut argument) };
    let count = usize::try_from(result).map_err(|_| {
        let errno = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO);
        let Range { start, end } = range;
        SysError::new(format!("ioctl(PAGEMAP_SCAN, {start:#x}-{end:#x})"), errno)
    })?;
    Ok((count, argument.walk_end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_layout() {
        assert_eq!((size_of::<PageRegion>(), size_of::<PmScanArg>()), (24, 96));
        assert_eq!(std::mem::offset_of!(PmScanArg, walk_end), 32);
        assert_eq!(std::mem::offset_of!(PmScanArg, return_mask), 88);
    }
}

//! The system calls of this crate that need unsafe code.
//!
//! Kind: effect.
#![allow(unsafe_code)]

use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};

/// Closes every descriptor from `first` on but `kept` (close_range(2)). For the child of a
/// fork that never returns to its parent's frames: nothing that these
/// descriptors belonged to is used or dropped after.
pub(crate) fn close_all_but(first: u32, kept: BorrowedFd<'_>) -> Result<(), Errno> {
    let kept = kept.as_raw_fd() as u32;
    if kept > first {
        close_range(first, kept - 1)?;
    }
    close_range(first.max(kept + 1), u32::MAX)
}

/// Closes every descriptor from `first` on but `kept`. For the beginning of a program, before it has any others.
pub(crate) fn close_from_but(first: u32, kept: &[OwnedFd]) -> Result<(), Errno> {
    let mut numbers: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd() as u32).collect();
    numbers.sort_unstable();
    let mut next = first;
    for number in numbers {
        if number > next {
            close_range(next, number - 1)?;
        }
        next = next.max(number + 1);
    }
    close_range(next, u32::MAX)
}

fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: no memory is passed. The caller vouches that no owner of a closed descriptor acts on it again.
    let result = unsafe { libc::close_range(first, last, 0) };
    match result {
        0 => Ok(()),
        _ => match Errno::from_io_error(&std::io::Error::last_os_error()) {
            Some(Errno::NOSYS) => close_listed(first, last),
            other => Err(other.unwrap_or(Errno::IO)),
        },
    }
}

/// For where there is no close_range(2): the kernel's list of what is open. A role that Landlock
/// lets read no list closes each that can be open, by number: it was started by a process that
/// had closed what it was given.
fn close_listed(first: u32, last: u32) -> Result<(), Errno> {
    let open: Vec<u32> = match std::fs::read_dir("/proc/self/fd") {
        Ok(list) => {
            let names = list.flatten().map(|entry| entry.file_name());
            names
                .filter_map(|name| name.to_str()?.parse().ok())
                .collect()
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            use rustix::process::{Resource, getrlimit};
            let limit = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
            (0..limit.min(1 << 20) as u32).collect()
        }
        Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    };
    for number in open.into_iter().filter(|it| (first..=last).contains(it)) {
        // SAFETY: as above. One that has been closed since (that of the list) is EBADF.
        unsafe { libc::close(number as i32) };
    }
    Ok(())
}

/// `struct landlock_ruleset_attr`. An older kernel takes the longer struct where what it does not
/// know is zero.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ruleset {
    pub(crate) handled_access_fs: u64,
    pub(crate) handled_access_net: u64,
    pub(crate) scoped: u64,
}

/// `struct landlock_path_beneath_attr`, which is packed.
#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: i32,
}

/// Which Landlock the kernel has.
pub(crate) fn landlock_abi() -> Result<i32, Errno> {
    const VERSION: libc::c_long = 1;
    let nothing: *const Ruleset = std::ptr::null();
    // SAFETY: with this flag the kernel reads and writes no memory; the pointer has to be null.
    let result =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0usize, VERSION) };
    checked(result).map(|abi| abi as i32)
}

/// Puts a ruleset with these rules (a directory, and what is allowed beneath it) in force
/// for this thread and whatever it makes. Says which call failed.
pub(crate) fn landlock_restrict<'a>(
    ruleset: &Ruleset,
    rules: impl IntoIterator<Item = (BorrowedFd<'a>, u64)>,
) -> Result<(), (&'static str, Errno)> {
    let (size, none) = (size_of::<Ruleset>(), 0 as libc::c_long);
    let attributes: *const Ruleset = ruleset;
    // SAFETY: the struct is borrowed for the call and has the size that is given; the kernel only reads it.
    let made = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, attributes, size, none) };
    let made = checked(made).map_err(|errno| ("landlock_create_ruleset", errno))?;
    // SAFETY: the kernel made this descriptor for us, close-on-exec, and nobody else has its number.
    let made = unsafe { OwnedFd::from_raw_fd(made as i32) };
    for (directory, allowed_access) in rules {
        const PATH_BENEATH: libc::c_long = 1;
        let rule = PathBeneath {
            allowed_access,
            parent_fd: directory.as_raw_fd(),
        };
        let rule: *const PathBeneath = &rule;
        let fd = made.as_raw_fd();
        // SAFETY: the struct lives until the call is over, and the kernel only reads it; both
        // descriptors are borrowed for longer.
        let added =
            unsafe { libc::syscall(libc::SYS_landlock_add_rule, fd, PATH_BENEATH, rule, none) };
        checked(added).map_err(|errno| ("landlock_add_rule", errno))?;
    }
    // SAFETY: no memory is passed, and the descriptor is owned for longer than the call.
    let restricted =
        unsafe { libc::syscall(libc::SYS_landlock_restrict_self, made.as_raw_fd(), none) };
    checked(restricted).map_err(|errno| ("landlock_restrict_self", errno))?;
    Ok(())
}

fn checked(result: libc::c_long) -> Result<libc::c_long, Errno> {
    match result {
        0.. => Ok(result),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    /// linux/landlock.h
    #[test]
    fn structs_are_laid_out_as_the_kernel_has_them() {
        assert_eq!(
            (size_of::<Ruleset>(), offset_of!(Ruleset, scoped)),
            (24, 16)
        );
        let parent = offset_of!(PathBeneath, parent_fd);
        assert_eq!((size_of::<PathBeneath>(), parent), (12, 8));
    }
}

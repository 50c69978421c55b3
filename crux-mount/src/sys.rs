//! System calls of mounts, as thin safe wrappers.
//!
//! Kind: effect, and the only place of this crate with `unsafe` code. Each function is
//! one call (where it is more, its comment says so) on descriptors that the caller gives. They decide
//! nothing, but they force what hardening wants: close-on-exec always, no symlinks, never a
//! path where a descriptor can serve. What rustix has is called through rustix and
//! lives in the modules below; what it has not is here.

#![allow(unsafe_code)]

mod bpf;
mod error;
mod filesystem;
mod namespace;
mod probe;
mod process;
mod queue;
mod resolve;
mod stat;
mod statmount;
mod tree;

pub use crate::ids::{MountId, MountNsId, UniqueMountId};
pub use bpf::{
    BPF_CHANGES, BPF_LOOKS, BPF_PROG_LOAD, BpfAttached, BpfInfo, BpfLoad, bpf_attach, bpf_attached,
    bpf_detach, bpf_info, bpf_load,
};
pub use error::SysError;
pub use filesystem::{
    fsconfig_create, fsconfig_fd, fsconfig_flag, fsconfig_reconfigure, fsconfig_string, fsmount,
    fsopen, fspick,
};
pub use namespace::{
    NamespaceKind, chroot_dot, fchdir, is_locked_in_place, pivot_root_dot, setns,
    umount_dot_detach, umount_file_detach,
};
pub use probe::{MoveMountFlag, knows_move_mount_flag, knows_openat2};
pub use process::{open_process_file, open_process_namespace, open_process_root, proc_is_procfs};
pub use queue::{QueueAttributes, mq_attributes, mq_create};
pub use resolve::{Open, clone_beneath, open_beneath, open_on, walk_across};
pub use stat::{FileStat, file_kind, kind_of, statx, unique_mount_id};
pub use statmount::{StatMask, StatMount, list_mounts, stat_mount};
pub use tree::{
    move_mount, move_mount_set_group, open_tree, open_tree_clone, open_tree_clone_recursive,
};

use error::call;
use linux_raw_sys::general::{__NR_listmount, __NR_mount_setattr, __NR_statmount};
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::{CapabilitiesSecureBits, UnshareFlags};
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};

/// `struct mnt_id_req` in the size that Linux 6.11 gave it (statmount(2)).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct MntIdReq {
    size: u32,
    spare: u32,
    mnt_id: u64,
    param: u64,
    mnt_ns_id: u64,
}

/// `struct mount_attr` (mount_setattr(2)).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Sets and clears attributes of the mount whose root is `fd`, and of no other (mount_setattr(2)). `set` and
/// `clear` are `MOUNT_ATTR_*`, `propagation` is one of `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`,
/// `MS_UNBINDABLE` or 0. With `userns` the mount gets that user namespace's id-map
/// (`MOUNT_ATTR_IDMAP` is added), which the kernel accepts on a detached mount only.
/// One set of atime flags replaces another only when `clear` has `MOUNT_ATTR__ATIME`.
pub fn mount_setattr(
    fd: BorrowedFd<'_>,
    set: u64,
    clear: u64,
    propagation: u64,
    userns: Option<BorrowedFd<'_>>,
) -> Result<(), SysError> {
    setattr(fd, libc::AT_EMPTY_PATH, set, clear, propagation, userns)
}

/// Like [`mount_setattr`], for the mount and everything that is mounted beneath it
/// (`AT_RECURSIVE`): all of them or, on an error, none.
pub fn mount_setattr_recursive(
    fd: BorrowedFd<'_>,
    set: u64,
    clear: u64,
    propagation: u64,
    userns: Option<BorrowedFd<'_>>,
) -> Result<(), SysError> {
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    setattr(fd, flags, set, clear, propagation, userns)
}

fn setattr(
    fd: BorrowedFd<'_>,
    flags: i32,
    set: u64,
    clear: u64,
    propagation: u64,
    userns: Option<BorrowedFd<'_>>,
) -> Result<(), SysError> {
    let idmap = if userns.is_some() {
        libc::MOUNT_ATTR_IDMAP
    } else {
        0
    };
    let attr = MountAttr {
        attr_set: set | idmap,
        attr_clr: clear,
        propagation,
        userns_fd: userns.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    // SAFETY: the path is a static C string and `attr` lives until the call returns; the kernel
    // reads both (the size is that of `attr`) and writes nothing. Both descriptors are borrowed for as long.
    let result = unsafe {
        libc::syscall(
            __NR_mount_setattr as libc::c_long,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    outcome(result).map(drop).map_err(call(|| {
        let recursive = if flags & libc::AT_RECURSIVE != 0 {
            "|AT_RECURSIVE"
        } else {
            ""
        };
        format!(
            "mount_setattr({}, \"\", AT_EMPTY_PATH{recursive}, {{attr_set={:#x}, attr_clr={:#x}, \
             propagation={:#x}, userns_fd={}}})",
            fd.as_raw_fd(),
            attr.attr_set,
            attr.attr_clr,
            attr.propagation,
            attr.userns_fd,
        )
    }))
}

/// Makes a copy of the caller's mount namespace and puts the calling *thread* into it
/// (unshare(2) `CLONE_NEWNS`). The propagation of the copies is as it was.
pub fn unshare_mount_namespace() -> Result<(), SysError> {
    // SAFETY: CLONE_NEWNS implies CLONE_FS: this thread stops sharing its root, working directory and umask
    // with others. No descriptor table is unshared, so no owned descriptor loses its meaning.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }
        .map_err(call(|| "unshare(CLONE_NEWNS)".into()))
}

/// Makes a new user namespace and puts the process into it (unshare(2) `CLONE_NEWUSER`); one thread only.
pub fn unshare_user_namespace() -> Result<(), SysError> {
    unshare(UnshareFlags::NEWUSER, "CLONE_NEWUSER")
}

/// Makes a new net or ipc namespace and puts the calling thread into it (unshare(2)).
pub fn unshare_namespace(kind: NamespaceKind) -> Result<(), SysError> {
    match kind {
        NamespaceKind::Ipc => unshare(UnshareFlags::NEWIPC, "CLONE_NEWIPC"),
        _ => unshare(UnshareFlags::NEWNET, "CLONE_NEWNET"),
    }
}

fn unshare(flags: UnshareFlags, shown: &str) -> Result<(), SysError> {
    // SAFETY: none of the namespaces that are passed here changes what a descriptor or a pointer
    // of this process means.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(call(|| format!("unshare({shown})")))
}

/// fork(2): `None` in the child. The process must have one thread: in the child of
/// another, locks that other threads held stay locked.
pub fn fork() -> Result<Option<Pid>, SysError> {
    // SAFETY: callers have one thread (executors of plans do), so the child's memory is consistent.
    let pid = outcome(unsafe { libc::fork() }.into()).map_err(call(|| "fork()".into()))?;
    Ok(Pid::from_raw(pid as i32))
}

/// Ends the process without running exit handlers or destructors, which are the parent's (_exit(2)).
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit does not return and touches no memory of ours.
    unsafe { libc::_exit(status) }
}

/// Marks every descriptor from `first` on close-on-exec (close_range(2)), those too
/// that this process was started with. Without that call, each up to the limit of
/// descriptors: no /proc of the container's is asked.
pub fn close_on_exec_from(first: u32) -> Result<(), SysError> {
    // SAFETY: with CLOSE_RANGE_CLOEXEC no descriptor is closed, so none that is owned becomes invalid.
    let result = unsafe {
        let flags = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
        libc::close_range(first, u32::MAX, flags)
    };
    match outcome(result.into()) {
        Err(Errno::NOSYS) => {
            mark_each_from(first);
            Ok(())
        }
        other => other.map(drop).map_err(call(|| {
            format!("close_range({first}, ~0, CLOSE_RANGE_CLOEXEC)")
        })),
    }
}

fn mark_each_from(first: u32) {
    use rustix::process::{Resource, getrlimit};
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
    for number in i64::from(first)..limit.min(1 << 20) as i64 {
        // SAFETY: no memory is passed and nothing is closed. A number that is no
        // descriptor is EBADF, and there is nothing to be marked.
        unsafe { libc::fcntl(number as i32, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Whether the kernel knows a system call, and nothing in the way (a filter) denies that.
pub fn knows(number: u32) -> bool {
    // SAFETY: each argument is all ones: no address, no descriptor, no valid set of flags. A
    // call that is known refuses them (EFAULT, EBADF, EINVAL, EPERM) before it does anything.
    let result = unsafe { libc::syscall(number.into(), -1, -1, -1, -1, -1, -1) };
    outcome(result) != Err(Errno::NOSYS)
}

/// The request of ioctl(2) that tells the pages of a process: `_IOWR('f', 16, struct pm_scan_arg)`.
pub const PAGEMAP_SCAN: u32 = 0xc060_6610;

/// Whether the kernel knows [`PAGEMAP_SCAN`] (Linux 6.7).
pub fn scans_pagemap() -> bool {
    let Ok(pagemap) = std::fs::File::open("/proc/self/pagemap") else {
        return false;
    };
    let none = std::ptr::null::<u8>();
    // SAFETY: there is no argument to read or to write; who knows the request says EFAULT.
    let result = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN.into(), none) };
    outcome(result.into()) == Err(Errno::FAULT)
}

/// Whether Landlock is there and switched on (landlock_create_ruleset(2), its version).
pub fn has_landlock() -> bool {
    let number = linux_raw_sys::general::__NR_landlock_create_ruleset;
    let none = std::ptr::null::<u8>();
    // SAFETY: with LANDLOCK_CREATE_RULESET_VERSION the kernel reads and writes no memory.
    outcome(unsafe { libc::syscall(number.into(), none, 0_usize, 1_u32) }).is_ok()
}

/// A descriptor that this process has from its parent, which is left open. For a child of a fork
/// that has nothing else to do than to hand it back.
pub(crate) fn inherited(number: i32) -> BorrowedFd<'static> {
    // SAFETY: the caller lives until its end without closing what it inherited. One that was
    // never open only makes calls fail (EBADF).
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Sets all ids of this thread, by which it becomes somebody of the user namespace that it has entered; the
/// signal at the parent's death, which a change of ids takes, is kept.
pub fn set_ids(uid: u32, gid: u32) -> Result<(), SysError> {
    let tie = || "prctl(PR_GET_PDEATHSIG)".to_owned();
    let tied = rustix::process::parent_process_death_signal().map_err(call(tie))?;
    let (user, group) = (
        rustix::thread::Uid::from_raw(uid),
        rustix::thread::Gid::from_raw(gid),
    );
    rustix::thread::set_thread_res_gid(group, group, group)
        .map_err(call(|| format!("setresgid({gid})")))?;
    rustix::thread::set_thread_res_uid(user, user, user)
        .map_err(call(|| format!("setresuid({uid})")))?;
    let tie = || "prctl(PR_SET_PDEATHSIG)".to_owned();
    rustix::process::set_parent_process_death_signal(tied).map_err(call(tie))
}

/// Sets the ids that file systems see (setfsuid(2), setfsgid(2)) and keeps the
/// capabilities, which leaving uid 0 would take, and the signal at the parent's death, which
/// any change takes; the ids before.
pub fn set_filesystem_ids(uid: u32, gid: u32) -> Result<(u32, u32), SysError> {
    let describe = || format!("setfsuid({uid}), setfsgid({gid})");
    let bits = CapabilitiesSecureBits::NO_SETUID_FIXUP;
    let before = rustix::thread::capabilities_secure_bits().map_err(call(describe))?;
    rustix::thread::set_capabilities_secure_bits(before | bits).map_err(call(describe))?;
    let tie = || "prctl(PR_GET_PDEATHSIG)".to_owned();
    let tied = rustix::process::parent_process_death_signal().map_err(call(tie))?;
    // SAFETY: both calls change credentials of this thread only, and take no pointer.
    let previous = unsafe { (libc::setfsuid(uid) as u32, libc::setfsgid(gid) as u32) };
    // They report no errors: what a second call returns is what is in force.
    // SAFETY: an id of -1 is never valid, so this changes nothing.
    let now = unsafe {
        (
            libc::setfsuid(u32::MAX) as u32,
            libc::setfsgid(u32::MAX) as u32,
        )
    };
    rustix::thread::set_capabilities_secure_bits(before).map_err(call(describe))?;
    // RACE: a parent that dies between the two is noticed when there is something to tell it.
    let tie = || "prctl(PR_SET_PDEATHSIG)".to_owned();
    rustix::process::set_parent_process_death_signal(tied).map_err(call(tie))?;
    if now == (uid, gid) {
        Ok(previous)
    } else {
        Err(call(describe)(Errno::PERM))
    }
}

/// The request of ioctl(2) for the id of a mount namespace (ioctl_nsfs(2)).
pub const NS_GET_MNTNS_ID: rustix::ioctl::Opcode = rustix::ioctl::opcode::read::<u64>(0xb7, 5);

/// The id of a mount namespace, as statmount(2) takes it (`NS_GET_MNTNS_ID`, Linux 6.11).
pub fn mount_namespace_id(namespace: impl AsFd) -> Result<MountNsId, SysError> {
    let fd = namespace.as_fd();
    // SAFETY: the kernel writes one u64 for this opcode (linux/nsfs.h), which is what the getter holds.
    let result =
        unsafe { rustix::ioctl::ioctl(fd, rustix::ioctl::Getter::<NS_GET_MNTNS_ID, u64>::new()) };
    result.map(MountNsId).map_err(call(|| {
        format!("ioctl({}, NS_GET_MNTNS_ID)", fd.as_raw_fd())
    }))
}

/// statmount(2) into `buffer`; `EOVERFLOW` when that is too small.
fn raw_statmount(request: &MntIdReq, buffer: &mut [u8]) -> Result<(), Errno> {
    // SAFETY: `request` is read, for the size it says itself. The kernel writes at most `buffer.len()`
    // bytes to the exclusively borrowed buffer, whose bytes may have any value.
    let result = unsafe {
        libc::syscall(
            __NR_statmount as libc::c_long,
            request as *const MntIdReq,
            buffer.as_mut_ptr(),
            buffer.len(),
            0,
        )
    };
    outcome(result).map(drop)
}

/// listmount(2) into `buffer`; how many ids it wrote.
fn raw_listmount(request: &MntIdReq, buffer: &mut [u64]) -> Result<usize, Errno> {
    // SAFETY: `request` is read, for the size it says itself. The kernel writes at most `buffer.len()`
    // ids of eight bytes to the exclusively borrowed buffer.
    let result = unsafe {
        libc::syscall(
            __NR_listmount as libc::c_long,
            request as *const MntIdReq,
            buffer.as_mut_ptr(),
            buffer.len(),
            0,
        )
    };
    outcome(result).map(|count| (count as usize).min(buffer.len()))
}

/// Asks a queue, and sets nothing (mq_getsetattr(2)).
fn mq_getsetattr(queue: BorrowedFd<'_>) -> Result<libc::mq_attr, Errno> {
    let mut found = std::mem::MaybeUninit::<libc::mq_attr>::zeroed();
    let nothing = std::ptr::null::<libc::mq_attr>();
    // SAFETY: the kernel writes one `mq_attr` to `found`, which is that large and outlives the call.
    let result = unsafe {
        let fd = queue.as_raw_fd();
        libc::syscall(libc::SYS_mq_getsetattr, fd, nothing, found.as_mut_ptr())
    };
    outcome(result)?;
    // SAFETY: it is made of integers, for which all zeroes and whatever the kernel wrote are values.
    Ok(unsafe { found.assume_init() })
}

/// Makes a queue that nobody may open (mq_open(2)). The name is the kernel's: without a slash.
fn mq_open(name: &CStr, messages: u32, length: u32) -> Result<OwnedFd, Errno> {
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | libc::O_CLOEXEC;
    // SAFETY: an `mq_attr` is made of integers, for which all zeroes are values.
    let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
    attributes.mq_maxmsg = messages.into();
    attributes.mq_msgsize = length.into();
    let (name, asked) = (name.as_ptr(), std::ptr::from_ref(&attributes));
    // SAFETY: both pointers are of values that outlive the call; the kernel writes to neither.
    let result = unsafe { libc::syscall(libc::SYS_mq_open, name, flags, 0, asked) };
    let fd = outcome(result)? as i32;
    // SAFETY: the kernel made this descriptor for us, and nobody else has its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What `libc::syscall` returned: it leaves the error in errno.
fn outcome(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result >= 0 {
        return Ok(result);
    }
    let code = std::io::Error::last_os_error().raw_os_error();
    Err(code.map_or(Errno::IO, Errno::from_raw_os_error))
}

/// bpf(2). What the words lead to is the caller's, lives until the call returns, and is as long as they say.
fn bpf(command: u32, attributes: &mut [u64; 9]) -> Result<i32, Errno> {
    let length = size_of_val(attributes);
    // SAFETY: the kernel reads and writes `length` bytes of `attributes`, and the buffers of this module's callers
    // in `bpf.rs`, with lengths that stand beside them.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), length) };
    outcome(result).map(|result| result as i32)
}

/// A program: close-on-exec, always (`BPF_PROG_LOAD`).
fn bpf_program(attributes: &mut [u64; 9]) -> Result<OwnedFd, Errno> {
    let fd = bpf(bpf::BPF_PROG_LOAD, attributes)?;
    // SAFETY: the kernel made this descriptor for us, and nobody else has its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use linux_raw_sys::general as kernel;
    use std::mem::offset_of;

    #[test]
    fn structs_are_laid_out_as_the_kernel_headers_say() {
        assert_eq!(size_of::<MountAttr>(), 32);
        assert_eq!(size_of::<MountAttr>(), size_of::<kernel::mount_attr>());
        assert_eq!(
            offset_of!(MountAttr, attr_set),
            offset_of!(kernel::mount_attr, attr_set)
        );
        assert_eq!(
            offset_of!(MountAttr, attr_clr),
            offset_of!(kernel::mount_attr, attr_clr)
        );
        assert_eq!(
            offset_of!(MountAttr, propagation),
            offset_of!(kernel::mount_attr, propagation)
        );
        assert_eq!(
            offset_of!(MountAttr, userns_fd),
            offset_of!(kernel::mount_attr, userns_fd)
        );

        assert_eq!(size_of::<MntIdReq>(), 32);
        assert_eq!(size_of::<MntIdReq>(), size_of::<kernel::mnt_id_req>());
        assert_eq!(
            offset_of!(MntIdReq, size),
            offset_of!(kernel::mnt_id_req, size)
        );
        assert_eq!(
            offset_of!(MntIdReq, mnt_id),
            offset_of!(kernel::mnt_id_req, mnt_id)
        );
        assert_eq!(
            offset_of!(MntIdReq, param),
            offset_of!(kernel::mnt_id_req, param)
        );
        assert_eq!(
            offset_of!(MntIdReq, mnt_ns_id),
            offset_of!(kernel::mnt_id_req, mnt_ns_id)
        );
    }
}

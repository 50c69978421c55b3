//! System calls by name.
//!
//! Kind: pure.

use nix::libc;

/// A system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// As in its manual page.
    pub name: &'static str,
    /// As in `linux/unistd.h`.
    pub number: i64,
}

macro_rules! calls {
    ($($name:literal $number:expr),* $(,)?) => {
        /// Calls that can fail for reasons outside the program.
        const CALLS: &[Call] = {
            use nix::libc::*;
            &[$(Call { name: $name, number: $number }),*]
        };
    };
}

calls!(
    "openat" SYS_openat, "openat2" SYS_openat2, "read" SYS_read, "pread64" SYS_pread64,
    "write" SYS_write, "pwrite64" SYS_pwrite64, "statx" SYS_statx, "fstat" SYS_fstat,
    "newfstatat" SYS_newfstatat, "readlink" SYS_readlink, "readlinkat" SYS_readlinkat,
    "getdents64" SYS_getdents64, "mkdir" SYS_mkdir, "mkdirat" SYS_mkdirat, "mknodat" SYS_mknodat,
    "symlinkat" SYS_symlinkat, "linkat" SYS_linkat, "unlinkat" SYS_unlinkat,
    "renameat" SYS_renameat, "renameat2" SYS_renameat2, "fchownat" SYS_fchownat,
    "fchown" SYS_fchown, "fchmod" SYS_fchmod, "fchmodat" SYS_fchmodat,
    "fchmodat2" 452, "utimensat" SYS_utimensat, "ftruncate" SYS_ftruncate,
    "fsync" SYS_fsync, "lseek" SYS_lseek, "listxattr" SYS_listxattr, "llistxattr" SYS_llistxattr,
    "flistxattr" SYS_flistxattr, "lgetxattr" SYS_lgetxattr, "fgetxattr" SYS_fgetxattr,
    "fsetxattr" SYS_fsetxattr, "lsetxattr" SYS_lsetxattr, "copy_file_range" SYS_copy_file_range,
    "sendfile" SYS_sendfile, "splice" SYS_splice,
    "open_tree" SYS_open_tree, "move_mount" SYS_move_mount, "fsopen" SYS_fsopen,
    "fsconfig" SYS_fsconfig, "fsmount" SYS_fsmount, "fspick" SYS_fspick,
    "mount_setattr" SYS_mount_setattr, "pivot_root" SYS_pivot_root, "umount2" SYS_umount2,
    "unshare" SYS_unshare, "setns" SYS_setns, "chroot" SYS_chroot, "fchdir" SYS_fchdir,
    "chdir" SYS_chdir, "ioctl" SYS_ioctl, "fcntl" SYS_fcntl, "dup" SYS_dup,
    "close_range" SYS_close_range, "statmount" 457, "listmount" 458,
    "socketpair" SYS_socketpair, "sendmsg" SYS_sendmsg, "recvmsg" SYS_recvmsg,
    "pipe2" SYS_pipe2, "poll" SYS_poll, "ppoll" SYS_ppoll, "clone" SYS_clone, "clone3" SYS_clone3, "wait4" SYS_wait4,
    "waitid" SYS_waitid, "prctl" SYS_prctl, "execve" SYS_execve, "getrandom" SYS_getrandom,
    "prlimit64" SYS_prlimit64, "capget" SYS_capget, "capset" SYS_capset, "uname" SYS_uname,
    "setfsuid" SYS_setfsuid, "setfsgid" SYS_setfsgid, "statfs" SYS_statfs, "fstatfs" SYS_fstatfs,
    "faccessat2" SYS_faccessat2, "fallocate" SYS_fallocate, "memfd_create" SYS_memfd_create,
    "ptrace" SYS_ptrace, "process_vm_readv" SYS_process_vm_readv,
);

/// The call with this name.
///
/// # Panics
/// If the name is not in the table above.
pub fn named(name: &str) -> Call {
    let found = CALLS.iter().find(|call| call.name == name);
    *found.unwrap_or_else(|| panic!("{name} is not in the table of calls"))
}

impl Call {
    /// The call with this number, if it is in the table.
    pub fn numbered(number: i64) -> Option<Self> {
        CALLS.iter().find(|call| call.number == number).copied()
    }

    /// Which argument is a path, if one is; where there are two it is the first.
    pub(super) fn path_argument(number: i64) -> Option<usize> {
        match number {
            libc::SYS_open
            | libc::SYS_stat
            | libc::SYS_lstat
            | libc::SYS_access
            | libc::SYS_readlink
            | libc::SYS_chdir
            | libc::SYS_chroot
            | libc::SYS_mkdir
            | libc::SYS_unlink
            | libc::SYS_mount
            | libc::SYS_umount2
            | libc::SYS_execve
            | libc::SYS_statfs => Some(0),
            libc::SYS_openat
            | libc::SYS_openat2
            | libc::SYS_statx
            | libc::SYS_newfstatat
            | libc::SYS_readlinkat
            | libc::SYS_mkdirat
            | libc::SYS_mknodat
            | libc::SYS_unlinkat
            | libc::SYS_fchownat
            | libc::SYS_fchmodat
            | libc::SYS_utimensat
            | libc::SYS_linkat
            | libc::SYS_renameat2
            | libc::SYS_faccessat2
            | libc::SYS_open_tree
            | libc::SYS_move_mount => Some(1),
            _ => None,
        }
    }
}

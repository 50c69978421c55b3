//! What each role of a dump holds: capabilities and system calls.
//!
//! Kind: pure. docs/privileges.md has the same as a table, which a test holds to this.

use crux_mount::sys::{BPF_LOOKS, BPF_PROG_LOAD};
use crux_role::{
    Access, Beneath, Bounding, Capability, Condition, Files, Filter, FilterError, Spec, Stdio,
};
use std::os::fd::OwnedFd;
use std::time::Duration;

use Capability::{
    CAP_CHECKPOINT_RESTORE, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_IPC_OWNER,
    CAP_KILL, CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_SYS_CHROOT, CAP_SYS_PTRACE,
};

/// What the collector keeps.
pub const COLLECTOR: &[Capability] = &[
    CAP_SYS_PTRACE,
    CAP_DAC_READ_SEARCH,
    CAP_SYS_ADMIN,
    CAP_SYS_CHROOT,
    CAP_FOWNER,
    CAP_IPC_OWNER,
    CAP_NET_ADMIN,
];
/// What the tracer keeps.
pub const TRACER: &[Capability] = &[
    CAP_SYS_PTRACE,
    CAP_DAC_READ_SEARCH,
    CAP_CHECKPOINT_RESTORE,
    CAP_KILL,
    CAP_SYS_ADMIN,
    CAP_NET_ADMIN,
];
/// What the reader of seccomp filters keeps.
pub const READER: &[Capability] = &[CAP_SYS_ADMIN, CAP_SYS_PTRACE];
/// What the encoder keeps.
pub const ENCODER: &[Capability] = &[];
/// What the supervisor keeps once the others are there.
pub const SUPERVISOR: &[Capability] = &[];
/// What the executable is given where it is installed.
pub const INSTALLED: [&[Capability]; 4] = [COLLECTOR, TRACER, READER, ENCODER];
/// The same where root has named a directory that others own, in which an image has to get its
/// name, or to go.
pub const SUPERVISOR_ABROAD: &[Capability] = &[CAP_DAC_OVERRIDE];
/// Those that open files of others; an operator who is not root names directories with
/// nothing but permissions of his own.
pub const FILES: &[Capability] = &[CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER];

/// The collector. Landlock is not for who mounts.
pub(crate) fn collector(patience: Duration) -> Result<Spec, FilterError> {
    Ok(Spec {
        name: "collector",
        keep: COLLECTOR,
        bounding: Bounding::Dropped,
        filter: Some(collector_filter().compile()?),
        stdio: Stdio::Errors,
        files: Files::Unlimited,
        patience,
    })
}

/// The tracer. KERNEL: who is under Landlock traces nobody who is not.
pub(crate) fn tracer(patience: Duration) -> Result<Spec, FilterError> {
    Ok(Spec {
        name: "tracer",
        keep: TRACER,
        bounding: Bounding::Dropped,
        filter: Some(tracer_filter().compile()?),
        stdio: Stdio::Errors,
        files: Files::Unlimited,
        patience,
    })
}

/// The reader. KERNEL: who has a filter reads nobody's.
pub(crate) fn reader(patience: Duration) -> Spec {
    Spec {
        name: "reader",
        keep: READER,
        bounding: Bounding::Dropped,
        filter: None,
        stdio: Stdio::Errors,
        files: Files::Unlimited,
        patience,
    }
}

/// The encoder, which makes files in this directory alone.
pub(crate) fn encoder(patience: Duration, directory: Option<OwnedFd>) -> Result<Spec, FilterError> {
    Ok(Spec {
        name: "encoder",
        keep: ENCODER,
        bounding: Bounding::Dropped,
        filter: Some(encoder_filter().compile()?),
        stdio: Stdio::Errors,
        files: directory.map_or(Files::None, |directory| {
            let access = Access::NewFiles;
            Files::Beneath(vec![Beneath { directory, access }])
        }),
        patience,
    })
}

/// Of the encoder. What it opens is new, wherever that is: on a kernel without Landlock it
/// still can read and overwrite nothing.
pub fn encoder_filter() -> Filter {
    let new = (libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW) as u32;
    Filter::base()
        .allow(&[
            libc::SYS_fstat,
            libc::SYS_fsync,
            libc::SYS_ftruncate,
            libc::SYS_lseek,
            libc::SYS_pread64,
            libc::SYS_uname,
        ])
        .when(libc::SYS_openat, &[Condition::Bits(2, new, new)])
        // Of a descriptor, not of a path; std asks with no path at all whether the kernel knows the call.
        .when(
            libc::SYS_statx,
            &[Condition::Bits(2, EMPTY_PATH, EMPTY_PATH)],
        )
        .when(libc::SYS_statx, &[Condition::Is(1, 0)])
        .one_of(libc::SYS_fcntl, 1, &[libc::F_DUPFD_CLOEXEC as u32])
}

const EMPTY_PATH: u32 = libc::AT_EMPTY_PATH as u32;

/// Of the supervisor, once the others are there.
pub fn supervisor_filter() -> Filter {
    Filter::base()
        .allow(&[
            libc::SYS_fstat,
            libc::SYS_fsync,
            libc::SYS_renameat,
            libc::SYS_renameat2,
            libc::SYS_unlinkat,
            libc::SYS_wait4,
        ])
        .one_of(libc::SYS_kill, 1, &[libc::SIGKILL as u32])
        .when(libc::SYS_ioctl, &[Condition::Is(1, libc::TCGETS as u32)])
        .when(
            libc::SYS_setsockopt,
            &[Condition::Is(1, libc::SOL_SOCKET as u32)],
        )
}

/// Of the collector. What it opens by openat(2) is opened for reading; openat2(2) has its flags
/// in memory, where a filter sees nothing.
pub fn collector_filter() -> Filter {
    let word = |flag: i32| flag as u32;
    let writing = word(libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC);
    Filter::base()
        .allow(&[
            // Looking.
            libc::SYS_fgetxattr,
            libc::SYS_flistxattr,
            libc::SYS_fstat,
            libc::SYS_fstatfs,
            libc::SYS_getdents64,
            libc::SYS_lgetxattr,
            libc::SYS_llistxattr,
            libc::SYS_getxattr,
            libc::SYS_listxattr,
            libc::SYS_lseek,
            libc::SYS_mincore,
            libc::SYS_mq_getsetattr,
            libc::SYS_newfstatat,
            libc::SYS_openat2,
            libc::SYS_poll,
            libc::SYS_ppoll,
            libc::SYS_pread64,
            libc::SYS_readlinkat,
            libc::SYS_statx,
            libc::SYS_capget,
            LISTMOUNT,
            STATMOUNT,
            // Reaching what cannot be seen from outside: in a copy of the namespace.
            libc::SYS_chroot,
            libc::SYS_fchdir,
            libc::SYS_mount_setattr,
            libc::SYS_open_tree,
            libc::SYS_umount2,
        ])
        .when(libc::SYS_openat, &[Condition::Bits(2, writing, 0)])
        // A copy for the container's own user namespace is made by a process that goes into it, and does
        // no more: what it makes and runs has this filter too.
        .one_of(
            libc::SYS_setns,
            1,
            &[
                libc::CLONE_NEWNS,
                libc::CLONE_NEWUSER,
                libc::CLONE_NEWIPC,
                libc::CLONE_NEWNET,
                libc::CLONE_NEWCGROUP,
            ]
            .map(word),
        )
        // What is attached to cgroups.
        .one_of(libc::SYS_bpf, 0, &BPF_LOOKS)
        // What an ipc namespace holds.
        .one_of(
            libc::SYS_semctl,
            2,
            &[GETPID, GETALL, SEM_INFO, SEM_STAT_ANY],
        )
        .one_of(libc::SYS_msgctl, 1, &[MSG_INFO, MSG_STAT_ANY])
        .one_of(libc::SYS_shmctl, 1, &[SHM_INFO, SHM_STAT_ANY])
        .one_of(libc::SYS_msgrcv, 4, &[MSG_COPY])
        .one_of(libc::SYS_shmat, 2, &[word(libc::SHM_RDONLY)])
        .allow(&[libc::SYS_shmdt])
        // Questions to the kernel in a network namespace.
        .one_of(libc::SYS_socket, 0, &[word(libc::AF_NETLINK)])
        .allow(&[libc::SYS_sendto, libc::SYS_recvfrom])
        .one_of(libc::SYS_clone, 0, &[FORK])
        .allow(&[libc::SYS_pipe2, libc::SYS_set_robust_list, libc::SYS_wait4])
        .one_of(
            libc::SYS_unshare,
            0,
            &[libc::CLONE_NEWNS, libc::CLONE_NEWNET].map(word),
        )
        .one_of(
            libc::SYS_fcntl,
            1,
            &[libc::F_DUPFD_CLOEXEC, libc::F_GETFL, libc::F_SETFL].map(word),
        )
        .one_of(libc::SYS_ioctl, 1, &IOCTLS)
}

/// Of the tracer. What it opens is opened for reading; memory of tasks it writes by their numbers.
pub fn tracer_filter() -> Filter {
    let word = |flag: i32| flag as u32;
    let writing = word(libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC);
    Filter::base()
        .allow(&[
            libc::SYS_clock_nanosleep,
            libc::SYS_fgetxattr,
            libc::SYS_flistxattr,
            libc::SYS_fstat,
            libc::SYS_get_robust_list,
            libc::SYS_getdents64,
            libc::SYS_getpeername,
            libc::SYS_getsockname,
            libc::SYS_getsockopt,
            libc::SYS_ioprio_get,
            libc::SYS_kcmp,
            libc::SYS_lseek,
            libc::SYS_newfstatat,
            libc::SYS_open_by_handle_at,
            libc::SYS_pidfd_getfd,
            libc::SYS_pidfd_open,
            libc::SYS_pidfd_send_signal,
            libc::SYS_pipe2,
            libc::SYS_poll,
            libc::SYS_ppoll,
            libc::SYS_pread64,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_ptrace,
            libc::SYS_pwrite64,
            libc::SYS_readlinkat,
            libc::SYS_sched_getaffinity,
            libc::SYS_sched_getattr,
            libc::SYS_statx,
            libc::SYS_tee,
            libc::SYS_timerfd_gettime,
            libc::SYS_wait4,
        ])
        .when(libc::SYS_openat, &[Condition::Bits(2, writing, 0)])
        .one_of(
            libc::SYS_fcntl,
            1,
            &[
                libc::F_DUPFD_CLOEXEC,
                libc::F_GETFL,
                libc::F_GETPIPE_SZ,
                libc::F_SETPIPE_SZ,
                libc::F_GET_SEALS,
                F_GETOWN_EX,
                F_GETSIG,
            ]
            .map(word),
        )
        .one_of(libc::SYS_ioctl, 1, &TRACER_IOCTLS)
        // Programs are looked at, and loaded for a moment to see whether they are the same.
        .one_of(libc::SYS_bpf, 0, &BPF_LOOKS)
        .one_of(libc::SYS_bpf, 0, &[BPF_PROG_LOAD])
        // Who is at the other end of a socket is told in the network namespace of that socket.
        .one_of(libc::SYS_setns, 1, &[word(libc::CLONE_NEWNET)])
        .when(
            libc::SYS_socket,
            &[
                Condition::Is(0, word(libc::AF_NETLINK)),
                Condition::Is(2, word(libc::NETLINK_SOCK_DIAG)),
            ],
        )
        .when(
            libc::SYS_setsockopt,
            &[
                Condition::Is(1, word(libc::SOL_SOCKET)),
                Condition::Is(2, word(libc::SO_PEEK_OFF)),
            ],
        )
        .when(libc::SYS_recvfrom, &[Condition::Bits(3, PEEK, PEEK)])
}

/// Commands of semctl(2), msgctl(2) and shmctl(2) that only look, and `IPC_NOWAIT|MSG_COPY`.
const GETPID: u32 = 11;
const GETALL: u32 = 13;
const SEM_INFO: u32 = 19;
const SEM_STAT_ANY: u32 = 20;
const MSG_INFO: u32 = 12;
const MSG_STAT_ANY: u32 = 13;
const SHM_INFO: u32 = 14;
const SHM_STAT_ANY: u32 = 15;
const MSG_COPY: u32 = 0o44_000;
const PEEK: u32 = libc::MSG_PEEK as u32;
/// `NS_GET_USERNS`, `NS_GET_PARENT` (ioctl_nsfs(2)), `PAGEMAP_SCAN`, `FIONREAD`, `SIOCOUTQ`, `SIOCGSKNS`,
/// `SIOCUNIXFILE`; and of terminals (ioctl_tty(2)) those
/// that read, `TCGETS2`, `TIOCGWINSZ`, `TIOCGETD`, `TIOCGPTN`, `TIOCGDEV`, `TIOCGPKT`, `TIOCGPTLCK`, `TIOCGEXCL`,
/// and `TIOCGPTPEER`.
const TRACER_IOCTLS: [u32; 16] = [
    0xb701,
    0xb702,
    0xc060_6610,
    0x541b,
    0x5411,
    0x894c,
    0x89e0,
    0x802c_542a,
    0x5413,
    0x5424,
    0x8004_5430,
    0x8004_5432,
    0x8004_5438,
    0x8004_5439,
    0x8004_5440,
    0x5441,
];
/// fcntl(2): who is told of a file's changes, and how.
const F_GETOWN_EX: i32 = 16;
const F_GETSIG: i32 = 11;
/// What fork(3) asks clone(2) for: no thread, no namespace, nothing shared.
const FORK: u32 = (libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD) as u32;
const STATMOUNT: libc::c_long = 457;
const LISTMOUNT: libc::c_long = 458;
/// `NS_GET_MNTNS_ID`, `NS_GET_USERNS`, `NS_GET_PARENT` (ioctl_nsfs(2)).
const IOCTLS: [u32; 3] = [0x8008_b705, 0xb701, 0xb702];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_compiles() {
        for filter in [
            encoder_filter(),
            supervisor_filter(),
            collector_filter(),
            tracer_filter(),
        ] {
            assert_eq!(filter.compile().unwrap(), filter.compile().unwrap());
        }
    }

    /// Landlock: the encoder makes files in the directory of the image, whatever a filter overlooks.
    #[test]
    fn the_encoder_is_to_make_files_in_the_directory_of_the_image_alone() {
        let directory = OwnedFd::from(std::fs::File::open("/").unwrap());
        let spec = encoder(Duration::ZERO, Some(directory)).unwrap();
        assert!(matches!(spec.files, Files::Beneath(_)));
        let spec = encoder(Duration::ZERO, None).unwrap();
        assert!(matches!(spec.files, Files::None));
    }

    #[test]
    fn no_role_executes_connects_or_traces_and_only_the_collector_forks() {
        let calls = [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_connect,
            libc::SYS_ptrace,
            libc::SYS_process_vm_writev,
            libc::SYS_mount,
            libc::SYS_clone3,
        ];
        for call in calls {
            for filter in [encoder_filter(), supervisor_filter(), collector_filter()] {
                assert!(!filter.lists(call), "{call}");
            }
        }
        for filter in [encoder_filter(), supervisor_filter()] {
            assert!(!filter.lists(libc::SYS_bpf));
            assert!(!filter.lists(libc::SYS_socket));
        }
        for filter in [encoder_filter(), supervisor_filter()] {
            assert!(!filter.lists(libc::SYS_clone));
        }
        let traces = [libc::SYS_ptrace, libc::SYS_process_vm_writev];
        let listed = calls.iter().filter(|call| tracer_filter().lists(**call));
        assert!(listed.eq(traces.iter()));
        assert!(!supervisor_filter().lists(libc::SYS_openat));
        assert!(!encoder_filter().lists(libc::SYS_unlinkat));
    }
}

//! What each role of a restore holds: capabilities and system calls.
//!
//! Kind: pure. docs/privileges.md has the same as a table, which a test holds to this.

use crux_mount::sys::{BPF_CHANGES, BPF_LOOKS};
use crux_role::{
    Beneath, Bounding, Capability, Condition, Files, Filter, FilterError, Spec, Stdio,
};
use std::time::Duration;

use Capability::{
    CAP_BPF, CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_NET_ADMIN,
    CAP_SETFCAP, CAP_SETGID, CAP_SETPCAP, CAP_SETUID, CAP_SYS_ADMIN, CAP_SYS_CHROOT, CAP_SYS_NICE,
    CAP_SYS_PTRACE,
};

/// What the planner keeps.
pub const PLANNER: &[Capability] = &[];
/// What the supervisor keeps once the others are there.
pub const SUPERVISOR: &[Capability] = &[];
/// What the builder keeps.
pub const BUILDER: &[Capability] = &[
    CAP_SYS_ADMIN,
    CAP_SYS_CHROOT,
    CAP_CHOWN,
    CAP_DAC_OVERRIDE,
    CAP_FOWNER,
    CAP_FSETID,
    CAP_MKNOD,
    CAP_SETFCAP,
    CAP_SETUID,
    CAP_SETGID,
    CAP_SETPCAP,
];
/// What the forker keeps.
pub const FORKER: &[Capability] = &[CAP_SYS_ADMIN, CAP_SYS_CHROOT];
/// What the caller holds.
pub const ALL: &[Capability] = &[
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_KILL,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
    Capability::CAP_SETPCAP,
    Capability::CAP_LINUX_IMMUTABLE,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_NET_BROADCAST,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_NET_RAW,
    Capability::CAP_IPC_LOCK,
    Capability::CAP_IPC_OWNER,
    Capability::CAP_SYS_MODULE,
    Capability::CAP_SYS_RAWIO,
    Capability::CAP_SYS_CHROOT,
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_SYS_PACCT,
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_SYS_BOOT,
    Capability::CAP_SYS_NICE,
    Capability::CAP_SYS_RESOURCE,
    Capability::CAP_SYS_TIME,
    Capability::CAP_SYS_TTY_CONFIG,
    Capability::CAP_MKNOD,
    Capability::CAP_LEASE,
    Capability::CAP_AUDIT_WRITE,
    Capability::CAP_AUDIT_CONTROL,
    Capability::CAP_SETFCAP,
    Capability::CAP_MAC_OVERRIDE,
    Capability::CAP_MAC_ADMIN,
    Capability::CAP_SYSLOG,
    Capability::CAP_WAKE_ALARM,
    Capability::CAP_BLOCK_SUSPEND,
    Capability::CAP_AUDIT_READ,
    Capability::CAP_PERFMON,
    Capability::CAP_BPF,
    Capability::CAP_CHECKPOINT_RESTORE,
];
/// What the broker of terminals keeps.
pub const BROKER: &[Capability] = &[];
/// What the tracer keeps.
pub const TRACER: &[Capability] = &[CAP_SYS_PTRACE, CAP_DAC_OVERRIDE];
/// What the role for cgroups keeps.
pub const CGROUPS: &[Capability] = &[CAP_DAC_OVERRIDE, CAP_SYS_NICE, CAP_BPF, CAP_NET_ADMIN];
/// What the executable is given where it is installed.
pub const INSTALLED: [&[Capability]; 5] = [PLANNER, BUILDER, FORKER, TRACER, CGROUPS];
/// Those of them that open files of others; an operator who is not root opens with
/// nothing but permissions of his own.
pub const FILES: &[Capability] = &[CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_CHOWN, CAP_FSETID];

/// The planner.
pub(crate) fn planner(patience: Duration) -> Result<Spec, FilterError> {
    Ok(Spec {
        name: "planner",
        keep: PLANNER,
        bounding: Bounding::Dropped,
        filter: Some(planner_filter().compile()?),
        stdio: Stdio::Errors,
        files: Files::None,
        patience,
    })
}

/// The builder.
pub(crate) fn builder(patience: Duration) -> Result<Spec, FilterError> {
    Ok(Spec {
        name: "builder",
        keep: BUILDER,
        bounding: Bounding::Dropped,
        filter: Some(builder_filter().compile()?),
        stdio: Stdio::Errors,
        files: Files::Unlimited,
        patience,
    })
}

/// The forker. No filter: COMMAND would inherit it.
pub(crate) fn forker(patience: Duration) -> Spec {
    Spec {
        name: "forker",
        keep: FORKER,
        bounding: Bounding::Callers,
        filter: None,
        stdio: Stdio::Callers,
        files: Files::Unlimited,
        patience,
    }
}

/// The forker where there are tasks: they hold what it does, and give up what they are not to have.
pub(crate) fn forker_of_tasks(patience: Duration) -> Spec {
    Spec {
        keep: ALL,
        ..forker(patience)
    }
}

/// The tracer.
pub(crate) fn tracer(patience: Duration) -> Result<Spec, FilterError> {
    Ok(Spec {
        name: "tracer",
        keep: TRACER,
        bounding: Bounding::Dropped,
        filter: Some(tracer_filter().compile()?),
        stdio: Stdio::Errors,
        // Landlock would forbid to trace what is not under the same rules.
        files: Files::Unlimited,
        patience,
    })
}

/// The broker of terminals. It may reach by name what the operator may, for its sockets.
pub(crate) fn broker(patience: Duration) -> Result<Spec, FilterError> {
    Ok(Spec {
        name: "broker",
        keep: BROKER,
        bounding: Bounding::Dropped,
        filter: Some(broker_filter().compile()?),
        stdio: Stdio::Errors,
        files: Files::Unlimited,
        patience,
    })
}

/// The role for cgroups.
pub(crate) fn cgroups(patience: Duration, reach: Vec<Beneath>) -> Result<Spec, FilterError> {
    Ok(Spec {
        name: "cgroups",
        keep: CGROUPS,
        bounding: Bounding::Dropped,
        filter: Some(cgroups_filter().compile()?),
        stdio: Stdio::Errors,
        files: Files::Beneath(reach),
        patience,
    })
}

/// Of the role for cgroups.
pub fn cgroups_filter() -> Filter {
    statx_of_descriptors(Filter::base())
        .allow(&[
            libc::SYS_clock_nanosleep,
            libc::SYS_fstat,
            libc::SYS_fstatfs,
            libc::SYS_lseek,
            libc::SYS_mkdirat,
            libc::SYS_unlinkat,
        ])
        .when(libc::SYS_openat, &[Condition::Bits(2, MAKES_FILES, 0)])
        .one_of(libc::SYS_fcntl, 1, &[libc::F_DUPFD_CLOEXEC as u32])
        .one_of(libc::SYS_bpf, 0, &BPF_CHANGES)
        .one_of(libc::SYS_bpf, 0, &BPF_LOOKS)
}

/// Of the planner.
pub fn planner_filter() -> Filter {
    let duplicate = libc::F_DUPFD_CLOEXEC as u32;
    statx_of_descriptors(Filter::base())
        .allow(&[
            libc::SYS_fstat,
            libc::SYS_lseek,
            libc::SYS_pread64,
            libc::SYS_readv,
        ])
        .when(
            libc::SYS_newfstatat,
            &[Condition::Bits(3, EMPTY_PATH, EMPTY_PATH)],
        )
        .one_of(libc::SYS_fcntl, 1, &[duplicate])
}

/// Of a descriptor, not of a path; std asks with no path at all whether the kernel knows the call.
fn statx_of_descriptors(filter: Filter) -> Filter {
    filter
        .when(
            libc::SYS_statx,
            &[Condition::Bits(2, EMPTY_PATH, EMPTY_PATH)],
        )
        .when(libc::SYS_statx, &[Condition::Is(1, 0)])
}

/// Flags of openat(2) that make a file, or empty one; who overrides permissions could do that to any.
const MAKES_FILES: u32 =
    (libc::O_CREAT | libc::O_TRUNC | libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;

const EMPTY_PATH: u32 = libc::AT_EMPTY_PATH as u32;

/// Of the tracer.
pub fn tracer_filter() -> Filter {
    Filter::base()
        .allow(&[
            libc::SYS_memfd_create,
            libc::SYS_pipe2,
            libc::SYS_pread64,
            // What netlink has answered.
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_ptrace,
            libc::SYS_pwrite64,
            libc::SYS_wait4,
        ])
        .when(libc::SYS_openat, &[Condition::Bits(2, MAKES_FILES, 0)])
}

/// Of the broker.
pub fn broker_filter() -> Filter {
    let word = |flag: i32| flag as u32;
    Filter::base()
        .allow(&[
            libc::SYS_accept4,
            libc::SYS_bind,
            libc::SYS_chdir,
            libc::SYS_listen,
            libc::SYS_poll,
            libc::SYS_ppoll,
            libc::SYS_setsid,
            libc::SYS_umask,
            libc::SYS_unlinkat,
        ])
        .when(libc::SYS_dup2, &[Condition::Is(1, 2)])
        .when(libc::SYS_dup3, &[Condition::Is(1, 2)])
        .one_of(libc::SYS_socket, 0, &[word(libc::AF_UNIX)])
        .one_of(
            libc::SYS_fcntl,
            1,
            &[libc::F_DUPFD_CLOEXEC, libc::F_SETFL].map(word),
        )
        .one_of(libc::SYS_prctl, 0, &[word(libc::PR_SET_PDEATHSIG)])
        // TIOCGPTPEER
        .one_of(libc::SYS_ioctl, 1, &[0x5441])
}

/// Of the supervisor, once the others are there and the image is open.
pub fn supervisor_filter() -> Filter {
    Filter::base()
        .allow(&[libc::SYS_pidfd_open, libc::SYS_wait4])
        .one_of(libc::SYS_kill, 1, &[libc::SIGKILL as u32])
        .when(libc::SYS_ioctl, &[Condition::Is(1, libc::TCGETS as u32)])
        .when(
            libc::SYS_setsockopt,
            &[Condition::Is(1, libc::SOL_SOCKET as u32)],
        )
}

/// Of the builder.
pub fn builder_filter() -> Filter {
    let base = Filter::base().allow(&[
        // Mounts.
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fsopen,
        libc::SYS_fspick,
        libc::SYS_mount_setattr,
        libc::SYS_move_mount,
        libc::SYS_open_tree,
        libc::SYS_pivot_root,
        libc::SYS_umount2,
        // Places.
        libc::SYS_chdir,
        libc::SYS_chroot,
        libc::SYS_fchdir,
        // Files.
        libc::SYS_fchmod,
        libc::SYS_fchmodat,
        libc::SYS_fchown,
        libc::SYS_fchownat,
        libc::SYS_fsetxattr,
        libc::SYS_fstat,
        libc::SYS_fstatfs,
        libc::SYS_ftruncate,
        libc::SYS_linkat,
        libc::SYS_lseek,
        libc::SYS_lsetxattr,
        libc::SYS_mkdirat,
        libc::SYS_mknodat,
        libc::SYS_newfstatat,
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_pread64,
        libc::SYS_pwrite64,
        libc::SYS_readlinkat,
        libc::SYS_statx,
        libc::SYS_symlinkat,
        libc::SYS_unlinkat,
        libc::SYS_renameat2,
        libc::SYS_mq_open,
        libc::SYS_utimensat,
        // Who it is, and processes for single steps.
        libc::SYS_capget,
        libc::SYS_capset,
        libc::SYS_getppid,
        libc::SYS_getuid,
        libc::SYS_set_robust_list,
        libc::SYS_setfsgid,
        libc::SYS_setfsuid,
        libc::SYS_setresgid,
        libc::SYS_setresuid,
        libc::SYS_wait4,
    ]);
    arguments(base)
}

/// Calls of the builder whose arguments matter.
fn arguments(filter: Filter) -> Filter {
    let word = |flag: i32| flag as u32;
    let kinds = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWIPC,
    ];
    // A fork, and nothing that shares or makes namespaces.
    let fork = libc::CLONE_CHILD_CLEARTID | libc::CLONE_CHILD_SETTID | libc::SIGCHLD;
    filter
        .one_of(libc::SYS_unshare, 0, &kinds.map(word))
        .one_of(libc::SYS_clone, 0, &[word(fork), word(libc::SIGCHLD)])
        .one_of(libc::SYS_socketpair, 0, &[word(libc::AF_UNIX)])
        .one_of(
            libc::SYS_fcntl,
            1,
            &[libc::F_DUPFD_CLOEXEC, libc::F_GETFL, libc::F_SETFL].map(word),
        )
        .one_of(
            libc::SYS_prctl,
            0,
            &[
                libc::PR_GET_SECUREBITS,
                libc::PR_SET_SECUREBITS,
                libc::PR_GET_PDEATHSIG,
                libc::PR_SET_PDEATHSIG,
            ]
            .map(word),
        )
        .one_of(libc::SYS_ioctl, 1, &IOCTLS)
        .one_of(
            libc::SYS_setns,
            1,
            // File systems of the kernel show the namespace of whoever makes them.
            &[
                libc::CLONE_NEWNS,
                libc::CLONE_NEWUSER,
                libc::CLONE_NEWNET,
                libc::CLONE_NEWIPC,
            ]
            .map(|kind| kind as u32),
        )
}

/// `NS_GET_MNTNS_ID` (ioctl_nsfs(2)), and those of ptys (ioctl_tty(2)).
const IOCTLS: [u32; 4] = [
    0x8008_b705,
    libc::TIOCGPTN as u32,
    libc::TIOCSPTLCK as u32,
    libc::TIOCGPTPEER as u32,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_compiles() {
        for filter in [
            planner_filter(),
            supervisor_filter(),
            builder_filter(),
            broker_filter(),
            tracer_filter(),
            cgroups_filter(),
        ] {
            assert_eq!(filter.compile().unwrap(), filter.compile().unwrap());
        }
    }

    /// Landlock: the planner opens nothing, whatever a filter overlooks.
    #[test]
    fn the_planner_is_to_open_no_file() {
        let planner = planner(Duration::ZERO).unwrap();
        assert!(matches!(planner.files, Files::None));
    }

    /// Landlock: the role for cgroups reaches nothing but what it is given of hierarchies.
    #[test]
    fn the_role_for_cgroups_is_to_reach_what_it_is_given() {
        let cgroups = cgroups(Duration::ZERO, Vec::new()).unwrap();
        assert!(matches!(cgroups.files, Files::Beneath(reach) if reach.is_empty()));
    }

    #[test]
    fn no_role_that_reads_an_image_opens_executes_or_connects() {
        let calls = [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_ptrace,
            libc::SYS_bpf,
            libc::SYS_mount,
        ];
        for call in calls {
            for filter in [planner_filter(), supervisor_filter(), builder_filter()] {
                assert!(!filter.lists(call), "{call}");
            }
        }
        for (filter, has) in [
            (tracer_filter(), libc::SYS_ptrace),
            (cgroups_filter(), libc::SYS_bpf),
            (broker_filter(), libc::SYS_socket),
        ] {
            let listed = calls.iter().filter(|call| filter.lists(**call));
            assert!(listed.eq([&has]));
        }
        assert!(!planner_filter().lists(libc::SYS_openat));
        assert!(!supervisor_filter().lists(libc::SYS_openat));
    }
}

//! What the kernel does where the model has a rule of its own: kinds of files,
//! unlinked files, roots of namespaces.
//!
//! Kind: effect. Each test runs in a thread with a mount namespace of its own.

use nix::sched::{CloneFlags, unshare};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, fsconfig_create, fsconfig_reconfigure, fsconfig_set_flag, fsmount, fsopen,
    fspick, mount_change, move_mount, open_tree,
};
use rustix::process::{fchdir, pivot_root};

/// Runs `test` with a private tmpfs on /tmp that has directories `a` and `gone`, and a `file`.
fn with_tmpfs(test: impl FnOnce(OwnedFd) + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .unwrap();
        let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
        fsconfig_create(fs.as_fd()).unwrap();
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        let mount = fsmount(fs.as_fd(), flags, MountAttrFlags::empty()).unwrap();
        mkdirat(&mount, "a", Mode::RWXU).unwrap();
        mkdirat(&mount, "gone", Mode::RWXU).unwrap();
        openat(&mount, "file", OFlags::CREATE | OFlags::CLOEXEC, Mode::RWXU).unwrap();
        move_mount(
            &mount,
            "",
            CWD,
            "/tmp",
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .unwrap();
        test(mount);
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn path_of(mount: &OwnedFd, name: &str) -> OwnedFd {
    openat(mount, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn clone_of(mount: &OwnedFd, name: &str) -> OwnedFd {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(mount, name, flags).unwrap()
}

fn attach(mount: &OwnedFd, onto: &OwnedFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", onto, "", flags)
}

#[test]
fn root_directories_go_onto_directories_and_files_onto_files() {
    with_tmpfs(|tmpfs| {
        let (directory, file) = (clone_of(&tmpfs, "a"), clone_of(&tmpfs, "file"));
        assert!(attach(&directory, &path_of(&tmpfs, "file")).is_err());
        assert!(attach(&file, &path_of(&tmpfs, "a")).is_err());
        attach(&file, &path_of(&tmpfs, "file")).unwrap();
    });
}

#[test]
fn root_nothing_is_mounted_on_what_was_unlinked() {
    with_tmpfs(|tmpfs| {
        let (gone, other) = (clone_of(&tmpfs, "gone"), clone_of(&tmpfs, "a"));
        attach(&gone, &path_of(&tmpfs, "a")).unwrap();
        unlinkat(&tmpfs, "gone", AtFlags::REMOVEDIR).unwrap();
        assert_eq!(attach(&other, &gone), Err(Errno::NOENT));
    });
}

#[test]
fn root_a_mountpoint_is_not_unlinked_and_the_root_of_a_mount_is() {
    with_tmpfs(|tmpfs| {
        attach(&clone_of(&tmpfs, "gone"), &path_of(&tmpfs, "a")).unwrap();
        assert_eq!(unlinkat(&tmpfs, "a", AtFlags::REMOVEDIR), Err(Errno::BUSY));
        assert_eq!(unlinkat(&tmpfs, "gone", AtFlags::REMOVEDIR), Ok(()));
    });
}

#[test]
fn root_a_superblock_with_a_deleted_root_does_not_become_read_only() {
    with_tmpfs(|tmpfs| {
        attach(&clone_of(&tmpfs, "gone"), &path_of(&tmpfs, "a")).unwrap();
        unlinkat(&tmpfs, "gone", AtFlags::REMOVEDIR).unwrap();
        let fs = fspick(CWD, "/tmp", FsPickFlags::FSPICK_CLOEXEC).unwrap();
        fsconfig_set_flag(fs.as_fd(), "ro").unwrap();
        assert_eq!(fsconfig_reconfigure(fs.as_fd()), Err(Errno::BUSY));
    });
}

#[test]
fn root_pivot_root_refuses_a_shared_root_and_takes_a_slave() {
    with_tmpfs(|tmpfs| {
        fchdir(&tmpfs).unwrap();
        mount_change("/tmp", MountPropagationFlags::SHARED).unwrap();
        assert_eq!(pivot_root(".", "."), Err(Errno::INVAL));
        // As long as it has a peer, here a detached one, it can become a slave.
        let _peer = clone_of(&tmpfs, "");
        mount_change("/tmp", MountPropagationFlags::DOWNSTREAM).unwrap();
        assert_eq!(pivot_root(".", "."), Ok(()));
    });
}

//! The wrappers of `crux_mount::sys` and what the kernel does with them, on the real kernel.

mod private;

use crux_image::mounts::FileKind;
use crux_mount::features::Features;
use crux_mount::ids::PeerGroupId;
use crux_mount::mountinfo::{self, Entry};
use crux_mount::sys::{self, NamespaceKind, Open, StatMask, SysError};
use private::*;
use rustix::io::Errno;
use rustix::process::Signal;
use std::os::fd::{AsFd, OwnedFd};

/// What mountinfo says of the mount that `fd` lies in.
fn shown(fd: impl AsFd) -> Entry {
    let id = sys::statx(fd).unwrap().mount;
    let table = std::fs::read("/proc/thread-self/mountinfo").unwrap();
    mountinfo::parse(&table)
        .unwrap()
        .into_iter()
        .find(|e| e.id == id)
        .unwrap()
}

fn errno<T>(result: Result<T, SysError>) -> Option<Errno> {
    result.err().map(|error| error.errno())
}

fn group_of(fd: impl AsFd) -> PeerGroupId {
    shown(fd).shared.unwrap()
}

#[test]
fn root_a_symlink_at_the_end_is_opened_itself_and_is_an_error_within() {
    in_private_namespace(|yard| {
        mkdir(&yard, "dir");
        symlink(&yard, "dir", "link");
        touch(below(&yard, "dir"), "file");
        let link = below(&yard, "link");
        let stat = sys::statx(&link).unwrap();
        assert_eq!(sys::file_kind(&stat), Some(FileKind::Symlink));
        let beneath = |path, how| errno(sys::open_beneath(yard.as_fd(), &rel(path), how));
        assert_eq!(beneath("link", Open::Directory), Some(Errno::NOTDIR));
        assert_eq!(beneath("link/file", Open::Any), Some(Errno::LOOP));
        assert_eq!(beneath("dir/file", Open::Any), None);
        assert_eq!(beneath("dir/file", Open::Directory), Some(Errno::NOTDIR));
    });
}

#[test]
fn root_mounts_are_not_crossed() {
    in_private_namespace(|yard| {
        tmpfs_at(&yard, "over");
        let beneath = |path| errno(sys::open_beneath(yard.as_fd(), &rel(path), Open::Any));
        assert_eq!(beneath("over"), Some(Errno::XDEV));
        assert_eq!(beneath("over/x"), Some(Errno::XDEV));
    });
}

#[test]
fn root_the_empty_path_opens_the_same_file_again() {
    in_private_namespace(|yard| {
        let file = touch(&yard, "file");
        for fd in [&yard, &file] {
            let again = sys::open_beneath(fd.as_fd(), &rel(""), Open::Any).unwrap();
            assert_eq!(sys::statx(&again).unwrap(), sys::statx(fd).unwrap());
        }
        let refused = sys::open_beneath(file.as_fd(), &rel(""), Open::Directory);
        assert_eq!(errno(refused), Some(Errno::NOTDIR));
    });
}

#[test]
fn root_paths_longer_than_path_max_are_opened() {
    in_private_namespace(|yard| {
        let name = "n".repeat(200);
        let mut deepest = yard.try_clone().unwrap();
        for _ in 0..50 {
            deepest = mkdir(&deepest, &name);
        }
        let path = vec![name; 50].join("/");
        let opened = sys::open_beneath(yard.as_fd(), &rel(&path), Open::Directory).unwrap();
        assert_eq!(
            sys::statx(opened).unwrap().ino,
            sys::statx(deepest).unwrap().ino
        );
    });
}

#[test]
fn root_a_failing_option_comes_with_the_kernels_own_words() {
    let context = sys::fsopen("tmpfs").unwrap();
    let error = sys::fsconfig_string(&context, b"size", b"many").unwrap_err();
    assert_eq!(error.errno(), Errno::INVAL);
    assert!(
        error.kernel_log().iter().any(|line| line.contains("size")),
        "{error}"
    );
    let error = sys::fsconfig_flag(&context, b"no\x1bsuch").unwrap_err();
    assert!(!error.to_string().contains('\x1b'), "{error}");
    assert_eq!(errno(sys::fsopen("no_such_fs")), Some(Errno::NODEV));
}

#[test]
fn root_a_superblock_is_made_read_only_through_its_mount() {
    in_private_namespace(|yard| {
        let context = sys::fspick(&yard).unwrap();
        sys::fsconfig_flag(&context, b"ro").unwrap();
        sys::fsconfig_reconfigure(&context).unwrap();
        let entry = shown(&yard);
        assert!(entry.flags.readonly && !entry.attributes.readonly);
    });
}

#[test]
fn root_attributes_are_set_on_one_mount_or_on_all_beneath() {
    in_private_namespace(|yard| {
        let child = tmpfs_at(&yard, "child");
        sys::mount_setattr(yard.as_fd(), libc::MOUNT_ATTR_NOSUID, 0, 0, None).unwrap();
        assert!(shown(&yard).attributes.nosuid && !shown(&child).attributes.nosuid);
        sys::mount_setattr_recursive(yard.as_fd(), libc::MOUNT_ATTR_NODEV, 0, 0, None).unwrap();
        assert!(shown(&yard).attributes.nodev && shown(&child).attributes.nodev);
    });
}

#[test]
fn root_clones_take_the_mounts_beneath_only_when_recursive() {
    in_private_namespace(|yard| {
        let source = tmpfs_at(&yard, "source");
        tmpfs_at(&source, "child");
        let plain = sys::open_tree_clone(&source).unwrap();
        sys::move_mount(&plain, mkdir(&yard, "plain")).unwrap();
        let whole = sys::open_tree_clone_recursive(&source).unwrap();
        sys::move_mount(&whole, mkdir(&yard, "whole")).unwrap();
        let child = |of: &OwnedFd| errno(sys::open_beneath(of.as_fd(), &rel("child"), Open::Any));
        assert_eq!((child(&plain), child(&whole)), (None, Some(Errno::XDEV)));
    });
}

#[test]
fn root_a_group_is_given_to_attached_and_to_detached_mounts() {
    in_private_namespace(|yard| {
        let source = tmpfs_at(&yard, "source");
        let [attached, detached] = [(); 2].map(|()| sys::open_tree_clone(&source).unwrap());
        propagation(&source, MS_SHARED);
        sys::move_mount(&attached, mkdir(&yard, "attached")).unwrap();
        sys::move_mount_set_group(&source, &attached).unwrap();
        sys::move_mount_set_group(&source, &detached).unwrap();
        sys::move_mount(&detached, mkdir(&yard, "detached")).unwrap();
        assert_eq!(group_of(&attached), group_of(&source));
        assert_eq!(group_of(&detached), group_of(&source));
    });
}

#[test]
fn root_a_detached_mount_is_a_source_of_a_group() {
    in_private_namespace(|yard| {
        let whole = tmpfs_at(&yard, "whole");
        let [attached, detached] = [(); 2].map(|()| sys::open_tree_clone(&whole).unwrap());
        sys::move_mount(&attached, mkdir(&yard, "attached")).unwrap();
        propagation(&whole, MS_SHARED);
        let source = sys::open_tree_clone(&whole).unwrap();
        sys::move_mount_set_group(&source, &attached).unwrap();
        sys::move_mount_set_group(&source, &detached).unwrap();
        sys::move_mount(&detached, mkdir(&yard, "detached")).unwrap();
        assert_eq!(group_of(&attached), group_of(&whole));
        assert_eq!(group_of(&detached), group_of(&whole));
    });
}

#[test]
fn root_a_group_is_refused_by_a_mount_that_is_not_private_or_shows_more() {
    in_private_namespace(|yard| {
        let whole = tmpfs_at(&yard, "whole");
        let part = sys::open_tree_clone(mkdir(&whole, "part")).unwrap();
        sys::move_mount(&part, mkdir(&yard, "part")).unwrap();
        propagation(&part, MS_SHARED);
        let to_wider = sys::move_mount_set_group(&part, &whole);
        assert_eq!(errno(to_wider), Some(Errno::INVAL));
        propagation(&whole, MS_SHARED);
        let to_shared = sys::move_mount_set_group(&whole, &part);
        assert_eq!(errno(to_shared), Some(Errno::INVAL));
    });
}

#[test]
fn root_a_slave_takes_group_and_master_of_the_source() {
    in_private_namespace(|yard| {
        let master = tmpfs_at(&yard, "master");
        let [slave, copy] = [(); 2].map(|()| sys::open_tree_clone(&master).unwrap());
        sys::move_mount(&slave, mkdir(&yard, "slave")).unwrap();
        sys::move_mount(&copy, mkdir(&yard, "copy")).unwrap();
        propagation(&master, MS_SHARED);
        sys::move_mount_set_group(&master, &slave).unwrap();
        propagation(&slave, MS_SLAVE);
        sys::move_mount_set_group(&slave, &copy).unwrap();
        assert_eq!(shown(&copy).master, Some(group_of(&master)));
        assert_eq!(shown(&copy).shared, None);
    });
}

#[test]
fn root_an_unbindable_target_silently_becomes_bindable() {
    in_private_namespace(|yard| {
        let source = tmpfs_at(&yard, "source");
        let target = sys::open_tree_clone(&source).unwrap();
        sys::move_mount(&target, mkdir(&yard, "target")).unwrap();
        propagation(&source, MS_SHARED);
        propagation(&target, MS_UNBINDABLE);
        assert!(shown(&target).unbindable);
        sys::move_mount_set_group(&source, &target).unwrap();
        assert!(!shown(&target).unbindable);
    });
}

#[test]
fn root_a_mount_attached_to_a_shared_one_becomes_shared() {
    in_private_namespace(|yard| {
        let shared = tmpfs_at(&yard, "shared");
        propagation(&shared, MS_SHARED);
        assert!(shown(tmpfs_at(&shared, "child")).shared.is_some());
    });
}

#[test]
fn root_detached_mounts_are_cloned_and_attached_to_where_the_kernel_can() {
    in_private_namespace(|yard| {
        let features = Features::probe();
        let detached = tmpfs();
        let within = mkdir(&detached, "within");
        assert_eq!(
            sys::open_tree_clone(&within).is_ok(),
            features.clone_detached
        );
        let attached = sys::move_mount(tmpfs(), &within).is_ok();
        assert_eq!(attached, features.attach_to_detached);
        sys::move_mount(&detached, mkdir(&yard, "later")).unwrap();
    });
}

#[test]
fn root_a_symlink_goes_onto_anything_but_a_directory() {
    in_private_namespace(|yard| {
        let link = symlink(&yard, "nowhere", "link");
        let clone = || sys::open_tree_clone(&link).unwrap();
        sys::move_mount(clone(), symlink(&yard, "elsewhere", "other")).unwrap();
        sys::move_mount(clone(), touch(&yard, "file")).unwrap();
        let onto_directory = sys::move_mount(clone(), mkdir(&yard, "dir"));
        assert_eq!(errno(onto_directory), Some(Errno::INVAL));
        let directory_onto_it = sys::move_mount(tmpfs(), &link);
        assert_eq!(errno(directory_onto_it), Some(Errno::INVAL));
        assert_eq!(
            std::fs::read_link("/mnt/other").unwrap().to_str(),
            Some("nowhere")
        );
        assert_eq!(
            std::fs::read_link("/mnt/file").unwrap().to_str(),
            Some("nowhere")
        );
    });
}

#[test]
fn root_one_umount_after_the_pivot_leaves_the_new_root_alone() {
    in_private_namespace(|yard| {
        let id = sys::statx(&yard).unwrap().mount;
        let own = open_directory("/proc/thread-self");
        sys::fchdir(&yard).unwrap();
        sys::pivot_root_dot().unwrap();
        sys::umount_dot_detach().unwrap();
        sys::chroot_dot().unwrap();
        assert_eq!(sys::statx(open("/")).unwrap().mount, id);
        let mut table = String::new();
        let mut file = sys::open_process_file(own.as_fd(), "mountinfo").unwrap();
        std::io::Read::read_to_string(&mut file, &mut table).unwrap();
        assert_eq!(table.lines().count(), 1, "{table}");
    });
}

#[test]
fn root_other_ids_for_files_leave_a_process_tied_to_its_parent() {
    in_private_namespace(|_yard| {
        let tied = || rustix::process::parent_process_death_signal().unwrap();
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
        let before = sys::set_filesystem_ids(1000, 1000).unwrap();
        assert_eq!(tied(), Some(Signal::KILL));
        sys::set_filesystem_ids(before.0, before.1).unwrap();
        assert_eq!(tied(), Some(Signal::KILL));
    });
}

#[test]
fn root_setns_wants_a_namespace_of_the_kind_that_is_named() {
    in_private_namespace(|_yard| {
        let own = open_directory("/proc/thread-self");
        let namespace = sys::open_process_namespace(own.as_fd(), NamespaceKind::Mount).unwrap();
        assert_eq!(
            errno(sys::setns(&namespace, NamespaceKind::Net)),
            Some(Errno::INVAL)
        );
        sys::setns(&namespace, NamespaceKind::Mount).unwrap();
    });
}

#[test]
fn root_statmount_agrees_with_mountinfo() {
    in_private_namespace(|yard| {
        if !Features::probe().statmount {
            return;
        }
        let mount = tmpfs_at(&yard, "a b");
        let mask = StatMask::PATHS.with(StatMask::FILE_SYSTEM);
        let stat = sys::stat_mount(sys::unique_mount_id(&mount).unwrap(), None, mask).unwrap();
        let entry = shown(&mount);
        assert_eq!(
            (stat.old_id, stat.old_parent),
            (Some(entry.id), Some(entry.parent))
        );
        assert_eq!(
            (stat.root, stat.mountpoint),
            (Some(entry.root.path), Some(entry.mountpoint))
        );
        assert_eq!(
            (stat.device, stat.fs_type),
            (Some(entry.device), Some(entry.fs_type))
        );
    });
}

#[test]
fn userns_mounts_are_made_and_grouped_without_privilege() {
    in_user_namespace(
        "userns_mounts_are_made_and_grouped_without_privilege",
        || {
            in_private_namespace(|yard| {
                let source = tmpfs_at(&yard, "source");
                let copy = sys::open_tree_clone(&source).unwrap();
                propagation(&source, MS_SHARED);
                sys::move_mount(&copy, mkdir(&yard, "copy")).unwrap();
                sys::move_mount_set_group(&source, &copy).unwrap();
                assert_eq!(group_of(&copy), group_of(&source));
                assert!(Features::probe().set_group);
            });
        },
    );
}

#[test]
fn userns_a_clone_that_leaves_locked_mounts_out_is_refused() {
    in_user_namespace(
        "userns_a_clone_that_leaves_locked_mounts_out_is_refused",
        || {
            in_private_namespace(|_yard| {
                assert_eq!(errno(sys::fsopen("tmpfs")), None);
                let outside = open("/");
                assert_eq!(errno(sys::open_tree_clone(&outside)), Some(Errno::INVAL));
                assert_eq!(errno(sys::open_tree_clone_recursive(&outside)), None);
            });
        },
    );
}

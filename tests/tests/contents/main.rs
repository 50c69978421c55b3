//! Contents of tmpfs and ramfs: dumped, rebuilt, and compared by a walker of its own.
//!
//! Kind: tests on the real kernel, each in a mount namespace of its own.

mod namespace;
mod tree;
mod walker;

use crux_dump::contents::ContentsError as DumpError;
use crux_image::contents::{ContentsReader, ContentsWriter, FormatError, Name, Section};
use crux_restore::contents::ContentsError as RestoreError;
use namespace::{Scene, in_namespace, in_user_namespace};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat};
use std::fs::{self, File};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::path::Path;

fn open(path: &Path) -> OwnedFd {
    openat(
        CWD,
        path,
        OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
    )
    .unwrap()
}

/// Writes a tree into members of `scene`.
fn dump(scene: &Scene, orphans: &[(Name, OwnedFd)]) -> Result<(Section, [File; 2]), DumpError> {
    let [index, data] = scene.members();
    let mut writer = ContentsWriter::new(index, data).unwrap();
    let orphans: Vec<_> = orphans
        .iter()
        .map(|(name, fd)| (name.clone(), fd.as_fd()))
        .collect();
    let root = open(&scene.source);
    let section = crux_dump::contents::collect(root.as_fd(), &orphans, &mut writer)?;
    let (index, data) = writer.finish().unwrap();
    Ok((section, [index, data]))
}

fn restore(scene: &Scene, section: Section, [index, data]: [File; 2]) -> Result<(), RestoreError> {
    let mut reader = ContentsReader::new(index, data)?;
    reader.verify(section)?;
    crux_restore::contents::apply(open(&scene.target).as_fd(), section, &mut reader)
}

fn round_trip(scene: &Scene) {
    let (section, members) = dump(scene, &[]).unwrap();
    restore(scene, section, members).unwrap();
    let (expected, found) = (walker::walk(&scene.source), walker::walk(&scene.target));
    assert_eq!(section.entries, expected.len() as u64);
    walker::assert_same(&expected, &found);
}

#[test]
fn root_everything_that_tmpfs_can_hold_comes_back() {
    in_namespace(|| {
        let scene = Scene::new("tmpfs");
        tree::ordinary(&scene.source);
        tree::privileged(&scene.source);
        round_trip(&scene);
    });
}

#[test]
fn root_ramfs_comes_back_with_its_holes() {
    in_namespace(|| {
        let scene = Scene::new("ramfs");
        tree::files(&scene.source);
        // The walker reads holes, which fills them.
        tree::sparse(&scene.source, 8 << 20);
        tree::devices(&scene.source);
        round_trip(&scene);
    });
}

#[test]
fn userns_a_tree_without_devices_comes_back() {
    in_user_namespace("userns_a_tree_without_devices_comes_back", || {
        let scene = Scene::new("tmpfs");
        tree::ordinary(&scene.source);
        round_trip(&scene);
    });
}

#[test]
fn root_collecting_changes_no_time_of_the_source() {
    in_namespace(|| {
        let scene = Scene::new("tmpfs");
        tree::ordinary(&scene.source);
        tree::privileged(&scene.source);
        let before = walker::times(&scene.source);
        dump(&scene, &[]).unwrap();
        assert_eq!(walker::times(&scene.source), before);
    });
}

#[test]
fn root_deep_trees_come_back_whatever_the_limit_of_descriptors() {
    in_namespace(|| {
        let scene = Scene::new("tmpfs");
        tree::deep(&scene.source, 3000);
        round_trip(&scene);
    });
}

#[test]
fn root_wide_directories_with_subdirectories_come_back() {
    in_namespace(|| {
        let scene = Scene::new("tmpfs");
        tree::wide_at_the_bottom(&scene.source, 100);
        round_trip(&scene);
    });
}

#[test]
fn root_a_full_file_system_comes_back_into_one_of_the_same_size() {
    in_namespace(|| {
        let scene = Scene::with_options(&[("nr_inodes", "8"), ("size", "64k")]);
        let root = &scene.source;
        for i in 0..6 {
            fs::write(root.join(format!("file {i}")), vec![i; 8192]).unwrap();
        }
        fs::hard_link(root.join("file 0"), root.join("second name")).unwrap();
        let full = fs::write(root.join("one too many"), b"").unwrap_err();
        assert_eq!(
            full.raw_os_error(),
            Some(rustix::io::Errno::NOSPC.raw_os_error())
        );
        round_trip(&scene);
    });
}

#[test]
fn root_what_another_mount_hides_is_recorded_and_the_mount_is_not() {
    in_namespace(|| {
        let scene = Scene::new("tmpfs");
        fs::create_dir(scene.source.join("covered")).unwrap();
        fs::create_dir(scene.source.join("other")).unwrap();
        fs::write(scene.source.join("covered/hidden"), b"here").unwrap();
        fs::write(scene.source.join("other/seen"), b"there").unwrap();
        // A bind within the same file system: no device number tells it apart.
        rustix::mount::mount_bind(scene.source.join("other"), scene.source.join("covered"))
            .unwrap();
        let (section, members) = dump(&scene, &[]).unwrap();
        restore(&scene, section, members).unwrap();
        assert_eq!(
            fs::read(scene.target.join("covered/hidden")).unwrap(),
            b"here"
        );
        assert!(!scene.target.join("covered/seen").exists());
    });
}

#[test]
fn root_orphans_are_recorded_beneath_the_root() {
    in_namespace(|| {
        let scene = Scene::new("tmpfs");
        let orphans = tree::orphans(&scene.source);
        let times = walker::times(&scene.source);
        let (section, members) = dump(&scene, &orphans).unwrap();
        assert_eq!(walker::times(&scene.source), times);
        restore(&scene, section, members).unwrap();
        tree::check_orphans(&scene.target);
    });
}

#[test]
fn root_an_orphan_whose_name_is_taken_is_refused() {
    in_namespace(|| {
        let scene = Scene::new("tmpfs");
        let orphans = tree::orphans(&scene.source);
        fs::write(scene.source.join("orphan file"), b"").unwrap();
        let error = dump(&scene, &orphans).unwrap_err();
        assert!(matches!(error, DumpError::OrphanName { .. }), "{error}");
    });
}

#[test]
fn root_a_tree_in_no_mount_namespace_of_ours_is_refused_before_its_times_change() {
    in_namespace(|| {
        let scene = Scene::new("tmpfs");
        symlink("anywhere", scene.source.join("link")).unwrap();
        let root = open(&scene.source);
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        let [index, data] = scene.members();
        let mut writer = ContentsWriter::new(index, data).unwrap();
        let error = crux_dump::contents::collect(root.as_fd(), &[], &mut writer).unwrap_err();
        assert!(matches!(error, DumpError::Loud { .. }), "{error}");
    });
}

#[test]
fn root_an_attribute_that_images_lack_is_refused_by_name() {
    in_namespace(|| {
        let scene = Scene::new("tmpfs");
        fs::write(scene.source.join("a\x1bb"), b"").unwrap();
        let file = File::open(scene.source.join("a\x1bb")).unwrap();
        if rustix::fs::ioctl_setflags(&file, rustix::fs::IFlags::APPEND).is_err() {
            // tmpfs has no such flags before Linux 6.0.
            return;
        }
        let error = dump(&scene, &[]).unwrap_err().to_string();
        assert!(
            error.contains("/a\\033b") && error.contains("append-only"),
            "{error}"
        );
    });
}

#[test]
fn root_a_target_that_is_not_empty_is_refused() {
    in_namespace(|| {
        let scene = Scene::new("tmpfs");
        fs::write(scene.source.join("file"), b"new").unwrap();
        fs::create_dir(scene.target.join("elsewhere")).unwrap();
        symlink("elsewhere/x", scene.target.join("file")).unwrap();
        let (section, members) = dump(&scene, &[]).unwrap();
        let error = restore(&scene, section, members).unwrap_err().to_string();
        assert!(error.contains("make /file: openat("), "{error}");
        assert!(!scene.target.join("elsewhere/x").exists());
    });
}

#[test]
fn root_damaged_data_are_found_before_the_tree_is_complete() {
    in_namespace(|| {
        let scene = Scene::new("tmpfs");
        fs::write(scene.source.join("file"), vec![1; 1 << 20]).unwrap();
        let (section, [index, data]) = dump(&scene, &[]).unwrap();
        data.write_all_at(b"!", 500_000).unwrap();
        let mut reader = ContentsReader::new(index, data).unwrap();
        let root = open(&scene.target);
        let error = crux_restore::contents::apply(root.as_fd(), section, &mut reader).unwrap_err();
        assert!(
            matches!(
                error,
                RestoreError::Format(FormatError::DataChecksum { .. })
            ),
            "{error}"
        );
    });
}

#[test]
fn userns_a_device_that_may_not_be_made_is_named_with_the_call() {
    in_user_namespace(
        "userns_a_device_that_may_not_be_made_is_named_with_the_call",
        || {
            use crux_image::contents::{Device, Entry, FileEntry, Metadata, Mode, Node, Timestamp};
            let scene = Scene::new("tmpfs");
            let [index, data] = scene.members();
            let mut writer = ContentsWriter::new(index, data).unwrap();
            let time = Timestamp {
                seconds: 0,
                nanoseconds: 0,
            };
            let metadata = Metadata {
                uid: 0,
                gid: 0,
                mode: Mode(0o600),
                accessed: time,
                modified: time,
            };
            let node = Node::CharDevice(Device { major: 1, minor: 3 });
            let name = Name::new("null\n").unwrap();
            writer.begin_section().unwrap();
            writer
                .push(&Entry::File(FileEntry {
                    name,
                    names: 1,
                    metadata,
                    node,
                }))
                .unwrap();
            writer.push(&Entry::Leave(metadata)).unwrap();
            let section = writer.finish_section().unwrap();
            let (index, data) = writer.finish().unwrap();
            let error = restore(&scene, section, [index, data])
                .unwrap_err()
                .to_string();
            assert!(
                error.starts_with("make /null\\012: mknodat(CharacterDevice, 1:3)"),
                "{error}"
            );
            assert!(error.contains("CAP_MKNOD"), "{error}");
        },
    );
}

#[test]
fn root_the_working_directory_is_put_back() {
    in_namespace(|| {
        let scene = Scene::new("tmpfs");
        tree::ordinary(&scene.source);
        tree::privileged(&scene.source);
        std::env::set_current_dir(scene.place()).unwrap();
        let (section, members) = dump(&scene, &[]).unwrap();
        restore(&scene, section, members).unwrap();
        let here = rustix::fs::statat(CWD, c".", AtFlags::empty()).unwrap();
        assert_eq!(here.st_ino, fs::metadata(scene.place()).unwrap().ino());
    });
}

#[test]
fn root_devices_fifos_and_sockets_are_not_opened() {
    in_namespace(|| {
        let scene = Scene::new("tmpfs");
        // Opening a fifo without a writer, or a device without a driver, would block or fail.
        tree::mknod(&scene.source, "fifo", FileType::Fifo, 0, 0);
        tree::mknod(
            &scene.source,
            "no such driver",
            FileType::CharacterDevice,
            4000,
            1,
        );
        round_trip(&scene);
    });
}

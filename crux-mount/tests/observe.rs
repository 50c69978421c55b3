//! Observing a mount namespace from outside, on the real kernel.

mod private;

use crux_image::mounts::IdRange;
use crux_image::path::RelPath;
use crux_mount::features::Features;
use crux_mount::mountinfo::Root;
use crux_mount::observe::{Hidden, ObserveError, RootPlace, observe_process};
use crux_mount::sys::{self, Open};
use private::*;
use rustix::fs::{AtFlags, Mode};
use std::os::fd::{AsFd, OwnedFd};

#[test]
fn root_a_namespace_is_observed_from_outside() {
    let setup = |yard| {
        for name in ["a b", "c\\d", "e#f"] {
            tmpfs_at(&yard, name);
        }
    };
    from_outside(setup, |process| {
        let features = Features::probe();
        let seen = observe_process(process.as_fd(), &features).unwrap();
        let names: Vec<_> = seen
            .entries
            .iter()
            .rev()
            .take(3)
            .map(|e| &e.mountpoint[..])
            .collect();
        assert_eq!(names, [&b"/mnt/e#f"[..], b"/mnt/c\\d", b"/mnt/a b"]);
        assert_eq!(seen.root.place, RootPlace::MountRoot);
        assert!(seen.entries.iter().any(|e| e.id == seen.root.mount));
        if features.mount_namespace_ids {
            assert_eq!(seen.unique.len(), seen.entries.len());
            assert_eq!(seen.hidden, Hidden::Known(Vec::new()));
        }
        let plain = observe_process(process.as_fd(), &Features::default()).unwrap();
        assert_eq!(
            (plain.entries, plain.hidden),
            (seen.entries, Hidden::Unknown)
        );
    });
}

fn with_source(source: &[u8]) -> OwnedFd {
    let context = sys::fsopen("tmpfs").unwrap();
    sys::fsconfig_string(&context, b"source", source).unwrap();
    sys::fsconfig_create(&context).unwrap();
    sys::fsmount(&context).unwrap()
}

#[test]
fn root_names_and_sources_are_observed_as_they_were_given() {
    const NAMES: [&[u8]; 4] = [b"\xff\xfe", b"a\tb\nc", b"\\040", b"#,="];
    const SOURCES: [&[u8]; 4] = [b"", b"none", b"a b\\#\n", b"\xff"];
    let setup = |yard: OwnedFd| {
        for (name, source) in NAMES.into_iter().zip(SOURCES) {
            rustix::fs::mkdirat(&yard, name, Mode::RWXU).unwrap();
            let at = sys::open_beneath(yard.as_fd(), &RelPath::new(name).unwrap(), Open::Any);
            sys::move_mount(with_source(source), at.unwrap()).unwrap();
        }
    };
    from_outside(setup, |process| {
        let seen = observe_process(process.as_fd(), &Features::probe()).unwrap();
        let last = &seen.entries[seen.entries.len() - 4..];
        for (entry, (name, source)) in last.iter().zip(NAMES.into_iter().zip(SOURCES)) {
            assert_eq!(entry.mountpoint, [b"/mnt/", name].concat());
            assert_eq!(entry.source, source);
        }
    });
}

#[test]
fn root_deleted_and_very_deep_roots_are_observed() {
    let setup = |yard: OwnedFd| {
        let name = "n".repeat(200);
        let deep = (0..40).fold(yard.try_clone().unwrap(), |at, _| mkdir(at, &name));
        sys::move_mount(sys::open_tree_clone(&deep).unwrap(), mkdir(&yard, "deep")).unwrap();
        let doomed = sys::open_tree_clone(mkdir(&yard, "doomed")).unwrap();
        sys::move_mount(doomed, mkdir(&yard, "deleted")).unwrap();
        rustix::fs::unlinkat(&yard, "doomed", AtFlags::REMOVEDIR).unwrap();
    };
    from_outside(setup, |process| {
        let seen = observe_process(process.as_fd(), &Features::probe()).unwrap();
        let [.., deep, deleted] = &seen.entries[..] else {
            panic!("no mounts")
        };
        assert_eq!(deep.root.path.len(), 40 * 201);
        assert_eq!(
            deleted.root,
            Root {
                path: b"/doomed".to_vec(),
                deleted: true
            }
        );
    });
}

#[test]
fn root_a_chroot_beneath_an_overmounted_root_hides_mounts_but_not_from_listmount() {
    let setup = |yard| {
        let inner = tmpfs_at(&yard, "inner");
        sys::fchdir(mkdir(&inner, "jail")).unwrap();
        sys::chroot_dot().unwrap();
        sys::move_mount(tmpfs(), &inner).unwrap();
    };
    from_outside(setup, |process| {
        let features = Features::probe();
        let seen = observe_process(process.as_fd(), &features).unwrap();
        assert_eq!(seen.root.place, RootPlace::Directory);
        assert_eq!(seen.entries, []);
        if features.mount_namespace_ids {
            let Hidden::Known(hidden) = seen.hidden else {
                panic!("listmount says nothing")
            };
            assert!(hidden.iter().any(|m| m.id == seen.root.mount), "{hidden:?}");
            let at_inner = hidden.iter().filter(|m| m.mountpoint == b"/mnt/inner");
            assert_eq!(at_inner.count(), 2, "{hidden:?}");
        }
    });
}

#[test]
fn root_mounts_that_the_root_is_stacked_on_are_known_to_be_buried() {
    let setup = |_yard| {
        let top = tmpfs();
        sys::move_mount(&top, open("/")).unwrap();
        sys::fchdir(&top).unwrap();
        sys::chroot_dot().unwrap();
    };
    from_outside(setup, |process| {
        let features = Features::probe();
        let seen = observe_process(process.as_fd(), &features).unwrap();
        assert_eq!(seen.root.place, RootPlace::MountRoot);
        assert_eq!(seen.entries.len(), 1);
        if features.mount_namespace_ids {
            let Hidden::Buried(hidden) = seen.hidden else {
                panic!("not buried: {:?}", seen.hidden)
            };
            assert!(hidden.iter().any(|m| m.mountpoint == b"/mnt"), "{hidden:?}");
        }
    });
}

#[test]
fn root_a_process_that_has_gone_is_an_error_that_says_so() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let process = open_directory(&format!("/proc/{}", child.id()));
    child.wait().unwrap();
    let error = observe_process(process.as_fd(), &Features::default()).unwrap_err();
    assert!(matches!(error, ObserveError::Gone(_)), "{error}");
}

#[test]
fn root_id_maps_are_observed_where_the_kernel_gives_them() {
    let user = UserNamespace::with_map("0 100000 1000");
    let namespace = user.open();
    let setup = move |yard: OwnedFd| {
        let mount = tmpfs();
        sys::mount_setattr(mount.as_fd(), 0, 0, 0, Some(namespace.as_fd())).unwrap();
        sys::move_mount(&mount, mkdir(&yard, "mapped")).unwrap();
    };
    from_outside(setup, |process| {
        let features = Features::probe();
        let seen = observe_process(process.as_fd(), &features).unwrap();
        let entry = seen.entries.last().unwrap();
        assert!(entry.idmapped);
        let map = seen.idmaps.get(&entry.id);
        assert_eq!(map.is_some(), features.statmount_idmap);
        if let Some(map) = map {
            let range = IdRange {
                inside: 0,
                outside: 100_000,
                count: 1000,
            };
            assert_eq!((&map.uids[..], &map.gids[..]), (&[range][..], &[range][..]));
        }
    });
}

#[test]
fn root_more_mounts_than_one_listmount_call_gives_are_observed() {
    const COUNT: usize = 17_000;
    let setup = |yard| (0..COUNT).for_each(|i| drop(tmpfs_at(&yard, &i.to_string())));
    from_outside(setup, |process| {
        let features = Features::probe();
        let seen = observe_process(process.as_fd(), &features).unwrap();
        assert_eq!(seen.entries.len() - seen.entries.len() % 1000, COUNT);
        if features.mount_namespace_ids {
            assert_eq!(seen.unique.len(), seen.entries.len());
            assert_eq!(seen.hidden, Hidden::Known(Vec::new()));
        }
    });
}

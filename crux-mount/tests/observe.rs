//! Observing a mount namespace from outside, on the real kernel.

mod private;

use crux_mount::features::Features;
use crux_mount::observe::{Hidden, ObserveError, RootPlace, observe_process};
use crux_mount::sys;
use private::*;
use std::os::fd::AsFd;

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
fn root_a_process_that_has_gone_is_an_error_that_says_so() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let process = open_directory(&format!("/proc/{}", child.id()));
    child.wait().unwrap();
    let error = observe_process(process.as_fd(), &Features::default()).unwrap_err();
    assert!(matches!(error, ObserveError::Gone(_)), "{error}");
}

//! What a role may reach by name.
//!
//! Kind: effect, without privilege. The kernel has to have Landlock.

use crux_role::{Access, Beneath, Bound, Bounding, Files, Role, Spec, Stdio};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, open, openat, unlinkat};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

const SMALL: Bound = Bound {
    bytes: 1 << 10,
    descriptors: 1,
};

fn directory(path: &Path) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).unwrap()
}

fn spec(files: Files) -> Spec {
    Spec {
        name: "test",
        keep: &[],
        bounding: Bounding::Dropped,
        filter: None,
        stdio: Stdio::Errors,
        files,
        patience: Duration::from_secs(60),
    }
}

/// Tries to make `new` in the directory that it is given, to make `beside`, and to read `there`.
fn tries(files: Files, given: &Path, beside: &Path, there: &Path) -> [bool; 3] {
    let mut role = Role::start(spec(files), |channel| {
        let ((), given) = channel.receive(SMALL)?;
        let new = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let owner = Mode::RUSR | Mode::WUSR;
        let made = openat(&given[0], "new", new, owner);
        let made = made.is_ok_and(|file| rustix::fs::ftruncate(&file, 0).is_ok());
        let elsewhere = openat(CWD, beside, new, owner).is_ok();
        let read = openat(CWD, there, OFlags::RDONLY, Mode::empty()).is_ok();
        channel.send(&[made, elsewhere, read], &[])
    })
    .unwrap();
    role.ready().unwrap();
    role.send(&(), &[directory(given).as_fd()]).unwrap();
    role.receive(SMALL).unwrap().0
}

#[test]
fn a_role_reaches_no_file_but_new_ones_beneath_its_directory() {
    let place = tempfile::tempdir().unwrap();
    let given = place.path().join("given");
    std::fs::create_dir(&given).unwrap();
    let there = place.path().join("there");
    std::fs::write(&there, "x").unwrap();
    let beneath = || {
        let (directory, access) = (directory(&given), Access::NewFiles);
        Files::Beneath(vec![Beneath { directory, access }])
    };
    let mut count = 0;
    let mut reached = |files| {
        count += 1;
        let _ = std::fs::remove_file(given.join("new"));
        let beside = place.path().join(format!("beside {count}"));
        tries(files, &given, &beside, &there)
    };
    assert_eq!(reached(Files::Unlimited), [true, true, true]);
    assert_eq!(reached(beneath()), [true, false, false]);
    assert_eq!(reached(Files::None), [false, false, false]);
}

/// Tries to write a file that is there, to read it, to make a directory and a file, and to remove a directory.
fn tries_of_all_kinds(rules: &[Access], given: &Path) -> [bool; 5] {
    let rules = rules.iter().map(|access| Beneath {
        directory: directory(given),
        access: *access,
    });
    let spec = spec(Files::Beneath(rules.collect()));
    let mut role = Role::start(spec, |channel| {
        let ((), given) = channel.receive(SMALL)?;
        let open = |name, flags| openat(&given[0], name, flags | OFlags::CLOEXEC, Mode::RWXU);
        let tried = [
            open("file", OFlags::WRONLY).is_ok(),
            open("file", OFlags::RDONLY).is_ok(),
            mkdirat(&given[0], "new", Mode::RWXU).is_ok(),
            open("other", OFlags::WRONLY | OFlags::CREATE).is_ok(),
            unlinkat(&given[0], "directory", AtFlags::REMOVEDIR).is_ok(),
        ];
        channel.send(&tried, &[])
    })
    .unwrap();
    role.ready().unwrap();
    role.send(&(), &[directory(given).as_fd()]).unwrap();
    role.receive(SMALL).unwrap().0
}

#[test]
fn each_kind_of_access_is_what_it_says_and_several_add_up() {
    let reached = |rules: &[Access]| {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("file"), "x").unwrap();
        std::fs::create_dir(place.path().join("directory")).unwrap();
        tries_of_all_kinds(rules, place.path())
    };
    let (no, yes) = (false, true);
    assert_eq!(reached(&[]), [no, no, no, no, no]);
    assert_eq!(reached(&[Access::Read]), [no, yes, no, no, no]);
    assert_eq!(reached(&[Access::Write]), [yes, no, no, no, no]);
    assert_eq!(reached(&[Access::Directories]), [yes, no, yes, no, yes]);
    assert_eq!(reached(&[Access::NewFiles]), [yes, yes, no, yes, no]);
    let both = [Access::Read, Access::Directories];
    assert_eq!(reached(&both), [yes, yes, yes, no, yes]);
}

//! What a role may reach by name.
//!
//! Kind: effect, without privilege. The kernel has to have Landlock.

use crux_role::{Bound, Bounding, Files, Role, Spec, Stdio};
use rustix::fs::{CWD, Mode, OFlags, open, openat};
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

/// Tries to make `new` in the directory that it is given, to make `beside`, and to read `there`.
fn tries(files: Files, given: &Path, beside: &Path, there: &Path) -> [bool; 3] {
    let spec = Spec {
        name: "test",
        keep: &[],
        bounding: Bounding::Dropped,
        filter: None,
        stdio: Stdio::Errors,
        files,
        patience: Duration::from_secs(60),
    };
    let mut role = Role::start(spec, |channel| {
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
    let beneath = || Files::Beneath(directory(&given));
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

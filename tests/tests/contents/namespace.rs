//! A namespace for each test, with two file systems in it. Nothing of it is left on the host.

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount,
};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a test in a thread with a private mount namespace and working directory,
/// and a stack that suits the recursion of the walker.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(256 << 20);
    let run = move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("CAP_SYS_ADMIN");
        mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .unwrap();
        test();
    };
    if let Err(panic) = thread.spawn(run).unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a test in a user namespace where only the caller's ids are mapped: this
/// program again, for the test of that name.
pub(crate) fn in_user_namespace(name: &str, test: impl FnOnce() + Send + 'static) {
    const INSIDE: &str = "CRUX_TEST_IN_USER_NAMESPACE";
    if std::env::var_os(INSIDE).is_some() {
        return in_namespace(test);
    }
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}

/// Two empty file systems and a place for members of an image.
pub(crate) struct Scene {
    pub(crate) source: PathBuf,
    pub(crate) target: PathBuf,
    place: PathBuf,
}

impl Scene {
    pub(crate) fn new(fs_type: &str) -> Self {
        Self::make(fs_type, &[])
    }

    pub(crate) fn with_options(options: &[(&str, &str)]) -> Self {
        Self::make("tmpfs", options)
    }

    fn make(fs_type: &str, options: &[(&str, &str)]) -> Self {
        // Over /tmp, in this namespace only: what is made there ends with it.
        let place = PathBuf::from("/tmp");
        mount("tmpfs", &place, &[]);
        let scene = Self {
            source: place.join("source"),
            target: place.join("target"),
            place,
        };
        for dir in [&scene.source, &scene.target] {
            fs::create_dir(dir).unwrap();
            mount(fs_type, dir, options);
        }
        scene
    }

    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// Two new members: index and data.
    pub(crate) fn members(&self) -> [File; 2] {
        ["index", "data"].map(|name| {
            let mut options = File::options();
            options.read(true).write(true).create_new(true);
            options.open(self.place.join(name)).unwrap()
        })
    }
}

fn mount(fs_type: &str, at: &Path, options: &[(&str, &str)]) {
    let fs = fsopen(fs_type, FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    for (key, value) in options {
        fsconfig_set_string(&fs, *key, *value).unwrap();
    }
    fsconfig_create(&fs).unwrap();
    let mount = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap();
    move_mount(&mount, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).unwrap();
}
